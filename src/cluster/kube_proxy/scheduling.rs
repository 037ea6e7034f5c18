//! The nodes on which a `DaemonSet` runs a pod: node selector, required node affinity, taints.
//!
//! By the rules of the `DaemonSet` controller (`nodeShouldRunDaemonPod` in pkg/controller/daemon).

use kube::ResourceExt as _;

use crate::cluster::api::objects::{Node, Taint};
use crate::cluster::api::pod_objects::{NodeSelectorTerm, PodSpec, Requirement, Toleration};

/// Taints that every `DaemonSet` pod tolerates (`AddOrUpdateDaemonPodTolerations`).
const ALWAYS_TOLERATED: [&str; 6] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
];

/// Whether a `DaemonSet` with this template has a pod on the node.
pub fn wants(template: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    template.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        && template
            .affinity
            .node_affinity
            .required
            .as_ref()
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
        && node.spec.taints.iter().all(|taint| tolerated(&template.tolerations, taint))
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    // A term without requirements matches nothing.
    if term.match_expressions.is_empty() && term.match_fields.is_empty() {
        return false;
    }
    let name = node.name_any();
    let field = |key: &str| (key == "metadata.name").then_some(name.as_str());
    let label = |key: &str| node.labels().get(key).map(String::as_str);
    term.match_expressions.iter().all(|demand| demand_met(demand, label(&demand.key)))
        && term.match_fields.iter().all(|demand| demand_met(demand, field(&demand.key)))
}

fn demand_met(demand: &Requirement, value: Option<&str>) -> bool {
    let listed = || value.is_some_and(|value| demand.values.iter().any(|wanted| wanted == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, demand.values.first()?.parse::<i64>().ok()?));
    match demand.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    // PreferNoSchedule does not prevent scheduling.
    if !matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") || ALWAYS_TOLERATED.contains(&taint.key.as_str()) {
        return true;
    }
    // The pods use the host network, and such pods tolerate this taint as well.
    if taint.key == "node.kubernetes.io/network-unavailable" {
        return true;
    }
    tolerations.iter().any(|toleration| {
        (toleration.effect.is_empty() || toleration.effect == taint.effect)
            && match toleration.operator.as_str() {
                "Exists" => toleration.key.is_empty() || toleration.key == taint.key,
                _ => toleration.key == taint.key && toleration.value == taint.value,
            }
    })
}
