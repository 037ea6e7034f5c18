//! What kpx-prep at a cluster and kpx-prep on its nodes tell each other: JSON on standard input and output of an exec.
//!
//! Both ends are the same binary in the same version; the form is an interface all the same, as any `-o json`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::report::{Finding, Level};

/// A finding of another process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How much it matters.
    pub level: Level,
    /// The check's id.
    pub id: String,
    /// What is so.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Finding> for Note {
    fn from(finding: Finding) -> Self {
        Self { level: finding.level, id: finding.id.to_owned(), message: finding.message, hint: finding.hint }
    }
}

/// What `node survey` answers: all of a host that matters to kube-proxy's mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `NodeSurvey`.
    pub kind: String,
    /// kpx-prep's own version there.
    pub version: String,
    /// `uname -r`.
    pub kernel: String,
    /// Name and version of the distribution.
    pub distro: String,
    /// What `node install` would come to: `already-prepared`, `would-prepare` or `not-prepared`.
    pub modules: Preparation,
    /// The mode that kube-proxy proves on this host; nothing if none answers.
    pub running: Option<String>,
    /// Every virtual server of the kernel's IPVS table, in the order of their addresses.
    pub virtual_servers: Vec<VirtualServer>,
    /// What modes other than the running one left behind; empty if no kube-proxy answers.
    pub leftovers: Vec<Leftover>,
    /// What looks like kube-proxy's and is not: it is never touched.
    pub suspicious: Vec<String>,
    /// Address families whose INPUT chain drops what no rule accepts, such as `ipv4`.
    pub input_drops: Vec<String>,
    /// `net.ipv4.ip_local_port_range`.
    pub local_ports: Option<(u16, u16)>,
    /// `net.ipv4.vs.conn_reuse_mode`, where `ip_vs` is loaded.
    pub conn_reuse_mode: Option<u8>,
    /// `legacy` or `nft`: what kube-proxy's container calls, and so where its rules are.
    pub iptables: Option<String>,
    /// The other variant holds rules of kube-proxy's too.
    pub both_iptables: bool,
    /// Version of the host's own `nft`.
    pub nft: Option<String>,
    /// Which of the addresses that were asked about (`--ask`) took a connection.
    #[serde(default)]
    pub answering: Vec<SocketAddr>,
    /// Whether NetworkManager runs and is not told to leave `kube-ipvs0` alone.
    pub network_manager_interferes: bool,
    /// CNI configurations whose portmap marks packets by a chain of kube-proxy's, as `FILE: CHAIN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mark_chains: Vec<String>,
    /// Processes that are kube-proxy by all that can be told, and not of the pod that was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_kube_proxies: Vec<String>,
    /// What could not be looked at, so that the rest of the survey may lack something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Note>,
}

/// What `node install` came to, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Its outcome.
    pub outcome: String,
    /// Its summary.
    pub summary: String,
    /// Its findings.
    pub findings: Vec<Note>,
}

/// A virtual server of IPVS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServer {
    /// `TCP`, `UDP`, `SCTP`, or `FWM` with the firewall mark as the port.
    pub protocol: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port, or firewall mark.
    pub port: u32,
    /// Its scheduler.
    pub scheduler: String,
    /// Whether kube-proxy's own traces on the host claim it: its address is on `kube-ipvs0`, or its port in one of
    /// kube-proxy's sets of node ports.
    pub claimed: bool,
    /// Connections that are still alive.
    pub connections: u32,
}

/// Which part of a host a leftover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverKind {
    /// A chain of iptables with all its rules.
    Chain,
    /// A rule in a chain that stays.
    Rule,
    /// A table of nftables.
    Table,
    /// An ipset.
    Set,
    /// A virtual server of IPVS.
    VirtualServer,
    /// A network interface.
    Link,
}

/// Something that a mode owned and the running mode does not use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leftover {
    /// The mode that owned it, such as `iptables`.
    pub of: String,
    /// What it is.
    pub kind: LeftoverKind,
    /// Where it is, such as `ipv4 filter (legacy)`; empty for what has only a name.
    pub place: String,
    /// Its name, or the rule's text.
    pub name: String,
}

/// One port of a Service: what the running mode must carry before the old one's rules may go.
///
/// The cluster sends all of them as one line of JSON (a list) to `node clean --services -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// namespace/name:port
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// Its cluster addresses, one of each family that it has.
    pub addresses: Vec<IpAddr>,
    /// The node port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// Whether a connection to the first address must be taken: it is TCP, and was so before the switch.
    #[serde(default)]
    pub must_answer: bool,
}

/// How `node clean` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanOutcome {
    /// What was left behind is gone.
    Cleaned,
    /// Nothing was left behind.
    NothingToClean,
    /// A dry run.
    WouldClean,
    /// The running mode has not synced, or does not carry all Services; nothing was removed.
    NotSynced,
    /// A Service that must answer does not; nothing was removed.
    NotServing,
    /// No kube-proxy answers, or it runs the mode that is to be cleaned; nothing was removed.
    Refused,
    /// Something could not be removed; what stands is in the report.
    Failed,
}

/// What `node clean` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanReport {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `CleanReport`.
    pub kind: String,
    /// How it ended.
    pub outcome: CleanOutcome,
    /// The same in a sentence.
    pub summary: String,
    /// The mode that kube-proxy proves.
    pub running: Option<String>,
    /// What was removed, or in a dry run would be.
    pub removed: Vec<Leftover>,
    /// What is still there of other modes, and why is in the findings.
    pub remaining: Vec<Leftover>,
    /// In a dry run, every transaction as its tool would read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<String>,
    /// How many live connections ended with their virtual server.
    pub connections_cut: u32,
    /// What looks like kube-proxy's and is not.
    pub suspicious: Vec<String>,
    /// What else there is to say.
    pub findings: Vec<Note>,
}
