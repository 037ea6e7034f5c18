//! The output of `remediate`: the plan before anything is changed, and the result.

use serde::Serialize;

use crate::cluster::api::connection::client::place;
use crate::cluster::helper::work::Cleaned;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::{NOT_READY, Plan};
use crate::mode::ProxyMode;
use crate::report::{API_VERSION, Finding, few};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All nodes that could be switched are switched and verified.
    Done,
    /// All nodes are switched and verified, but leftovers of another mode remain on some.
    LeftoversRemain,
    /// Already up to date.
    NothingToDo,
    /// A dry run.
    DryRun,
    /// Preflight failed; nothing was changed.
    Blocked,
    /// Paused after the canary, as requested.
    Paused,
    /// Failed; the old configuration and mode were restored.
    RolledBack,
    /// Failed without a rollback, or stopped because of another writer.
    Left,
    /// Interrupted.
    Interrupted,
    /// Failed, and the rollback failed as well.
    Failed,
}

/// The outcome of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeOutcome {
    /// It runs the requested mode, verified.
    Proved,
    /// It was already up to date.
    Already,
    /// It is not ready; skipped.
    NotReady,
    /// It was deleted during the rollout.
    Gone,
    /// Its new kube-proxy does not run the requested mode.
    Failed,
    /// It runs the old mode again, verified.
    RolledBack,
    /// The run ended before it.
    NotReached,
}

/// A node and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeResult {
    /// The node.
    pub name: String,
    /// Its outcome.
    pub outcome: NodeOutcome,
    /// Its verified mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// Details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The result of cleaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned: Option<Cleaned>,
}

/// The report of a `remediate` run. Its JSON form is an interface.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationReport {
    api_version: &'static str,
    kind: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The plan.
    pub plan: Plan,
    /// The results of preflight.
    pub checks: Vec<Finding>,
    /// The backup of the original.
    pub backup: Option<String>,
    /// The nodes.
    pub nodes: Vec<NodeResult>,
    /// The current state, and the next step.
    pub message: String,
}

impl RemediationReport {
    /// A report on a plan.
    pub fn new(plan: &Plan, outcome: Outcome, message: impl Into<String>) -> Self {
        let down = plan.left_alone.iter().filter(|left| left.reason == NOT_READY);
        Self {
            api_version: API_VERSION,
            kind: "Remediation",
            outcome,
            plan: plan.clone(),
            checks: plan.checks.clone(),
            backup: None,
            nodes: plan
                .already_right
                .iter()
                .map(|name| NodeResult::new(name, NodeOutcome::Already))
                .chain(down.map(|left| NodeResult::new(&left.node, NodeOutcome::NotReady)))
                .collect(),
            message: message.into(),
        }
    }

    /// The result as text; the plan was printed before.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let mode = node.mode.map(|mode| format!(" {mode}")).unwrap_or_default();
            let detail = node.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let cleaned = node.cleaned.as_ref().map(|cleaned| format!("; {}", cleaned.words())).unwrap_or_default();
            text.push_str(&format!("  {}  {}{mode}{detail}{cleaned}\n", node.name, node.outcome.word()));
        }
        if let Some(backup) = &self.backup {
            text.push_str(&format!("The previous configuration is saved in ConfigMap {backup}.\n"));
        }
        text.push_str(&self.message);
        text.push('\n');
        text
    }
}

impl NodeOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Proved => "verified",
            Self::Already => "already up to date",
            Self::NotReady => "NotReady, skipped",
            Self::Gone => "deleted during the rollout",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back, verified",
            Self::NotReached => "not reached",
        }
    }
}

impl NodeResult {
    /// A node without details.
    pub fn new(name: &str, outcome: NodeOutcome) -> Self {
        Self { name: name.to_owned(), outcome, mode: None, detail: None, cleaned: None }
    }
}

/// The plan as text.
pub fn plan_text(facts: Option<&ClusterFacts>, plan: &Plan) -> String {
    let mut text = String::new();
    let from = plan.from.map_or("an unreadable configuration", ProxyMode::name);
    let to = plan.to.map_or("the original", ProxyMode::name);
    if let Some((facts, kube_proxy, config)) =
        facts.and_then(|facts| Some((facts, facts.kube_proxy.as_ref()?, facts.config.as_ref()?)))
    {
        text.push_str(&format!("Cluster {}\n", place(&facts.server, facts.context.as_deref())));
        text.push_str(&format!(
            "kube-proxy {}: DaemonSet {}/{}, ConfigMap {}, key {}\n",
            facts.proxy_version().unwrap_or_default(),
            kube_proxy.namespace,
            kube_proxy.names().join(", "),
            config.name,
            config.key
        ));
    }
    for check in &plan.checks {
        text.push_str(&check.text());
    }
    if plan.target.is_none() {
        return text;
    }
    if plan.is_empty() {
        text.push_str(&format!("Configured mode {to}; {} node(s) run it.\n", plan.already_right.len()));
        return text + &left(plan);
    }
    text.push_str(&if plan.edits {
        format!("\nPlan: from {from} to {to}\n")
    } else {
        format!("\nPlan: {to} is already configured, but not every node runs it\n")
    });
    let mut steps = Vec::new();
    if plan.to.is_some_and(|mode| mode.traits().is_prepared) {
        let looked = facts.is_some_and(|facts| facts.proxy_nodes().any(|node| node.host.is_some()));
        steps.push(if !plan.to_prepare.is_empty() {
            format!(
                "prepare {} node(s) (load modules now and at boot): {}",
                plan.to_prepare.len(),
                few(&plan.to_prepare)
            )
        } else if looked {
            "all nodes are already prepared".to_owned()
        } else {
            "prepare unprepared nodes (load modules now and at boot)".to_owned()
        });
    }
    if plan.edits {
        let diff: String = plan.diff.lines().map(|line| format!("\n       {line}")).collect();
        steps.push(format!("save the current ConfigMap as a backup, then make only this change:{diff}"));
    }
    if let Some(canary) = &plan.canary {
        steps.push(format!(
            "canary {canary}: replace its kube-proxy pod, verify the effective mode, wait, and verify again"
        ));
    }
    let rest: usize = plan.batches.iter().map(Vec::len).sum();
    if rest > 0 {
        let names: Vec<_> = plan.batches.iter().flatten().cloned().collect();
        steps.push(format!("the other {rest} node(s), {} at a time, verifying each: {}", plan.batch_size, few(&names)));
    }
    if plan.cleans && (rest > 0 || plan.canary.is_some()) {
        steps.push(
            "on each node, once the new mode has programmed all Services: remove the old mode's rules".to_owned(),
        );
    }
    if !plan.to_clean.is_empty() {
        steps.push(format!("clean nodes that are already up to date: {}", few(&plan.to_clean)));
    }
    if plan.cleans && plan.from.is_some_and(|mode| mode.traits().holds_connections) && plan.to != plan.from {
        steps.push("drain existing IPVS connections, then remove the virtual servers and kube-ipvs0".to_owned());
    }
    if rest > 0 || plan.canary.is_some() {
        steps.push("if verification fails: restore the original ConfigMap and verify the old mode".to_owned());
    }
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", index + 1));
    }
    if !plan.already_right.is_empty() {
        text.push_str(&format!("  already up to date: {}\n", few(&plan.already_right)));
    }
    text + &left(plan)
}

fn left(plan: &Plan) -> String {
    plan.left_alone.iter().map(|left| format!("  skipped: {} ({})\n", left.node, left.reason)).collect()
}
