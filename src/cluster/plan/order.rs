//! Which node is switched when, and which are left as they are. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::request::{Request, Target};
use super::{NOT_READY, Plan, SkippedNode};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::node_protocol::Leftover;
use crate::sync_health::SyncState;

/// Why a node named by the operator is skipped.
const EXCLUDED: &str = "excluded";
/// Why nodes are not switched to a restored configuration with which kube-proxy cannot start.
const UNFIT: &str = "keeps the mode that it runs";

/// Sorts the nodes of a plan: what is done with each.
pub(super) fn order(facts: &ClusterFacts, request: &Request, target: &Target, plan: &mut Plan) {
    let mut todo: Vec<&NodeFacts> = Vec::new();
    for node in facts.proxy_nodes() {
        if target.unfit.is_some() {
            plan.left_alone.push(SkippedNode { node: node.name.clone(), reason: UNFIT.to_owned() });
        } else if is_right(facts, node, request, target, plan.edits) {
            plan.already_right.push(node.name.clone());
            // A bridge that a killed run left goes in any case.
            let is_left = |left: &Leftover| request.clean || left.of == env!("CARGO_PKG_NAME");
            if node.ready && node.survey().is_some_and(|host| host.leftovers.iter().any(is_left)) {
                plan.to_clean.push(node.name.clone());
            }
        } else if request.exclude_nodes.contains(&node.name) {
            plan.left_alone.push(SkippedNode { node: node.name.clone(), reason: EXCLUDED.to_owned() });
        } else if node.ready {
            todo.push(node);
        } else {
            plan.left_alone.push(SkippedNode { node: node.name.clone(), reason: NOT_READY.to_owned() });
        }
    }
    let others = facts.nodes.iter().filter(|node| !node.wanted || node.windows);
    plan.left_alone.extend(others.map(|node| SkippedNode {
        node: node.name.clone(),
        reason: if node.windows { "runs Windows" } else { "runs no kube-proxy" }.to_owned(),
    }));
    // Workers first: a failure there does not affect the API server's nodes. Names within each group are already sorted.
    todo.sort_by_key(|node| node.control_plane);
    let healthy = |node: &&NodeFacts| node.pod.as_ref().is_some_and(|pod| pod.ready && !pod.deleting);
    // When the command is repeated after a killed run, its canary is done, and another node is switched first.
    let asked = request.canary.as_ref().filter(|name| !plan.already_right.contains(name));
    let canary = match asked {
        Some(name) => todo.iter().position(|node| node.name == *name),
        None => todo.iter().position(|node| !node.control_plane && healthy(node)).or((!todo.is_empty()).then_some(0)),
    };
    if let Some(at) = canary {
        plan.canary = Some(todo.remove(at).name.clone());
    }
    plan.batches =
        todo.chunks(plan.batch_size).map(|batch| batch.iter().map(|node| node.name.clone()).collect()).collect();
}

/// Whether a node's kube-proxy is up to date: the mode is verified, and the pod is newer than the configuration.
fn is_right(facts: &ClusterFacts, node: &NodeFacts, request: &Request, target: &Target, edits: bool) -> bool {
    let Some(pod) = &node.pod else { return false };
    // Replacing a pod is no remedy for changes that wait.
    let never_synced = node.proof.sync.is_some_and(|sync| sync.state == SyncState::Never);
    // In the second leg, it reads the new configuration.
    let modes = request.on_the_way.as_ref().map(|way| [Some(way.to), Some(target.mode)]);
    let is_ahead = modes.is_some_and(|modes| modes.contains(&node.proof.mode));
    if is_ahead && !never_synced && !pod.deleting {
        return true;
    }
    if node.proof.mode != Some(target.mode) || never_synced || pod.deleting {
        return false;
    }
    let stale = facts.is_stale(pod);
    match (request.is_restore(), edits) {
        (false, true) => false,
        (false, false) => !stale,
        // A pod that is older than the last change, or runs another mode than configured, still runs the original.
        (true, true) => target.undoes_last && (stale || facts.target() != Ok(target.mode)),
        (true, false) => true,
    }
}

/// Number of nodes at a time: as requested, else `maxUnavailable` of the `DaemonSet`, the smallest of several; at least one.
/// Percentages are rounded up, as by the `DaemonSet` controller.
pub(super) fn batch_size(facts: &ClusterFacts, request: &Request) -> usize {
    let nodes = facts.proxy_nodes().count();
    let size = |given: Option<&IntOrString>| match given {
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (nodes * percent.min(100)).div_ceil(100)
        }
        None => 1,
    };
    let of_sets = || {
        let sets = facts.kube_proxy.iter().flat_map(KubeProxy::sets);
        sets.map(|set| size(set.max_unavailable.as_ref())).min()
    };
    let asked = request.max_unavailable.as_ref().map(|asked| size(Some(asked)));
    asked.or_else(of_sets).unwrap_or(1).max(1)
}
