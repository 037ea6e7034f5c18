//! Makes the plan from the observed state and the request, or reports why that is not possible. Pure.

pub mod checks;
pub mod diff;
pub mod drift;
pub mod legs;
pub mod mode_choice;
mod order;
pub mod parking;
pub mod patience;
pub mod request;
pub mod translation;

use std::time::Duration;

use serde::Serialize;

use super::kube_proxy::backup::{Backup, Leg, Replacement};
use super::observe::facts::{ClusterFacts, NodeFacts};
use super::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, finding};
use checks::question::Question;
use checks::{run, soften};
use drift::findings;
use request::{Request, Target};
use translation::{Translation, translate};

/// Why a node that is not ready is skipped.
pub const NOT_READY: &str = "not ready";

/// The plan.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The mode that is configured now.
    pub from: Option<ProxyMode>,
    /// The mode that will be configured.
    pub to: Option<ProxyMode>,
    /// The change of the `ConfigMap`; empty if it is already up to date.
    pub diff: String,
    /// What becomes of the settings of the live configuration; empty if its mode stays, and if an original is restored.
    pub translation: Vec<Translation>,
    /// Nodes to prepare for the mode first; also empty if the nodes were not inspected.
    pub to_prepare: Vec<String>,
    /// The node to switch first.
    pub canary: Option<String>,
    /// The other nodes, in batches.
    pub batches: Vec<Vec<String>>,
    /// Maximum number of nodes in a batch.
    pub batch_size: usize,
    /// How long each new kube-proxy may take to be verified, in seconds.
    #[serde(rename = "timeoutSeconds", serialize_with = "whole_seconds")]
    pub timeout: Duration,
    /// About how long replacing the pods takes, in seconds, see [`patience::estimate`].
    #[serde(rename = "estimatedSeconds", serialize_with = "whole_seconds_if", skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Duration>,
    /// Nodes to skip, with the reason.
    pub left_alone: Vec<SkippedNode>,
    /// Nodes that are already up to date.
    pub already_right: Vec<String>,
    /// Those of them with leftovers to remove.
    pub to_clean: Vec<String>,
    /// The results of preflight.
    #[serde(skip)]
    pub checks: Vec<Finding>,
    /// The second leg, planned for the cluster as the first one leaves it, if the change has two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Box<Plan>>,
    /// The original of a change in two legs, if this is the second one, or the first one once more for nodes that were left
    /// out.
    #[serde(skip)]
    pub original: Option<Original>,
    /// The target configuration.
    #[serde(skip)]
    pub target: Option<Target>,
    /// Whether the configuration must be changed.
    #[serde(skip)]
    pub edits: bool,
    /// Whether leftovers of other modes are removed from the nodes.
    #[serde(skip)]
    pub cleans: bool,
}

/// The original of a change in two legs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The name of its backup.
    pub backup: String,
    /// Its text.
    pub text: String,
    /// The text of the first leg.
    pub on_the_way: String,
}

/// A node to skip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkippedNode {
    /// The node.
    pub node: String,
    /// The reason.
    pub reason: String,
}

#[expect(clippy::ref_option, reason = "serde's way")]
fn whole_seconds_if<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs()).serialize(serializer)
}

fn whole_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

impl Original {
    fn of(backup: &Backup) -> Option<Self> {
        let on_the_way = backup.on_the_way.clone()?;
        Some(Self { backup: backup.name.clone(), text: backup.text.clone(), on_the_way })
    }
}

impl Plan {
    /// An empty plan.
    pub fn unknown() -> Self {
        Self {
            from: None,
            to: None,
            diff: String::new(),
            translation: Vec::new(),
            to_prepare: Vec::new(),
            canary: None,
            batches: Vec::new(),
            batch_size: 1,
            timeout: Duration::ZERO,
            estimate: None,
            left_alone: Vec::new(),
            already_right: Vec::new(),
            to_clean: Vec::new(),
            checks: Vec::new(),
            then: None,
            original: None,
            target: None,
            edits: false,
            cleans: false,
        }
    }

    /// Whether preflight failed.
    pub fn is_blocked(&self) -> bool {
        self.checks.iter().any(|check| check.level == Level::Error)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.edits && self.canary.is_none() && self.batches.is_empty() && self.to_clean.is_empty()
    }

    /// The target of the whole change: that of the second leg, if there are two.
    pub fn end(&self) -> Option<&Target> {
        self.then.as_ref().map_or(self.target.as_ref(), |then| then.target.as_ref())
    }

    /// What replaces the configuration: `target`, as the part of the change that this plan is.
    pub fn replacement<'a>(&'a self, target: &'a Target) -> Replacement<'a> {
        let leg = match (&self.then, &self.original) {
            (Some(_), Some(original)) => Leg::Again(&original.backup),
            (Some(_), None) => Leg::First,
            (None, Some(original)) => Leg::Second(&original.backup),
            (None, None) => Leg::Only,
        };
        Replacement { text: &target.text, leg, restores: self.end().and_then(|end| end.backup.as_deref()) }
    }

    /// The requested mode, of this leg.
    pub fn mode(&self) -> Option<ProxyMode> {
        self.target.as_ref().filter(|target| target.unfit.is_none()).map(|target| target.mode)
    }
}

/// Makes the plan.
pub fn plan(facts: &ClusterFacts, surroundings: &Surroundings, request: &Request) -> Plan {
    let whole = one_leg(facts, surroundings, request);
    let in_two = legs::in_two(facts, surroundings, request, &whole);
    in_two.unwrap_or_else(|| legs::undrained(facts, request, whole))
}

fn one_leg(facts: &ClusterFacts, surroundings: &Surroundings, request: &Request) -> Plan {
    let mut plan = Plan {
        from: facts.target().ok(),
        batch_size: order::batch_size(facts, request),
        timeout: request.timeout.unwrap_or_else(|| patience::default_timeout(facts, surroundings)),
        ..Plan::unknown()
    };
    let target = match request.target(facts) {
        Ok(target) => target,
        Err(refused) => {
            let of_wish = refused.iter().map(|r| finding(Level::Error, r.id, r.message.clone(), r.hint));
            plan.checks.extend(of_wish);
            // If the cluster itself is unsuitable, that is reported instead of an error of editing its configuration.
            let unfit = ["no-kube-proxy", "flag-only-config", "config-unreadable", "managed-cluster"];
            let mut of_cluster = findings(facts);
            of_cluster.retain(|f| unfit.contains(&&*f.id) && !plan.checks.iter().any(|check| check.id == f.id));
            plan.checks.extend(of_cluster.into_iter().map(|f| Finding { level: Level::Error, ..f }));
            soften(&mut plan.checks, request);
            // Without a target, no further planning is possible.
            if !plan.is_blocked()
                && let Some(check) = plan.checks.first_mut()
            {
                check.level = Level::Error;
            }
            return plan;
        }
    };
    // A target exists only if there is a configuration.
    let Some(config) = &facts.config else { return plan };
    plan.to = target.unfit.is_none().then_some(target.mode);
    plan.edits = target.text != config.text;
    plan.cleans = request.clean;
    if plan.edits {
        plan.diff = diff::diff(&config.key, &config.text, &target.text);
    }
    if let (Some(from), Ok(live), Some(planned), false) =
        (plan.from, &config.parsed, &target.config, request.is_restore())
    {
        plan.translation = translate(live, planned, (from, target.mode), facts.minor());
    }
    if request.on_the_way.is_none() {
        plan.original = legs::original(facts, plan.edits).and_then(Original::of);
    }
    order::order(facts, request, &target, &mut plan);
    plan.estimate = patience::estimate(facts, &plan, request);
    if target.mode.traits().is_prepared && target.unfit.is_none() && !request.nodes_are_prepared && !plan.is_empty() {
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
        let message = format!("--canary {canary}: not one of the nodes to switch");
        plan.checks.push(finding(Level::Error, "canary", message, "list the nodes with: kpx-prep status"));
    }
    plan.target = Some(target);
    plan
}
