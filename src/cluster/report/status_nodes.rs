//! The nodes in the output of `status`.

use std::collections::BTreeMap;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::cluster::kube_proxy::proof::How;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::plan::drift::{State, state};
use crate::mode::ProxyMode;
use crate::node_protocol::{Leftover, PreparationOutcome, Survey};
use crate::report::{LISTED, few};
use crate::sync_health::{SyncHealth, SyncState};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeLine {
    pub(super) name: String,
    role: &'static str,
    ready: bool,
    pod: Option<String>,
    image: Option<String>,
    pub(super) pod_ready: bool,
    restarts: u32,
    pub(super) effective_mode: Option<ProxyMode>,
    pub(super) proof: Option<How>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<Unwatched<SyncHealth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    fallback: bool,
    stale: bool,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<HostLine>,
}

/// What changes all the time, so that `status --watch` prints nothing new for it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
struct Unwatched<T>(T);

impl<T> PartialEq for Unwatched<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Unwatched<T> {}

/// The node helper's survey of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HostLine {
    /// The outcome that `node install` would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modules: Option<PreparationOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) leftovers: Option<Vec<Leftover>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicious: Option<Vec<String>>,
    /// Why it could not be inspected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl NodeLine {
    /// The line of a node.
    pub(super) fn new(facts: &ClusterFacts, node: &NodeFacts) -> Self {
        let pod = node.pod.as_ref();
        let state = state(node, facts);
        Self {
            name: node.name.clone(),
            role: if node.control_plane { "control-plane" } else { "worker" },
            ready: node.ready,
            pod: pod.map(|pod| pod.name.clone()),
            image: pod.map(|pod| pod.image.clone()),
            pod_ready: pod.is_some_and(|pod| pod.ready),
            restarts: pod.map_or(0, |pod| pod.restarts),
            effective_mode: node.proof.mode,
            proof: node.proof.how,
            reason: node.proof.trouble().or_else(|| node.proof.reason.clone()),
            sync: node.proof.sync.map(Unwatched),
            fallback: state == State::Fallback,
            stale: pod.is_some_and(|pod| facts.is_stale(pod)),
            state,
            host: node.host.as_ref().map(HostLine::new),
        }
    }

    /// What its metrics say about its syncs; `None` if they could not be read.
    pub(super) fn sync(&self) -> Option<SyncHealth> {
        self.sync.map(|Unwatched(sync)| sync)
    }

    /// Whether the host is suitable for its mode, or was not inspected.
    pub(super) fn host_is_fine(&self, ipvs: bool) -> bool {
        self.host.as_ref().is_none_or(|host| {
            let prepared = !ipvs || host.modules.is_some_and(PreparationOutcome::is_prepared);
            prepared && host.leftovers.as_ref().is_some_and(Vec::is_empty)
        })
    }

    fn host_words(&self) -> [String; 2] {
        let Some(host) = &self.host else { return ["-".to_owned(), "-".to_owned()] };
        let modules = match host.modules {
            Some(PreparationOutcome::AlreadyPrepared) => "prepared",
            Some(PreparationOutcome::WouldPrepare) => "not prepared",
            Some(PreparationOutcome::NotPrepared) => "impossible",
            _ => "unknown",
        };
        let leftovers = host.leftovers.as_ref().map_or_else(|| "unknown".to_owned(), |left| left.len().to_string());
        [modules.to_owned(), leftovers]
    }

    fn mode_word(&self) -> String {
        self.effective_mode.map_or_else(|| "-".to_owned(), |mode| mode.to_string())
    }

    fn proof_word(&self) -> &'static str {
        match self.proof {
            Some(How::ProxyMode) => "/proxyMode",
            Some(How::Log) => "log",
            None => "unverified",
        }
    }

    /// How long ago the rules were written, and how often that failed.
    fn sync_word(&self) -> String {
        let Some(sync) = self.sync() else { return "-".to_owned() };
        let last = match (sync.state, sync.age_seconds) {
            (SyncState::Never, _) => "never".to_owned(),
            (_, Some(age)) => format!("{age} s ago"),
            (_, None) => "-".to_owned(),
        };
        if sync.failures > 0 { format!("{last}, {} failed", sync.failures) } else { last }
    }

    fn state_word(&self) -> String {
        let word = match self.state {
            State::Right => "ok",
            State::Wrong => "drifted",
            State::Fallback => "silent fallback",
            State::NotSyncing => "not syncing",
            State::Unproved => "unverified",
            State::NoPod => "no pod",
        };
        if self.stale { format!("{word}, pod older than config") } else { word.to_owned() }
    }
}

impl HostLine {
    fn new(host: &Result<Survey, String>) -> Self {
        match host {
            Ok(survey) => Self {
                modules: Some(survey.modules.outcome),
                leftovers: Some(survey.leftovers.clone()),
                suspicious: Some(survey.suspicious.clone()),
                error: None,
            },
            Err(why) => Self { modules: None, leftovers: None, suspicious: None, error: Some(why.clone()) },
        }
    }
}

/// What the columns of a node say, but for its name and its pod's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cells {
    /// Those that need attention are shown first.
    fine: bool,
    role: &'static str,
    ready: bool,
    pod_ready: bool,
    mode: String,
    proof: &'static str,
    state: String,
    modules: String,
    leftovers: String,
}

impl Cells {
    fn new(node: &NodeLine) -> Self {
        let [modules, leftovers] = node.host_words();
        Self {
            fine: node.state == State::Right && node.ready && !node.stale,
            role: node.role,
            ready: node.ready,
            pod_ready: node.pod_ready,
            mode: node.mode_word(),
            proof: node.proof_word(),
            state: node.state_word(),
            modules,
            leftovers: if matches!(leftovers.as_str(), "0" | "-" | "unknown") { leftovers } else { "some".to_owned() },
        }
    }
}

fn finished(mut table: Table, head: Vec<&str>) -> String {
    table.load_style(presets::NOTHING);
    table.set_header(head);
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The nodes as a table: a row for each, or, above [`LISTED`], one for all that have the same in every column. `wide` lists
/// each, with images and reasons.
pub(super) fn table(nodes: &[NodeLine], wide: bool) -> String {
    if nodes.len() > LISTED && !wide { grouped(nodes) } else { listed(nodes, wide) }
}

fn grouped(nodes: &[NodeLine]) -> String {
    let mut groups: BTreeMap<Cells, Vec<&NodeLine>> = BTreeMap::new();
    for node in nodes {
        groups.entry(Cells::new(node)).or_default().push(node);
    }
    let hosts = nodes.iter().any(|node| node.host.is_some());
    let mut table = Table::new();
    for (cells, nodes) in &groups {
        let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        let mut row = vec![
            nodes.len().to_string() + if cells.ready { "" } else { " (not ready)" },
            cells.role.to_owned(),
            if cells.pod_ready { "yes" } else { "no" }.to_owned(),
            nodes.iter().map(|node| u64::from(node.restarts)).sum::<u64>().to_string(),
            cells.mode.clone(),
            cells.proof.to_owned(),
            cells.state.clone(),
        ];
        if hosts {
            row.push(cells.modules.clone());
            row.push(cells.leftovers.clone());
        }
        row.push(few(&names));
        table.add_row(row);
    }
    let mut head = vec!["NODES", "ROLE", "READY", "RESTARTS", "MODE", "VERIFIED BY", "STATE"];
    if hosts {
        head.extend(["MODULES", "LEFTOVERS"]);
    }
    head.push("NAMES");
    finished(table, head) + "-o wide lists every node, -o json with all details.\n"
}

fn listed(nodes: &[NodeLine], wide: bool) -> String {
    let (head, rows) = rows(nodes, wide);
    let mut table = Table::new();
    for row in rows {
        table.add_row(row);
    }
    finished(table, head)
}

/// The heads of the columns, and a row for each node.
pub(super) fn rows(nodes: &[NodeLine], wide: bool) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let mut head = vec!["NODE", "ROLE", "POD", "READY", "RESTARTS", "MODE", "VERIFIED BY", "STATE"];
    let hosts = nodes.iter().any(|node| node.host.is_some());
    if hosts {
        head.extend(["MODULES", "LEFTOVERS"]);
    }
    if wide {
        head.extend(["LAST SYNC", "IMAGE", "REMARK"]);
    }
    let row = |node: &NodeLine| {
        let dash = || "-".to_owned();
        let mut row = vec![
            node.name.clone() + if node.ready { "" } else { " (not ready)" },
            node.role.to_owned(),
            node.pod.clone().unwrap_or_else(dash),
            if node.pod_ready { "yes" } else { "no" }.to_owned(),
            node.restarts.to_string(),
            node.mode_word(),
            node.proof_word().to_owned(),
            node.state_word(),
        ];
        if hosts {
            row.extend(node.host_words());
        }
        if wide {
            row.push(node.sync_word());
            row.push(node.image.clone().unwrap_or_else(dash));
            row.push(node.reason.clone().unwrap_or_default());
        }
        row
    };
    (head, nodes.iter().map(row).collect())
}
