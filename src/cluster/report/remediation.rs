//! What `remediate` tells: the plan before anything is touched, and what became of it.

use serde::Serialize;

use crate::cluster::api::connection::client::place;
use crate::cluster::helper::work::Cleaned;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::{NOT_READY, Plan};
use crate::report::{API_VERSION, Finding, few};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every node that could be switched is, and proved it.
    Done,
    /// Every node is switched and proved, but what another mode left could not be removed everywhere.
    LeftoversRemain,
    /// It was so before.
    NothingToDo,
    /// Only the plan was asked for.
    DryRun,
    /// Preflight says no; nothing was changed.
    Blocked,
    /// Stopped after the canary, as asked.
    Paused,
    /// Failed; the old configuration and mode are back.
    RolledBack,
    /// Failed, or somebody else interfered; left as it is.
    Left,
    /// Someone asked to stop.
    Interrupted,
    /// Failed, and so did the way back.
    Failed,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeOutcome {
    /// It runs the wanted mode, and proved it.
    Proved,
    /// It did so before.
    Already,
    /// It is down, and left.
    NotReady,
    /// It was deleted meanwhile.
    Gone,
    /// Its new kube-proxy does not run the wanted mode.
    Failed,
    /// It runs the old mode again, and proved it.
    RolledBack,
    /// Its turn did not come.
    NotReached,
}

/// A node, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeResult {
    /// The node.
    pub name: String,
    /// What became of it.
    pub outcome: NodeOutcome,
    /// The mode that it proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'static str>,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What became of what other modes had left there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleaned: Option<Cleaned>,
}

/// A run of `remediate`. Its JSON form is an interface.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemediationReport {
    api_version: &'static str,
    kind: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// The plan.
    pub plan: Plan,
    /// What preflight said.
    pub checks: Vec<Finding>,
    /// Where the original is kept.
    pub backup: Option<String>,
    /// The nodes.
    pub nodes: Vec<NodeResult>,
    /// What stands now, and the next step.
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

    /// The end, for people; the plan stands above it already.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let mode = node.mode.map(|mode| format!(" {mode}")).unwrap_or_default();
            let detail = node.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            let cleaned = node.cleaned.as_ref().map(|cleaned| format!("; {}", cleaned.words())).unwrap_or_default();
            text.push_str(&format!("  {}  {}{mode}{detail}{cleaned}\n", node.name, node.outcome.word()));
        }
        if let Some(backup) = &self.backup {
            text.push_str(&format!("What stood before is kept as ConfigMap {backup}.\n"));
        }
        text.push_str(&self.message);
        text.push('\n');
        text
    }
}

impl NodeOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Already => "was right already",
            Self::NotReady => "not ready, left as it is",
            Self::Gone => "gone meanwhile",
            Self::Failed => "failed",
            Self::RolledBack => "rolled back, proved",
            Self::NotReached => "not reached",
        }
    }
}

impl NodeResult {
    /// A node without more to say.
    pub fn new(name: &str, outcome: NodeOutcome) -> Self {
        Self { name: name.to_owned(), outcome, mode: None, detail: None, cleaned: None }
    }
}

/// The plan, for people.
pub fn plan_text(facts: Option<&ClusterFacts>, plan: &Plan) -> String {
    let mut text = String::new();
    let (from, to) = (plan.from.unwrap_or("an unreadable configuration"), plan.to.unwrap_or("the original"));
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
        text.push_str(&format!("The configuration says {to}, and {} node(s) run it.\n", plan.already_right.len()));
        return text + &left(plan);
    }
    text.push_str(&if plan.edits {
        format!("\nPlan: from {from} to {to}\n")
    } else {
        format!("\nPlan: the configuration says {to} already; not every node runs it\n")
    });
    let mut steps = Vec::new();
    if plan.to == Some("ipvs") {
        let looked = facts.is_some_and(|facts| facts.proxy_nodes().any(|node| node.host.is_some()));
        steps.push(if !plan.to_prepare.is_empty() {
            format!("prepare {} node(s), modules now and at boot: {}", plan.to_prepare.len(), few(&plan.to_prepare))
        } else if looked {
            "prepare no node: every one is".to_owned()
        } else {
            "prepare the nodes that are not, modules now and at boot".to_owned()
        });
    }
    if plan.edits {
        let diff: String = plan.diff.lines().map(|line| format!("\n       {line}")).collect();
        steps.push(format!("keep the original as a ConfigMap of its own; then change this and nothing else:{diff}"));
    }
    if let Some(canary) = &plan.canary {
        steps.push(format!(
            "canary {canary}: replace its kube-proxy pod, prove the effective mode, wait, prove it again"
        ));
    }
    let rest: usize = plan.batches.iter().map(Vec::len).sum();
    if rest > 0 {
        let names: Vec<_> = plan.batches.iter().flatten().cloned().collect();
        steps.push(format!("the other {rest} node(s), {} at a time, each proved: {}", plan.batch_size, few(&names)));
    }
    if plan.cleans && (rest > 0 || plan.canary.is_some()) {
        steps.push("on each, once the new proxier carries every Service: remove what the old mode left".to_owned());
    }
    if !plan.to_clean.is_empty() {
        steps.push(format!("the same on nodes that are right already: {}", few(&plan.to_clean)));
    }
    if plan.cleans && plan.from == Some("ipvs") && plan.to != plan.from {
        steps.push("let connections through ipvs end, then remove its virtual servers and kube-ipvs0".to_owned());
    }
    if rest > 0 || plan.canary.is_some() {
        steps.push("a failed proof puts the original back and proves the old mode".to_owned());
    }
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", index + 1));
    }
    if !plan.already_right.is_empty() {
        text.push_str(&format!("  right already: {}\n", few(&plan.already_right)));
    }
    text + &left(plan)
}

fn left(plan: &Plan) -> String {
    plan.left_alone.iter().map(|left| format!("  left alone: {} ({})\n", left.node, left.reason)).collect()
}
