//! Drift: where a cluster differs from its configuration, or its configuration from what it should be. Pure.

mod config;

pub use config::refused_fields;

use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::helper;
use crate::cluster::kube_proxy::daemon_set::ConfigSource;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::flavour::replacement;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, few, finding};
use crate::sync_health::{SyncHealth, SyncState};

/// How a node's kube-proxy compares with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs the configured mode.
    Right,
    /// It runs another mode.
    Wrong,
    /// It is configured for ipvs but fell back to iptables (kube-proxy ≤ 1.25).
    Fallback,
    /// It runs the configured mode, but does not write its rules.
    NotSyncing,
    /// Its mode could not be verified.
    Unproved,
    /// It has no kube-proxy pod but should have one.
    NoPod,
}

/// A run that holds the lock.
fn other_run(run: &OtherRun) -> Finding {
    if run.alive {
        let message =
            format!("another kpx-prep run is in progress ({}); this report may change while it lasts", run.words());
        return finding(Level::Info, "run-in-progress", message, "wait for it to finish");
    }
    let message = format!("a kpx-prep run was killed ({}); it holds the lock but does not renew it", run.words());
    finding(Level::Info, "lock-left", message, "no action needed; the next run takes over the lock")
}

/// How a node's kube-proxy compares with the configured mode.
pub fn state(node: &NodeFacts, facts: &ClusterFacts) -> State {
    if node.pod.is_none() {
        return State::NoPod;
    }
    let Some(mode) = node.proof.mode else { return State::Unproved };
    let target = facts.target().ok();
    if target == Some(mode) {
        let unknown = |sync: SyncHealth| sync.state == SyncState::Unknown;
        return match node.proof.trouble() {
            None => State::Right,
            Some(_) if node.proof.sync.is_none_or(unknown) => State::Unproved,
            Some(_) => State::NotSyncing,
        };
    }
    if node.proof.fallback { State::Fallback } else { State::Wrong }
}

/// What a cluster that kubeadm did not create means for a change; `managed` is the level where its provider manages kube-proxy.
pub fn flavour(facts: &ClusterFacts, managed: Level) -> Option<Finding> {
    let advice = facts.flavour.advice()?;
    let (level, id) =
        if facts.flavour.is_managed() { (managed, "managed-cluster") } else { (Level::Info, "not-kubeadm") };
    Some(finding(level, id, advice, facts.flavour.link()))
}

/// All findings about a cluster's kube-proxy.
pub fn findings(facts: &ClusterFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(flavour(facts, Level::Warning));
    let Some(kube_proxy) = &facts.kube_proxy else {
        let instead = replacement(&facts.daemon_sets);
        let message = instead.unwrap_or_else(|| "no DaemonSet in this cluster runs kube-proxy".to_owned());
        let hint = "kpx-prep requires a kube-proxy DaemonSet; if it was not detected, set --namespace and --daemonset; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        findings.push(finding(Level::Error, "no-kube-proxy", message, hint));
        return findings;
    };
    config::check(facts, &mut findings);
    if let Some(flag) = &kube_proxy.mode_flag
        && kube_proxy.config != ConfigSource::Flags
    {
        let message = format!(
            "DaemonSet {}/{} has --proxy-mode={flag} together with --config; kube-proxy ignores the flag",
            kube_proxy.namespace, kube_proxy.name
        );
        findings.push(finding(
            Level::Warning,
            "mode-flag",
            message,
            "remove the flag; only the mode in the ConfigMap applies",
        ));
    }
    if !kube_proxy.ignored_flags.is_empty() {
        let message = format!(
            "DaemonSet {}/{} has flags that kube-proxy ignores together with --config: {}",
            kube_proxy.namespace,
            kube_proxy.name,
            few(&kube_proxy.ignored_flags)
        );
        let hint =
            "set them in the ConfigMap; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        findings.push(finding(Level::Info, "ignored-flags", message, hint));
    }
    findings.extend(facts.other_run.as_ref().map(other_run));
    let in_use = facts.other_run.as_ref().is_some_and(|run| run.alive);
    let is_helper = |name: &str| helper::groups::NAMES.contains(&name.rsplit('/').next().unwrap_or_default());
    let helpers = facts.daemon_sets.iter().filter(|set| is_helper(&set.name));
    let running = facts.daemon_sets.iter().any(|set| is_helper(&set.name));
    for left in facts.helper_programs.iter().filter(|_| !in_use && !running) {
        let message = format!("ConfigMap {left}: a run that was killed left the node helper's program");
        let hint = "the next run will reuse or remove it; remove it with: kpx-prep remediate --remove-helper";
        findings.push(finding(Level::Info, "helper-left", message, hint));
    }
    for left in helpers.filter(|_| !in_use) {
        let message = format!(
            "DaemonSet {}: the node helper is still running, because of --keep-helper or a run that was killed",
            left.name
        );
        findings.push(finding(
            Level::Info,
            "helper-left",
            message,
            "the next run will reuse it; remove it with: kpx-prep remediate --remove-helper",
        ));
    }
    if !facts.elsewhere.is_empty() {
        let message = format!("{}: kube-proxy with another configuration, not included here", few(&facts.elsewhere));
        let hint = "select it with --namespace and --daemonset; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        findings.push(finding(Level::Warning, "other-kube-proxy", message, hint));
    }
    if !facts.windows_sets.is_empty() {
        let message = format!("{}: kube-proxy of Windows nodes, not changed", few(&facts.windows_sets));
        findings.push(finding(Level::Info, "windows", message, ""));
    }
    node_findings(facts, &mut findings);
    findings
}

fn node_findings(facts: &ClusterFacts, findings: &mut Vec<Finding>) {
    let names = |wanted: &dyn Fn(&NodeFacts) -> bool| {
        facts.proxy_nodes().filter(|node| wanted(node)).map(|node| node.name.clone()).collect::<Vec<_>>()
    };
    let is = |node: &NodeFacts, wanted: State| state(node, facts) == wanted;
    let rerun = format!("replace these pods one by one, verifying each: {}", facts.remediate());
    let configured = facts.target().map_or("no valid mode", ProxyMode::name);
    let mut tell = |level, id, nodes: Vec<String>, what: &str, hint: &str| {
        if !nodes.is_empty() {
            findings.push(finding(level, id, format!("{}: {what}", few(&nodes)), hint));
        }
    };
    let wrong = format!("configured for {configured}, but kube-proxy runs another mode");
    tell(Level::Warning, "drift", names(&|node| is(node, State::Wrong)), &wrong, &rerun);
    tell(
        Level::Warning,
        "silent-fallback",
        names(&|node| is(node, State::Fallback)),
        "configured for ipvs, but kube-proxy silently fell back to iptables",
        &format!(
            "the kernel modules are missing; prepare the nodes and replace these pods with: {}",
            facts.remediate()
        ),
    );
    tell(
        Level::Warning,
        "not-syncing",
        names(&|node| is(node, State::NotSyncing)),
        "kube-proxy runs the configured mode but does not write its rules",
        "run with -o wide to see the reason for each node, and check its log with: kubectl logs",
    );
    tell(
        Level::Warning,
        "unproved",
        names(&|node| is(node, State::Unproved)),
        "the effective mode, or whether kube-proxy writes its rules, could not be verified",
        "run with -o wide to see the reason for each node",
    );
    let parked = facts.kube_proxy.as_ref().and_then(|set| set.parked.as_ref()).filter(|parked| parked.selects);
    tell(
        Level::Warning,
        "parked",
        names(&|node| parked.is_some() && is(node, State::NoPod)),
        &format!(
            "kube-proxy is parked by kpx-prep remediate --mode none{}",
            parked.map(|parked| format!(" ({})", parked.since)).unwrap_or_default()
        ),
        "let it run again with: kpx-prep remediate --rollback",
    );
    tell(
        Level::Warning,
        "no-pod",
        names(&|node| parked.is_none() && is(node, State::NoPod)),
        "no kube-proxy pod",
        "check with: kubectl describe daemonset",
    );
    tell(
        Level::Info,
        "stale-pods",
        names(&|node| node.pod.as_ref().is_some_and(|pod| facts.is_stale(pod))),
        "kube-proxy was started before the last change of its configuration, which it reads only at start",
        &rerun,
    );
    tell(
        Level::Warning,
        "nodes-not-ready",
        names(&|node| !node.ready),
        "not ready",
        "check with: kubectl describe node",
    );
    let crashing = |node: &NodeFacts| node.pod.as_ref().is_some_and(|pod| !pod.ready && !pod.deleting);
    tell(
        Level::Warning,
        "unhealthy-pods",
        names(&crashing),
        "the kube-proxy pod is not ready",
        "check with: kubectl logs --previous",
    );
}
