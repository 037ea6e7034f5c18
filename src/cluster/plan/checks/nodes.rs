//! Checks of nodes and kube-proxy's pods.

use std::collections::BTreeSet;

use super::question::Question;
use crate::cluster::observe::facts::NodeFacts;
use crate::kubernetes_version::minor_of;
use crate::report::{Finding, Level, few, finding};

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, edits, .. } = question;
    let names = |wanted: &dyn Fn(&NodeFacts) -> bool| -> Vec<String> {
        facts.proxy_nodes().filter(|node| wanted(node)).map(|node| node.name.clone()).collect()
    };
    others(question, findings);
    let down = names(&|node| !node.ready);
    if !down.is_empty() {
        let message = format!("{}: NotReady; skipped. Run remediate again once they are Ready", few(&down));
        let hint = "check with: kubectl describe node; https://kubernetes.io/docs/reference/node/node-status/";
        findings.push(finding(Level::Warning, "nodes-not-ready", message, hint));
    }
    if facts.kube_proxy.as_ref().is_some_and(|set| set.parked.is_some()) {
        let message =
            "kube-proxy is parked by kpx-prep remediate --mode none, or its rollback was stopped; no other mode can be verified".to_owned();
        let hint = "let it run again first: kpx-prep remediate --rollback; https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/";
        findings.push(finding(Level::Error, "parked", message, hint));
        return;
    }
    let unhealthy = names(&|node| node.ready && node.pod.as_ref().is_none_or(|pod| !pod.ready && !pod.deleting));
    if !unhealthy.is_empty() {
        let message = format!("{}: the kube-proxy pod is not ready before the switch", few(&unhealthy));
        let hint = "fix this first, otherwise failures caused by the switch cannot be told apart; check with: kubectl describe pod, kubectl logs --previous; \
                    https://kubernetes.io/docs/tasks/debug/debug-application/debug-pods/";
        // Continuing or rolling back is how an unfinished switch is fixed.
        let level = if edits && !request.is_restore() { Level::Error } else { Level::Warning };
        findings.push(finding(level, "unhealthy-pods", message, hint));
    }
    let images: BTreeSet<_> = facts.proxy_nodes().filter_map(|node| Some(node.pod.as_ref()?.image.as_str())).collect();
    if images.len() > 1 {
        let list = images.iter().copied().collect::<Vec<_>>().join(", ");
        let hint = "the behaviour of a mode depends on the version; https://kubernetes.io/releases/version-skew-policy/#kube-proxy";
        findings.push(finding(Level::Warning, "image-skew", format!("kube-proxy runs several images: {list}"), hint));
    }
    let server = minor_of(&facts.version);
    if let (Some(server), Some(proxy)) = (server, facts.proxy_version().as_deref().and_then(minor_of))
        && proxy > server
    {
        let message = format!("kube-proxy 1.{proxy} is newer than the API server (1.{server})");
        let hint = "https://kubernetes.io/releases/version-skew-policy/#kube-proxy";
        findings.push(finding(Level::Warning, "image-skew", message, hint));
    }
}

/// kube-proxies with another configuration: this run cannot switch them, and two on one node remove each other's rules.
fn others(question: Question, findings: &mut Vec<Finding>) {
    let Question { surroundings, request, .. } = question;
    let there = surroundings.other_proxies.iter().filter(|(node, _)| !request.exclude_nodes.contains(node));
    let (nodes, places): (Vec<_>, Vec<_>) =
        there.map(|(node, pod)| (node.clone(), format!("{node} (pod {pod})"))).unzip();
    if nodes.is_empty() {
        return;
    }
    let message =
        format!("{}: a kube-proxy with a separate configuration, which this run does not switch", few(&places));
    let hint = format!(
        "switch it in its own configuration, and skip its nodes here with --exclude-nodes {}; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
        nodes.join(",")
    );
    findings.push(finding(Level::Error, "other-kube-proxy", message, &hint));
}
