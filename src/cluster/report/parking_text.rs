//! The plans of `remediate --mode none`, and of its rollback, as text.

use crate::cluster::api::connection::client::place;
use crate::cluster::kube_proxy::parking::LABEL;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;
use crate::cluster::plan::parking::Parking;
use crate::mode::ProxyMode;
use crate::report::few;

/// The plan to park kube-proxy, as text.
pub fn parking_text(facts: Option<&ClusterFacts>, plan: &Plan, parking: &Parking) -> String {
    let mut text = head(facts);
    for check in &plan.checks {
        text.push_str(&check.text());
    }
    let (Some(sets), Some(service)) = (facts.and_then(sets), parking.api_service) else { return text };
    let plane = parking.data_plane.as_deref().unwrap_or("another data plane");
    let mode = plan.from.map_or("its configured", ProxyMode::name);
    let others: Vec<String> = plan.batches.iter().flatten().cloned().collect();
    let mut steps = Vec::new();
    if !parking.already_parked {
        steps.push(format!(
            "park kube-proxy: add the nodeSelector {LABEL}, which no node has, to DaemonSet {sets}, and wait until its pods are gone"
        ));
    }
    if let Some(canary) = &plan.canary {
        steps.push(format!(
            "canary {canary}: verify that {service} is served without kube-proxy, drain IPVS connections, remove everything that kube-proxy made, and verify again"
        ));
    }
    if !others.is_empty() {
        steps.push(format!(
            "the other {} node(s), {} at a time, in the same way: {}",
            others.len(),
            plan.batch_size,
            few(&others)
        ));
    }
    if steps.is_empty() {
        return text
            + &format!("kube-proxy is parked, and nothing of it is left on {} node(s).\n", plan.already_right.len());
    }
    steps.push(format!("if a node is not served: remove the nodeSelector, and verify kube-proxy in {mode} mode again"));
    text.push_str(&format!("\nPlan: from {mode} mode to no kube-proxy; {plane} serves instead\n"));
    text + &numbered(&steps)
}

/// The plan to let kube-proxy run again, as text.
pub fn unparking_text(facts: &ClusterFacts) -> String {
    let mode = facts.target().map_or("its configured", ProxyMode::name);
    let since = facts.kube_proxy.as_ref().and_then(|set| set.parked.as_ref()).map_or("", |parked| &parked.since);
    let since = if since.is_empty() { String::new() } else { format!(" (parked at {since})") };
    let steps = [
        format!("remove the nodeSelector {LABEL} from DaemonSet {}{since}", sets(facts).unwrap_or_default()),
        format!("verify kube-proxy in {mode} mode on every node"),
    ];
    head(Some(facts)) + "\nPlan: let kube-proxy run again\n" + &numbered(&steps)
}

fn numbered(steps: &[String]) -> String {
    steps.iter().enumerate().map(|(number, step)| format!("  {}. {step}\n", number + 1)).collect()
}

fn head(facts: Option<&ClusterFacts>) -> String {
    let Some((facts, sets)) = facts.and_then(|facts| Some((facts, sets(facts)?))) else { return String::new() };
    let place = place(&facts.server, facts.context.as_deref());
    format!("Cluster {place}\nkube-proxy {}: DaemonSet {sets}\n", facts.proxy_version().unwrap_or_default())
}

fn sets(facts: &ClusterFacts) -> Option<String> {
    facts.kube_proxy.as_ref().map(|set| format!("{}/{}", set.namespace, set.names().join(", ")))
}
