//! The result of `remediate`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cluster::helper::work::Cleaned;
use crate::cluster::plan::parking::Parking;
use crate::cluster::plan::{NOT_READY, Plan};
use crate::mode::ProxyMode;
use crate::report::{API_VERSION, Finding, LISTED, few};

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All nodes that could be switched are switched and verified.
    Done,
    /// All nodes are switched and verified, but leftovers of another mode remain on some.
    LeftoversRemain,
    /// Some nodes failed, no more than are tolerated; all others are switched and verified.
    NodesFailed,
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

impl Outcome {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::LeftoversRemain => "leftovers-remain",
            Self::NodesFailed => "nodes-failed",
            Self::NothingToDo => "nothing-to-do",
            Self::DryRun => "dry-run",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::RolledBack => "rolled-back",
            Self::Left => "left",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
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
    /// Of `--mode none`: what replaces kube-proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parking: Option<Parking>,
    /// The results of preflight.
    pub checks: Vec<Finding>,
    /// The backup of the original.
    pub backup: Option<String>,
    /// The nodes.
    pub nodes: Vec<NodeResult>,
    /// The first leg, if this run did both legs of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_leg: Option<Box<FirstLeg>>,
    /// The current state, and the next step.
    pub message: String,
}

/// What the first of two legs did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstLeg {
    /// The mode that it left.
    pub from: Option<ProxyMode>,
    /// The mode that it led to.
    pub to: Option<ProxyMode>,
    /// The backup of the original.
    pub backup: Option<String>,
    /// The nodes, as it left them.
    pub nodes: Vec<NodeResult>,
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
            parking: None,
            checks: plan.checks.clone(),
            backup: None,
            nodes: plan
                .already_right
                .iter()
                .map(|name| NodeResult::new(name, NodeOutcome::Already))
                .chain(down.map(|left| NodeResult::new(&left.node, NodeOutcome::NotReady)))
                .collect(),
            first_leg: None,
            message: message.into(),
        }
    }

    /// The result as text; the plan was printed before.
    pub fn summary(&self) -> String {
        let mut text = nodes_text(&self.nodes);
        if let Some(backup) = &self.backup {
            text.push_str(&format!("The previous configuration is saved in ConfigMap {backup}.\n"));
        }
        text.push_str(&self.message);
        text.push('\n');
        text
    }
}

/// The nodes as text: one line each, or groups where there are many. Those that need attention have a line of their own.
fn nodes_text(nodes: &[NodeResult]) -> String {
    if nodes.len() <= LISTED {
        return nodes.iter().map(NodeResult::line).collect();
    }
    let (alone, grouped): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.needs_attention());
    let mut groups: BTreeMap<(&str, &str), Vec<&NodeResult>> = BTreeMap::new();
    for node in grouped {
        groups.entry((node.outcome.word(), node.mode.unwrap_or_default())).or_default().push(node);
    }
    let mut text = String::new();
    for ((outcome, mode), nodes) in groups {
        let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
        let removed: usize = nodes.iter().filter_map(|node| Some(node.cleaned.as_ref()?.removed)).sum();
        let removed = if removed > 0 { format!("; {removed} leftovers removed") } else { String::new() };
        let mode = if mode.is_empty() { String::new() } else { format!(" {mode}") };
        text.push_str(&format!("  {} node(s)  {outcome}{mode}: {}{removed}\n", nodes.len(), few(&names)));
    }
    text.extend(alone.iter().take(LISTED).map(|node| node.line()));
    if alone.len() > LISTED {
        text.push_str(&format!("  {} more nodes need attention; -o json lists them\n", alone.len() - LISTED));
    }
    text
}

impl NodeOutcome {
    pub(super) fn word(self) -> &'static str {
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

    fn line(&self) -> String {
        let mode = self.mode.map(|mode| format!(" {mode}")).unwrap_or_default();
        let detail = self.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        let cleaned = self.cleaned.as_ref().map(|cleaned| format!("; {}", cleaned.words())).unwrap_or_default();
        format!("  {}  {}{mode}{detail}{cleaned}\n", self.name, self.outcome.word())
    }

    /// Whether it was left out because it must go through the first of two legs.
    pub fn is_for_other_leg(&self) -> bool {
        self.outcome == NodeOutcome::NotReached && self.detail.is_some()
    }

    /// Whether it failed, or something remains on it.
    pub(super) fn needs_attention(&self) -> bool {
        // What failed before it was rolled back is what the operator must fix.
        let failed = self.outcome == NodeOutcome::RolledBack && self.detail.is_some();
        let unclean = self.cleaned.as_ref().is_some_and(|cleaned| !cleaned.is_clean());
        unclean || failed || self.is_for_other_leg() || self.outcome == NodeOutcome::Failed
    }
}
