//! Checks on kube-proxy's `ConfigMap` and `DaemonSet`.

use super::Question;
use crate::cluster::daemon_set::ConfigSource;
use crate::cluster::drift::finding;
use crate::feature_gates::in_config;
use crate::report::{Finding, Level};

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, around, edits, .. } = question;
    let (Some(kube_proxy), Some(config)) = (&facts.kube_proxy, &facts.config) else { return };
    let place = format!("ConfigMap {}/{}", kube_proxy.namespace, config.name);
    if let Some(advice) = facts.flavour.advice() {
        let managed = facts.flavour.is_managed();
        let level = if managed { Level::Error } else { Level::Info };
        findings.push(finding(
            level,
            if managed { "managed-cluster" } else { "not-kubeadm" },
            advice,
            facts.flavour.link(),
        ));
    }
    if edits && config.immutable {
        let hint = "an immutable ConfigMap can only be deleted and made anew: https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-immutable";
        findings.push(finding(Level::Error, "immutable-config", format!("{place} is immutable"), hint));
    }
    if edits && let Some(owner) = &config.owner {
        let message = format!("{place} is written by {owner}: the edit would be reverted");
        let hint = "make the change at its source, or --ignore-preflight-errors=foreign-owner; https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/";
        findings.push(finding(Level::Error, "foreign-owner", message, hint));
    }
    feature_gates(question, &place, findings);
    if let (Some(flag), true) = (&kube_proxy.mode_flag, kube_proxy.config != ConfigSource::Flags) {
        let message = format!("--proxy-mode={flag} in the DaemonSet is ignored beside --config");
        let hint = "remove it, so that nobody is misled: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        findings.push(finding(Level::Warning, "mode-flag", message, hint));
    }
    let pending: Vec<_> = facts
        .proxy_nodes()
        .filter_map(|node| node.pod.as_ref())
        .filter(|pod| !pod.deleting && around.newest_revision.as_ref().is_some_and(|newest| pod.revision != *newest))
        .map(|pod| pod.node.clone())
        .collect();
    if kube_proxy.generation != kube_proxy.observed_generation || !pending.is_empty() {
        let how = if kube_proxy.on_delete { "its strategy is OnDelete" } else { "a roll is under way" };
        let message = format!(
            "DaemonSet {}/{} has a newer template than the pods of {} node(s) ({how}): replacing these pods would deploy it",
            kube_proxy.namespace,
            kube_proxy.name,
            pending.len()
        );
        let hint = "finish that first: kubectl rollout status, or delete the old pods; https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/";
        findings.push(finding(Level::Error, "pending-revision", message, hint));
    }
}

/// Feature gates with which kube-proxy of this version does not start. Where a pod did start with them, its build takes them
/// (that of `OpenShift` only warns).
fn feature_gates(question: Question, place: &str, findings: &mut Vec<Finding>) {
    let Question { facts, wish, target, .. } = question;
    let minor = facts.minor();
    let refused = in_config::refused(&target.text, minor);
    if refused.is_empty() || minor == 0 {
        return;
    }
    let changed = facts.config.as_ref().and_then(|config| config.changed);
    let started = facts.proxy_nodes().any(|node| {
        let pod = node.pod.as_ref().filter(|pod| pod.ready && !pod.deleting && node.proof.mode.is_some());
        pod.zip(changed).is_some_and(|(pod, changed)| pod.created >= changed)
    });
    let level = if started || wish.is_restore() { Level::Warning } else { Level::Error };
    let message = format!("{place}: kube-proxy 1.{minor} exits with these featureGates: {}", refused.join(", "));
    let hint = "remove them from the ConfigMap, or set the value that they are locked to; https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates-removed/";
    findings.push(finding(level, "feature-gates", message, hint));
}
