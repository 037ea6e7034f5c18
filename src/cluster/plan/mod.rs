//! From what was observed and what is wanted to what will be done, or why not. Pure.

pub mod checks;
pub mod diff;
pub mod drift;
pub mod request;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;

use super::kube_proxy::daemon_set::KubeProxy;
use super::observe::facts::{ClusterFacts, NodeFacts};
use super::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, finding};
use checks::question::Question;
use checks::{run, soften};
use drift::findings;
use request::{Request, Target};

/// Why a node that is down is left.
pub const NOT_READY: &str = "not ready";
/// Why a node is left that the operator named.
const EXCLUDED: &str = "excluded";
/// Why no node is switched to a configuration that is put back and that no kube-proxy can start with.
const UNFIT: &str = "keeps the mode that it runs";

/// What will be done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What the configuration amounts to now.
    pub from: Option<&'static str>,
    /// What it will amount to.
    pub to: Option<&'static str>,
    /// The change of the `ConfigMap`; empty if it is right already.
    pub diff: String,
    /// Nodes that are prepared for ipvs before anything else; empty also where nobody looked.
    pub to_prepare: Vec<String>,
    /// The node that goes first.
    pub canary: Option<String>,
    /// The nodes after it, in batches.
    pub batches: Vec<Vec<String>>,
    /// How many nodes a batch has at most.
    pub batch_size: usize,
    /// Nodes that are left as they are, and why.
    pub left_alone: Vec<SkippedNode>,
    /// Nodes that run what is wanted already.
    pub already_right: Vec<String>,
    /// Those of them where other modes left something that is to be removed.
    pub to_clean: Vec<String>,
    /// What preflight says.
    #[serde(skip)]
    pub checks: Vec<Finding>,
    /// The configuration to be written; nothing if it is right already.
    #[serde(skip)]
    pub target: Option<Target>,
    /// Whether the configuration has to be changed.
    #[serde(skip)]
    pub edits: bool,
    /// Whether what other modes left on the nodes is removed.
    #[serde(skip)]
    pub cleans: bool,
}

/// A node that is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedNode {
    /// The node.
    pub node: String,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// A plan about which nothing is known yet.
    pub fn unknown() -> Self {
        Self {
            from: None,
            to: None,
            diff: String::new(),
            to_prepare: Vec::new(),
            canary: None,
            batches: Vec::new(),
            batch_size: 1,
            left_alone: Vec::new(),
            already_right: Vec::new(),
            to_clean: Vec::new(),
            checks: Vec::new(),
            target: None,
            edits: false,
            cleans: false,
        }
    }

    /// Whether preflight stops it.
    pub fn is_blocked(&self) -> bool {
        self.checks.iter().any(|check| check.level == Level::Error)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.edits && self.canary.is_none() && self.batches.is_empty() && self.to_clean.is_empty()
    }

    /// The mode that is wanted.
    pub fn mode(&self) -> Option<ProxyMode> {
        self.target.as_ref().filter(|target| target.unfit.is_none()).map(|target| target.mode)
    }
}

/// Makes the plan.
pub fn plan(facts: &ClusterFacts, surroundings: &Surroundings, request: &Request) -> Plan {
    let mut plan = Plan {
        from: facts.target().ok().map(ProxyMode::name),
        batch_size: batch_size(facts, request),
        ..Plan::unknown()
    };
    let target = match request.target(facts) {
        Ok(target) => target,
        Err(refused) => {
            let of_wish = refused.iter().map(|r| finding(Level::Error, r.id, r.message.clone(), r.hint));
            plan.checks.extend(of_wish);
            // What makes the cluster itself unfit says more than that its configuration cannot be edited.
            let unfit = ["no-kube-proxy", "flag-only-config", "config-unreadable", "managed-cluster"];
            let mut of_cluster = findings(facts);
            of_cluster.retain(|f| unfit.contains(&&*f.id) && !plan.checks.iter().any(|check| check.id == f.id));
            plan.checks.extend(of_cluster.into_iter().map(|f| Finding { level: Level::Error, ..f }));
            soften(&mut plan.checks, request);
            // Without a target there is nothing to go on with.
            if !plan.is_blocked()
                && let Some(check) = plan.checks.first_mut()
            {
                check.level = Level::Error;
            }
            return plan;
        }
    };
    // There is a target only where there is a configuration.
    let Some(config) = &facts.config else { return plan };
    plan.to = target.unfit.is_none().then_some(target.mode.name());
    plan.edits = target.text != config.text;
    plan.cleans = request.clean;
    if plan.edits {
        plan.diff = diff::diff(&config.key, &config.text, &target.text);
    }
    order(facts, request, &target, &mut plan);
    if target.mode == ProxyMode::Ipvs && target.unfit.is_none() && !request.nodes_are_prepared && !plan.is_empty() {
        let wanting = |node: &&NodeFacts| {
            let prepared = node.survey().is_none_or(|host| host.modules.outcome.is_prepared());
            node.ready && !prepared && !request.exclude_nodes.contains(&node.name)
        };
        plan.to_prepare = facts.proxy_nodes().filter(wanting).map(|node| node.name.clone()).collect();
    }
    if !plan.is_empty() {
        plan.checks = run(Question { facts, surroundings, request, target: &target, edits: plan.edits });
    }
    if let Some(canary) = &request.canary
        && !plan.is_empty()
        && plan.canary.as_ref() != Some(canary)
        && !plan.already_right.contains(canary)
    {
        let message = format!("--canary {canary}: no such node among those to be switched");
        plan.checks.push(finding(Level::Error, "canary", message, "kpx-prep status lists the nodes"));
    }
    plan.target = Some(target);
    plan
}

fn order(facts: &ClusterFacts, request: &Request, target: &Target, plan: &mut Plan) {
    let mut todo: Vec<&NodeFacts> = Vec::new();
    for node in facts.proxy_nodes() {
        if target.unfit.is_some() {
            plan.left_alone.push(SkippedNode { node: node.name.clone(), reason: UNFIT.to_owned() });
        } else if is_right(facts, node, request, target, plan.edits) {
            plan.already_right.push(node.name.clone());
            if request.clean && node.ready && node.survey().is_some_and(|host| !host.leftovers.is_empty()) {
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
    // Workers first: what goes wrong there leaves the API server's nodes alone. Names within each are in order already.
    todo.sort_by_key(|node| node.control_plane);
    let healthy = |node: &&NodeFacts| node.pod.as_ref().is_some_and(|pod| pod.ready && !pod.deleting);
    // The same command again, after a run that was killed: its canary is done, and another node goes first.
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

/// Whether a node's kube-proxy runs what is wanted: the effective mode proves the mode, its age the rest.
fn is_right(facts: &ClusterFacts, node: &NodeFacts, request: &Request, target: &Target, edits: bool) -> bool {
    let Some(pod) = &node.pod else { return false };
    if node.proof.mode != Some(target.mode) || pod.deleting {
        return false;
    }
    let stale = facts.is_stale(pod);
    match (request.is_restore(), edits) {
        (false, true) => false,
        (false, false) => !stale,
        // What is older than the last change, or runs another mode than it says, still runs what is to be restored.
        (true, true) => target.undoes_last && (stale || facts.target() != Ok(target.mode)),
        (true, false) => true,
    }
}

/// How many nodes at a time: as asked, else as the `DaemonSet` says, the strictest of several; at least one. Percentages round up, as the
/// `DaemonSet` controller's do.
pub fn batch_size(facts: &ClusterFacts, request: &Request) -> usize {
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
