//! The output of `status`: a table as text, or JSON and YAML.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::status_nodes::{NodeLine, table};
use crate::cluster::api::connection::client::place;
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::kube_proxy::config_map::HashAnnotation;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::flavour::Flavour;
use crate::cluster::plan::checks;
use crate::cluster::plan::drift::{State, findings};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::{API_VERSION, Finding, Format, Level, serialize};

/// The state of a cluster. Its JSON form is an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    api_version: &'static str,
    kind: &'static str,
    cluster: Cluster,
    pub(super) kube_proxy: Option<Proxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<OtherRun>,
    pub(super) nodes: Vec<NodeLine>,
    totals: Totals,
    pub(super) findings: Vec<Finding>,
    backups: Vec<BackupLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cluster {
    server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    version: String,
    flavour: Flavour,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proxy {
    namespace: String,
    daemon_set: String,
    /// All `DaemonSet`s that read the configuration, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    daemon_sets: Vec<String>,
    image: String,
    version: Option<String>,
    config_map: Option<String>,
    key: Option<String>,
    configured_mode: Option<String>,
    pub(super) target_mode: Option<ProxyMode>,
    hash_annotation: Option<HashAnnotation>,
    last_change: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode_flag: Option<String>,
    max_unavailable: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    nodes: usize,
    right: usize,
    wrong: usize,
    not_syncing: usize,
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
    /// The report for these facts.
    pub fn new(facts: &ClusterFacts) -> Self {
        let nodes: Vec<_> = facts.proxy_nodes().map(|node| NodeLine::new(facts, node)).collect();
        let count = |wanted: &[State]| nodes.iter().filter(|node| wanted.contains(&node.state)).count();
        let windows = facts.nodes.iter().filter(|node| node.windows).count();
        let totals = Totals {
            nodes: facts.nodes.len(),
            right: count(&[State::Right]),
            wrong: count(&[State::Wrong, State::Fallback]),
            not_syncing: count(&[State::NotSyncing]),
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
                context: facts.context.clone(),
                version: facts.version.clone(),
                flavour: facts.flavour,
                note: facts.flavour.advice(),
            },
            kube_proxy: proxy(facts),
            run: facts.other_run.clone(),
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
    /// If it cannot be serialized.
    pub fn render(&self, format: Format, wide: bool) -> anyhow::Result<String> {
        if format != Format::Text {
            return serialize(self, format);
        }
        let mut text = self.head();
        if !self.nodes.is_empty() {
            text.push('\n');
            text.push_str(&table(&self.nodes, wide));
            text.push('\n');
        }
        text.push_str(&self.summary());
        for finding in &self.findings {
            text.push_str(&finding.text());
        }
        if !self.backups.is_empty() {
            text.push_str("\nBackups (restore with: kpx-prep remediate --rollback --to NAME):\n");
            for backup in &self.backups {
                text.push_str(&format!("  {}  replaced {}\n", backup.name, backup.replaced_at));
            }
        }
        Ok(text)
    }

    /// The cluster, its kube-proxy and what is configured: a line each.
    pub(super) fn head(&self) -> String {
        let place = place(&self.cluster.server, self.cluster.context.as_deref());
        let cluster = format!("Cluster    {place}, {}, {}\n", self.cluster.version, self.flavour());
        cluster + &self.kube_proxy.as_ref().map(Proxy::render).unwrap_or_default()
    }

    /// The backups: name, and when what they have was replaced.
    pub(super) fn backup_rows(&self) -> Vec<Vec<String>> {
        self.backups.iter().map(|backup| vec![backup.name.clone(), backup.replaced_at.clone()]).collect()
    }

    /// Whether ipvs is configured.
    fn ipvs(&self) -> bool {
        let target = self.kube_proxy.as_ref().and_then(|proxy| proxy.target_mode);
        target.is_some_and(|mode| mode.traits().needs_modules)
    }

    fn flavour(&self) -> String {
        serde_json::to_value(self.cluster.flavour)
            .ok()
            .and_then(|v| v.as_str().map(ToOwned::to_owned))
            .unwrap_or_default()
    }

    pub(super) fn summary(&self) -> String {
        let totals = &self.totals;
        let target =
            self.kube_proxy.as_ref().and_then(|proxy| proxy.target_mode).map_or("the configured mode", ProxyMode::name);
        let mut parts = vec![format!("{} of {} nodes run {target}", totals.right, self.nodes.len())];
        for (count, what) in [
            (totals.wrong, "run another mode"),
            (totals.not_syncing, "do not write their rules"),
            (totals.unproved, "unverified"),
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

impl Proxy {
    fn render(&self) -> String {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let mut text = format!(
            "kube-proxy {version}, DaemonSet {}/{}, maxUnavailable {}\n",
            self.namespace,
            if self.daemon_sets.is_empty() { self.daemon_set.clone() } else { self.daemon_sets.join(", ") },
            self.max_unavailable
        );
        if let (Some(config_map), Some(key)) = (&self.config_map, &self.key) {
            let mode = match self.configured_mode.as_deref() {
                None => "unreadable".to_owned(),
                Some("") => format!("\"\" ({})", self.target_mode.map_or("invalid", ProxyMode::name)),
                Some(mode) => mode.to_owned(),
            };
            let changed = self.last_change.as_ref().map(|time| format!(", last change {time}")).unwrap_or_default();
            text.push_str(&format!("Configured mode {mode}, ConfigMap {config_map}, key {key}{changed}\n"));
        }
        text
    }
}

fn proxy(facts: &ClusterFacts) -> Option<Proxy> {
    let kube_proxy = facts.kube_proxy.as_ref()?;
    let config = facts.config.as_ref();
    let parsed = config.and_then(|config| config.parsed.as_ref().ok());
    let changed = config.and_then(|config| jiff::Timestamp::from_second(config.changed?).ok());
    Some(Proxy {
        namespace: kube_proxy.namespace.clone(),
        daemon_set: kube_proxy.name.clone(),
        daemon_sets: if kube_proxy.siblings.is_empty() { Vec::new() } else { kube_proxy.names() },
        image: kube_proxy.image.clone(),
        version: facts.proxy_version(),
        config_map: config.map(|config| config.name.clone()),
        key: config.map(|config| config.key.clone()),
        configured_mode: parsed.map(|parsed| parsed.mode.clone()),
        target_mode: facts.target().ok(),
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
