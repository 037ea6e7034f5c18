//! Messages between a cluster command and kpx-prep on the nodes: JSON on standard input and output of an exec.
//!
//! Both ends are the same binary in the same version; the format is nevertheless an interface, like any `-o json`.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::report::Finding;

/// The result of `node survey`: everything on a host that affects kube-proxy's mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `NodeSurvey`.
    pub kind: String,
    /// The version of kpx-prep on the node.
    pub version: String,
    /// `uname -r`.
    pub kernel: String,
    /// Name and version of the distribution.
    pub distro: String,
    /// The outcome that `node install` would have: `already-prepared`, `would-prepare` or `not-prepared`.
    pub modules: Preparation,
    /// The verified mode of kube-proxy on this host; `None` if no kube-proxy answers.
    pub running: Option<String>,
    /// Every virtual server of the kernel's IPVS table, sorted by address.
    pub virtual_servers: Vec<VirtualServer>,
    /// What other modes than the running one left behind; empty if no kube-proxy answers.
    pub leftovers: Vec<Leftover>,
    /// What looks like kube-proxy's but is not; it is never changed.
    pub suspicious: Vec<String>,
    /// Address families whose INPUT chain drops by default, such as `ipv4`.
    pub input_drops: Vec<String>,
    /// Address families whose FORWARD chain drops by default, in the tables of iptables, where no CNI plugin accepts what pods send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forward_drops: Vec<String>,
    /// `net.ipv4.ip_local_port_range`.
    pub local_ports: Option<(u16, u16)>,
    /// `net.ipv4.vs.conn_reuse_mode`, where `ip_vs` is loaded.
    pub conn_reuse_mode: Option<u8>,
    /// `legacy` or `nft`: the iptables variant of kube-proxy's container, which holds its rules.
    pub iptables: Option<String>,
    /// Whether the other variant holds rules of kube-proxy too.
    pub both_iptables: bool,
    /// Version of the host's own `nft`.
    pub nft: Option<String>,
    /// Whether the kernel certainly lacks the match that ends a copy of iptables rules (`node bridge`): `xt_time`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lacks_time_match: bool,
    /// The addresses given with `--ask` that accepted a connection.
    #[serde(default)]
    pub answering: Vec<SocketAddr>,
    /// Those of them whose connections are translated to an endpoint when they are opened: another data plane than kube-proxy's
    /// rules answers there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub translated: Vec<SocketAddr>,
    /// Whether NetworkManager is running without `kube-ipvs0` configured as unmanaged.
    pub network_manager_interferes: bool,
    /// CNI configurations whose portmap plugin marks packets in a chain of kube-proxy, as `FILE: CHAIN`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mark_chains: Vec<String>,
    /// Processes that look like kube-proxy but do not belong to the pod given with `--pod`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_kube_proxies: Vec<String>,
    /// What could not be read, so that the survey may be incomplete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// The outcome of a node command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreparationOutcome {
    /// Prepared now.
    Prepared,
    /// Already prepared; nothing was done.
    AlreadyPrepared,
    /// A dry run; the report lists what would be done.
    WouldPrepare,
    /// A check failed; nothing was done.
    #[default]
    NotPrepared,
    /// Loading failed; the files were restored.
    Failed,
    /// Everything that install wrote was removed.
    Removed,
    /// There were no files of kpx-prep.
    NothingToRemove,
}

impl PreparationOutcome {
    /// Whether the node is prepared now.
    pub fn is_prepared(self) -> bool {
        matches!(self, Self::Prepared | Self::AlreadyPrepared)
    }
}

/// The result that `node install` had or would have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Its outcome.
    pub outcome: PreparationOutcome,
    /// Its summary.
    pub summary: String,
    /// Its findings.
    #[serde(default)]
    pub findings: Vec<Finding>,
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
    /// Whether it belongs to kube-proxy: its address is on `kube-ipvs0`, or its port in one of kube-proxy's node port ipsets.
    pub claimed: bool,
    /// Connections that are still alive.
    pub connections: u32,
}

/// The kind of a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeftoverKind {
    /// An iptables chain with all its rules.
    Chain,
    /// A rule in a chain that is kept.
    Rule,
    /// An nftables table.
    Table,
    /// An ipset.
    Set,
    /// A virtual server of IPVS.
    VirtualServer,
    /// A network interface.
    Link,
}

/// An object that another mode created and the running mode does not use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leftover {
    /// The mode that owned it, such as `iptables`.
    pub of: String,
    /// Its kind.
    pub kind: LeftoverKind,
    /// Its location, such as `ipv4 filter (legacy)`; empty for an object that has only a name.
    pub place: String,
    /// Its name, or the rule's text.
    pub name: String,
}

/// A Service port that the running mode must have programmed before the old mode's rules are removed.
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
    /// Its cluster IPs, one per address family.
    pub addresses: Vec<IpAddr>,
    /// The node port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
    /// Whether the first address must accept a connection: it is TCP, and accepted one before the switch.
    #[serde(default)]
    pub must_answer: bool,
}

/// The outcome of `node bridge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeOutcome {
    /// The bridge is there.
    Put,
    /// kube-proxy removes nothing that serves; nothing was changed.
    NothingToCopy,
    /// What serves cannot be copied; nothing was changed.
    Refused,
    /// It could not be put.
    Failed,
}

/// The result of `node bridge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgeReport {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `BridgeReport`.
    pub kind: String,
    /// The outcome.
    pub outcome: BridgeOutcome,
    /// The same in a sentence.
    pub summary: String,
    /// Further findings.
    pub findings: Vec<Finding>,
}

/// The outcome of `node clean`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CleanOutcome {
    /// All leftovers were removed.
    Cleaned,
    /// There were no leftovers.
    NothingToClean,
    /// A dry run.
    WouldClean,
    /// The running mode has not synced or not programmed all Services; nothing was removed.
    NotSynced,
    /// A Service that must answer did not; nothing was removed.
    NotServing,
    /// No kube-proxy answered, or it runs the mode to be cleaned; nothing was removed.
    Refused,
    /// Something could not be removed; the report lists what remains.
    Failed,
}

/// The result of `node clean`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CleanReport {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `CleanReport`.
    pub kind: String,
    /// The outcome.
    pub outcome: CleanOutcome,
    /// The same in a sentence.
    pub summary: String,
    /// The verified mode of kube-proxy.
    pub running: Option<String>,
    /// What was removed, or would be in a dry run.
    pub removed: Vec<Leftover>,
    /// What remains of other modes; the findings give the reason.
    pub remaining: Vec<Leftover>,
    /// In a dry run, every transaction in the input format of its tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<String>,
    /// Number of live connections that ended with their virtual server.
    pub connections_cut: u32,
    /// What looks like kube-proxy's but is not.
    pub suspicious: Vec<String>,
    /// Further findings.
    pub findings: Vec<Finding>,
}
