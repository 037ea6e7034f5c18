//! Checks on kube-proxy's `ConfigMap` and `DaemonSet`.

use super::question::Question;
use crate::cluster::kube_proxy::daemon_set::ConfigSource;
use crate::cluster::observe::surroundings::Surroundings;
use crate::cluster::plan::drift::{flavour, refused_fields};
use crate::feature_gates::{Verdict, verdict};
use crate::proxy_config::ProxyConfig;
use crate::report::foreign::foreign;
use crate::report::{Finding, Level, few, finding};

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, surroundings, request, target, edits } = question;
    let (Some(kube_proxy), Some(config)) = (&facts.kube_proxy, &facts.config) else { return };
    let place = format!("ConfigMap {}/{}", kube_proxy.namespace, config.name);
    findings.extend(flavour(facts, Level::Error));
    if let Some(parsed) = &target.config {
        // An original is restored whatever it contains.
        let level = if request.is_restore() { Level::Warning } else { Level::Error };
        findings.extend(refused_fields(&place, parsed, facts.minor(), target.mode, level));
        feature_gates(question, &place, parsed, findings);
        taken_port(surroundings, parsed, findings);
    }
    if let Some(why) = &target.unfit {
        let message = format!(
            "the original configuration has no mode that kube-proxy can run ({why}); it is restored without restarting any kube-proxy, so each keeps its current mode"
        );
        findings.push(finding(
            Level::Warning,
            "mode-invalid",
            message,
            "set a mode afterwards with: kpx-prep remediate --mode MODE",
        ));
    }
    if edits && config.immutable {
        let hint = "an immutable ConfigMap must be deleted and created again; https://kubernetes.io/docs/concepts/configuration/configmap/#configmap-immutable";
        findings.push(finding(Level::Error, "immutable-config", format!("{place} is immutable"), hint));
    }
    if edits && let Some(owner) = &config.owner {
        let message = format!("{place} is managed by {owner}, which would revert the edit");
        let hint = "make the change at its source, or override with --ignore-preflight-errors=foreign-owner; https://argo-cd.readthedocs.io/en/stable/user-guide/auto_sync/";
        findings.push(finding(Level::Error, "foreign-owner", message, hint));
    }
    if let (Some(flag), true) = (&kube_proxy.mode_flag, kube_proxy.config != ConfigSource::Flags) {
        let message = format!("--proxy-mode={flag} in the DaemonSet has no effect together with --config");
        let hint = "remove the flag; only the mode in the ConfigMap applies; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        findings.push(finding(Level::Warning, "mode-flag", message, hint));
    }
    let pending: Vec<_> = facts
        .proxy_nodes()
        .filter_map(|node| node.pod.as_ref())
        .filter(|pod| {
            !pod.deleting && surroundings.newest_revisions.get(&pod.set).is_some_and(|newest| pod.revision != *newest)
        })
        .map(|pod| pod.node.clone())
        .collect();
    let unseen = kube_proxy.sets().any(|set| set.generation != set.observed_generation);
    if unseen || !pending.is_empty() {
        let how = if kube_proxy.sets().any(|set| set.on_delete) {
            "its update strategy is OnDelete"
        } else {
            "a rollout is in progress"
        };
        let message = format!(
            "DaemonSet {}/{} has a newer template than the pods on {} node(s) ({how}); replacing these pods would deploy it",
            kube_proxy.namespace,
            kube_proxy.names().join(", "),
            pending.len()
        );
        let hint = "finish that rollout first (kubectl rollout status), or delete the old pods; https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/";
        findings.push(finding(Level::Error, "pending-revision", message, hint));
    }
}

/// Whether another pod uses the metrics port: kube-proxy keeps running, but its mode cannot be read from that port.
fn taken_port(surroundings: &Surroundings, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    let port = config.ports.metrics;
    let by = surroundings.host_network_ports.get(&i32::from(port)).map(|pod| format!("pod {pod} in the host network"));
    let by = by.or_else(|| (port == config.ports.healthz).then(|| "healthzBindAddress".to_owned()));
    if let Some(by) = by {
        let message = format!(
            "port {port} of metricsBindAddress is in use by {by}; the mode can be verified only in kube-proxy's log"
        );
        let hint = "set a different port in metricsBindAddress; https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/";
        findings.push(finding(Level::Warning, "metrics-port", message, hint));
    }
}

/// Feature gates with which kube-proxy of this version does not start. If a pod has started with them, its build accepts them
/// (that of `OpenShift` only warns).
fn feature_gates(question: Question, place: &str, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    let Question { facts, request, .. } = question;
    let minor = facts.minor();
    let why = |(gate, on): &(String, bool)| match verdict(gate, *on, minor) {
        Verdict::Refused(why) => Some((format!("{} {why}", foreign(gate)), why.is_certain(minor))),
        Verdict::Taken | Verdict::Unknown => None,
    };
    let (refused, certain): (Vec<_>, Vec<_>) = config.gates.iter().filter_map(why).unzip();
    if refused.is_empty() || minor == 0 {
        return;
    }
    let changed = facts.config.as_ref().and_then(|config| config.changed);
    let started = facts.proxy_nodes().any(|node| {
        let pod = node.pod.as_ref().filter(|pod| pod.ready && !pod.deleting && node.proof.mode.is_some());
        pod.zip(changed).is_some_and(|(pod, changed)| pod.created >= changed)
    });
    let exits = certain.contains(&true);
    let level = if started || !exits || request.is_restore() { Level::Warning } else { Level::Error };
    let message = format!(
        "{place}: kube-proxy 1.{minor} {} with these featureGates: {}",
        if exits { "exits" } else { "may exit" },
        few(&refused)
    );
    let hint = "remove them from the ConfigMap, or set them to their locked value; https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates-removed/";
    findings.push(finding(level, "feature-gates", message, hint));
}
