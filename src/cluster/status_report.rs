//! What `status` tells: a table for people, JSON and YAML for programs.

use comfy_table::{Table, presets};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::checks;
use super::drift::{State, findings, state};
use super::facts::{Facts, HashAnnotation, NodeFacts};
use super::flavour::Flavour;
use super::proof::How;
use crate::exit_code::Exit;
use crate::messages::{Leftover, Survey};
use crate::mode::ProxyMode;
use crate::report::{API_VERSION, Finding, Format, Level, serialize};

/// A cluster's state. Its JSON form is an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    api_version: &'static str,
    kind: &'static str,
    cluster: Cluster,
    kube_proxy: Option<Proxy>,
    nodes: Vec<NodeLine>,
    totals: Totals,
    findings: Vec<Finding>,
    backups: Vec<BackupLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cluster {
    server: String,
    version: String,
    flavour: Flavour,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Proxy {
    namespace: String,
    daemon_set: String,
    image: String,
    version: Option<String>,
    config_map: Option<String>,
    key: Option<String>,
    configured_mode: Option<String>,
    target_mode: Option<&'static str>,
    hash_annotation: Option<HashAnnotation>,
    last_change: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode_flag: Option<String>,
    max_unavailable: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NodeLine {
    name: String,
    role: &'static str,
    ready: bool,
    pod: Option<String>,
    image: Option<String>,
    pod_ready: bool,
    restarts: u32,
    effective_mode: Option<&'static str>,
    proof: Option<How>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    fallback: bool,
    stale: bool,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<HostLine>,
}

/// What the node helper saw of a node's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct HostLine {
    /// What `node install` would come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    modules: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leftovers: Option<Vec<Leftover>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicious: Option<Vec<String>>,
    /// Why it could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    nodes: usize,
    right: usize,
    wrong: usize,
    unproved: usize,
    without_pod: usize,
    without_kube_proxy: usize,
    windows: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupLine {
    name: String,
    replaced_at: String,
    hash: String,
}

impl StatusReport {
    /// The report on these facts.
    pub fn new(facts: &Facts) -> Self {
        let nodes: Vec<_> = facts.proxy_nodes().map(|node| NodeLine::new(facts, node)).collect();
        let count = |wanted: &[State]| nodes.iter().filter(|node| wanted.contains(&node.state)).count();
        let windows = facts.nodes.iter().filter(|node| node.windows).count();
        let totals = Totals {
            nodes: facts.nodes.len(),
            right: count(&[State::Right]),
            wrong: count(&[State::Wrong, State::Fallback]),
            unproved: count(&[State::Unproved]),
            without_pod: count(&[State::NoPod]),
            without_kube_proxy: facts.nodes.len() - nodes.len() - windows,
            windows,
        };
        Self {
            api_version: API_VERSION,
            kind: "ClusterStatus",
            cluster: Cluster {
                server: facts.server.clone(),
                version: facts.version.clone(),
                flavour: facts.flavour,
                note: facts.flavour.advice(),
            },
            kube_proxy: proxy(facts),
            nodes,
            totals,
            findings: findings(facts).into_iter().chain(checks::hosts::of_status(facts)).collect(),
            backups: facts
                .backups
                .iter()
                .map(|backup| BackupLine {
                    name: backup.name.clone(),
                    replaced_at: backup.replaced_at.clone(),
                    hash: backup.hash().to_owned(),
                })
                .collect(),
        }
    }

    /// [`Exit::Done`] if all nodes that should run kube-proxy run the configured mode.
    pub fn exit(&self) -> Exit {
        let broken = self.findings.iter().any(|finding| finding.level == Level::Error);
        let all = self.nodes.iter().all(|node| node.state == State::Right && node.host_is_fine(self.ipvs()));
        if all && !broken && self.kube_proxy.is_some() { Exit::Done } else { Exit::CheckSaysNo }
    }

    /// The report as text: `wide` adds images and reasons.
    ///
    /// # Errors
    /// When it cannot be serialized.
    pub fn render(&self, format: Format, wide: bool) -> anyhow::Result<String> {
        if format != Format::Text {
            return serialize(self, format);
        }
        let mut text = format!("Cluster    {} · {} · {}\n", self.cluster.server, self.cluster.version, self.flavour());
        if let Some(proxy) = &self.kube_proxy {
            text.push_str(&proxy.render());
        }
        if !self.nodes.is_empty() {
            text.push('\n');
            text.push_str(&self.table(wide));
            text.push('\n');
        }
        text.push_str(&self.summary());
        for finding in &self.findings {
            text.push_str(&line(finding));
        }
        if !self.backups.is_empty() {
            text.push_str("\nOriginals kept (kpx-prep remediate --rollback --to NAME):\n");
            for backup in &self.backups {
                text.push_str(&format!("  {}  replaced {}\n", backup.name, backup.replaced_at));
            }
        }
        Ok(text)
    }

    /// Whether the nodes are to run ipvs.
    fn ipvs(&self) -> bool {
        self.kube_proxy.as_ref().is_some_and(|proxy| proxy.target_mode == Some(ProxyMode::Ipvs.name()))
    }

    fn flavour(&self) -> String {
        serde_json::to_value(self.cluster.flavour)
            .ok()
            .and_then(|v| v.as_str().map(ToOwned::to_owned))
            .unwrap_or_default()
    }

    fn table(&self, wide: bool) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut head = vec!["NODE", "ROLE", "POD", "READY", "RESTARTS", "MODE", "PROVED BY", "STATE"];
        let hosts = self.nodes.iter().any(|node| node.host.is_some());
        if hosts {
            head.extend(["MODULES", "LEFTOVERS"]);
        }
        if wide {
            head.extend(["IMAGE", "REMARK"]);
        }
        table.set_header(head);
        for node in &self.nodes {
            let dash = || "-".to_owned();
            let mut row = vec![
                node.name.clone() + if node.ready { "" } else { " (not ready)" },
                node.role.to_owned(),
                node.pod.clone().unwrap_or_else(dash),
                if node.pod_ready { "yes" } else { "no" }.to_owned(),
                node.restarts.to_string(),
                node.effective_mode.map_or_else(dash, ToOwned::to_owned),
                match node.proof {
                    Some(How::ProxyMode) => "/proxyMode".to_owned(),
                    Some(How::Log) => "log".to_owned(),
                    None => "unproved".to_owned(),
                },
                node.state_word(),
            ];
            if hosts {
                row.extend(node.host_words());
            }
            if wide {
                row.push(node.image.clone().unwrap_or_else(dash));
                row.push(node.reason.clone().unwrap_or_default());
            }
            table.add_row(row);
        }
        table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    fn summary(&self) -> String {
        let totals = &self.totals;
        let target = self.kube_proxy.as_ref().and_then(|proxy| proxy.target_mode).unwrap_or("the configured mode");
        let mut parts = vec![format!("{} of {} nodes run {target}", totals.right, self.nodes.len())];
        for (count, what) in [
            (totals.wrong, "run another mode"),
            (totals.unproved, "unproved"),
            (totals.without_pod, "without a pod"),
            (totals.without_kube_proxy, "run no kube-proxy"),
            (totals.windows, "run Windows"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ") + "\n"
    }
}

/// One line for a finding, and one for its hint.
pub fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Info => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let hint = finding.hint.as_ref().map(|hint| format!("    → {hint}\n")).unwrap_or_default();
    format!("{level}: [{}] {}\n{hint}", finding.id, finding.message)
}

impl NodeLine {
    fn new(facts: &Facts, node: &NodeFacts) -> Self {
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
            effective_mode: node.proof.mode.map(ProxyMode::name),
            proof: node.proof.how,
            reason: node.proof.reason.clone(),
            fallback: state == State::Fallback,
            stale: pod.is_some_and(|pod| facts.is_stale(pod)),
            state,
            host: node.host.as_ref().map(HostLine::new),
        }
    }

    /// Whether nothing on the host is against its mode, as far as it was looked at.
    fn host_is_fine(&self, ipvs: bool) -> bool {
        self.host.as_ref().is_none_or(|host| {
            let prepared = !ipvs || host.modules.as_deref() == Some("already-prepared");
            prepared && host.leftovers.as_ref().is_some_and(Vec::is_empty)
        })
    }

    fn host_words(&self) -> [String; 2] {
        let Some(host) = &self.host else { return ["-".to_owned(), "-".to_owned()] };
        let modules = match host.modules.as_deref() {
            Some("already-prepared") => "prepared",
            Some("would-prepare") => "not yet",
            Some("not-prepared") => "impossible",
            _ => "unknown",
        };
        let leftovers = host.leftovers.as_ref().map_or_else(|| "unknown".to_owned(), |left| left.len().to_string());
        [modules.to_owned(), leftovers]
    }

    fn state_word(&self) -> String {
        let word = match self.state {
            State::Right => "as configured",
            State::Wrong => "another mode",
            State::Fallback => "fell back silently",
            State::Unproved => "unknown",
            State::NoPod => "no pod",
        };
        if self.stale { format!("{word}, older than its config") } else { word.to_owned() }
    }
}

impl HostLine {
    fn new(host: &Result<Survey, String>) -> Self {
        match host {
            Ok(survey) => Self {
                modules: Some(survey.modules.outcome.clone()),
                leftovers: Some(survey.leftovers.clone()),
                suspicious: Some(survey.suspicious.clone()),
                error: None,
            },
            Err(why) => Self { modules: None, leftovers: None, suspicious: None, error: Some(why.clone()) },
        }
    }
}

impl Proxy {
    fn render(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let mut text = format!(
            "kube-proxy {version} · DaemonSet {}/{} · maxUnavailable {}\n",
            self.namespace, self.daemon_set, self.max_unavailable
        );
        if let (Some(config_map), Some(key)) = (&self.config_map, &self.key) {
            let mode = match self.configured_mode.as_deref() {
                None => "unreadable".to_owned(),
                Some("") => format!("\"\" ({})", self.target_mode.unwrap_or("invalid")),
                Some(mode) => mode.to_owned(),
            };
            let changed = self.last_change.as_ref().map(|time| format!(" · last change {time}")).unwrap_or_default();
            text.push_str(&format!("Configured mode {mode} · ConfigMap {config_map}, key {key}{changed}\n"));
        }
        text
    }
}

fn proxy(facts: &Facts) -> Option<Proxy> {
    let kube_proxy = facts.kube_proxy.as_ref()?;
    let config = facts.config.as_ref();
    let parsed = config.and_then(|config| config.parsed.as_ref().ok());
    let changed = config.and_then(|config| jiff::Timestamp::from_second(config.changed?).ok());
    Some(Proxy {
        namespace: kube_proxy.namespace.clone(),
        daemon_set: kube_proxy.name.clone(),
        image: kube_proxy.image.clone(),
        version: facts.proxy_version(),
        config_map: config.map(|config| config.name.clone()),
        key: config.map(|config| config.key.clone()),
        configured_mode: parsed.map(|parsed| parsed.mode.clone()),
        target_mode: facts.target().ok().map(ProxyMode::name),
        hash_annotation: config.map(|config| config.hash),
        last_change: changed.map(|time| time.to_string()),
        mode_flag: kube_proxy.mode_flag.clone(),
        max_unavailable: match &kube_proxy.max_unavailable {
            Some(IntOrString::Int(number)) => number.to_string(),
            Some(IntOrString::String(text)) => text.clone(),
            None => "1".to_owned(),
        },
    })
}
