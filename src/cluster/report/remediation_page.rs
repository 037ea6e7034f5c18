//! The result of `remediate` as a page for a change ticket.

use std::collections::BTreeMap;

use super::plan_text::plan_text;
use super::remediation::{NodeResult, Outcome, RemediationReport};
use crate::cluster::helper::work::Cleaned;
use crate::mode::ProxyMode;
use crate::page::timeline::{Lane, SpanKind, Timeline, clock};
use crate::page::{Block, Page, Tone};
use crate::report::recorded::Recorded;

/// The title of every page about a run.
const TITLE: &str = "kpx-prep remediate";

/// The page that is there while the run goes on; also what is left if it is killed.
pub fn unfinished() -> Page {
    let next = "kpx-prep status shows the state of the cluster; the same kpx-prep remediate continues.";
    Page {
        title: TITLE.to_owned(),
        headline: "The run has not ended".to_owned(),
        tone: Tone::Attention,
        blocks: vec![Block::Text(format!(
            "This page is replaced when the run ends. If no run is in progress, it was killed: {next}"
        ))],
    }
}

/// The page of a run that ended without a result.
pub fn failed(error: &str, events: &[Recorded]) -> Page {
    let mut blocks = vec![Block::Code(error.to_owned())];
    timeline(&mut blocks, events);
    Page { title: TITLE.to_owned(), headline: "The run ended with an error".to_owned(), tone: Tone::Bad, blocks }
}

impl RemediationReport {
    /// The page of this result: plan, checks, diff, timeline, figures, what remains and how to go back.
    pub fn page(&self, events: &[Recorded]) -> Page {
        let mut blocks = vec![Block::Text(self.message.clone()), Block::Facts(self.facts())];
        if let Some(way) = self.way_back() {
            blocks.push(Block::Heading("How to go back".to_owned()));
            blocks.push(Block::Code(way));
        }
        let remains = self.remains();
        if !remains.is_empty() {
            blocks.push(Block::Heading("What remains".to_owned()));
            blocks.push(Block::Table(heads(&["Node", "What"]), remains));
        }
        timeline(&mut blocks, events);
        if let Some(first) = &self.first_leg {
            let name = |mode: Option<ProxyMode>| mode.map_or("the original", ProxyMode::name);
            blocks.push(Block::Heading(format!("Nodes after leg 1, {} to {}", name(first.from), name(first.to))));
            blocks.push(nodes(&first.nodes));
        }
        if !self.nodes.is_empty() {
            blocks.push(Block::Heading("Nodes".to_owned()));
            blocks.push(nodes(&self.nodes));
        }
        if !self.plan.diff.is_empty() {
            blocks.push(Block::Heading("Change of the ConfigMap".to_owned()));
            blocks.push(Block::Diff(self.plan.diff.clone()));
        }
        if self.plan.target.is_some() {
            blocks.push(Block::Heading("Plan".to_owned()));
            // The findings have a part of their own.
            let plan = crate::cluster::plan::Plan { checks: Vec::new(), ..self.plan.clone() };
            blocks.push(Block::Code(plan_text(None, &plan).trim_start().to_owned()));
        }
        if !self.checks.is_empty() {
            blocks.push(Block::Heading("Checks".to_owned()));
            blocks.push(Block::Findings(self.checks.clone()));
        }
        let tone = match self.outcome {
            Outcome::Done | Outcome::NothingToDo | Outcome::DryRun | Outcome::Paused => Tone::Good,
            Outcome::LeftoversRemain | Outcome::RolledBack | Outcome::Interrupted => Tone::Attention,
            Outcome::NodesFailed | Outcome::Blocked | Outcome::Left | Outcome::Failed => Tone::Bad,
        };
        Page { title: self.title(), headline: self.headline(), tone, blocks }
    }

    fn title(&self) -> String {
        let name = |mode: Option<ProxyMode>| mode.map_or("the original", ProxyMode::name);
        if self.parking.is_some() {
            return format!("{TITLE}: no kube-proxy");
        }
        match (&self.first_leg, self.plan.to) {
            (Some(first), to) => format!("{TITLE}: {} to {}", name(first.from), name(to)),
            (None, None) => TITLE.to_owned(),
            (None, to) if self.plan.from == to => format!("{TITLE}: {}", name(to)),
            (None, to) => format!("{TITLE}: {} to {}", self.plan.from.map_or("unreadable", ProxyMode::name), name(to)),
        }
    }

    fn headline(&self) -> String {
        match self.outcome {
            Outcome::Done => "Done: all nodes are verified",
            Outcome::LeftoversRemain => "All nodes are verified; leftovers remain on some",
            Outcome::NodesFailed => "Some nodes failed; all others are verified",
            Outcome::NothingToDo => "Already up to date; nothing was changed",
            Outcome::DryRun => "Dry run; nothing was changed",
            Outcome::Blocked => "Preflight failed; nothing was changed",
            Outcome::Paused => "Paused after the canary",
            Outcome::RolledBack => "Failed, and rolled back",
            Outcome::Left => "Stopped, and not rolled back",
            Outcome::Interrupted => "Interrupted",
            Outcome::Failed => "Failed, and the rollback failed as well",
        }
        .to_owned()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &self.nodes {
            *counts.entry(node.outcome.word()).or_default() += 1;
        }
        let counts: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        let removed: usize = self.nodes.iter().filter_map(|node| Some(node.cleaned.as_ref()?.removed)).sum();
        let mut facts = vec![("Outcome", self.outcome.name().to_owned())];
        if !counts.is_empty() {
            facts.push(("Nodes", counts.join(", ")));
        }
        if removed > 0 {
            facts.push(("Leftovers removed", removed.to_string()));
        }
        if let Some(backup) = &self.backup {
            facts.push(("Backup", format!("ConfigMap {backup}")));
        }
        facts.push(("kpx-prep", env!("CARGO_PKG_VERSION").to_owned()));
        facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The command that restores what was there before.
    fn way_back(&self) -> Option<String> {
        let first = self.first_leg.as_ref().and_then(|first| first.backup.as_ref());
        let backup = first.or(self.backup.as_ref())?;
        match self.outcome {
            Outcome::RolledBack | Outcome::DryRun | Outcome::Blocked | Outcome::NothingToDo => None,
            _ => Some(format!("kpx-prep remediate --rollback --to {backup}")),
        }
    }

    /// What is left on nodes, or failed there.
    fn remains(&self) -> Vec<Vec<String>> {
        let what = |node: &NodeResult| {
            let unclean = node.cleaned.as_ref().filter(|cleaned| !cleaned.is_clean());
            unclean.map(Cleaned::words).or_else(|| node.detail.clone()).unwrap_or_default()
        };
        let nodes = self.nodes.iter().filter(|node| node.needs_attention());
        nodes.map(|node| vec![node.name.clone(), what(node)]).collect()
    }
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn nodes(nodes: &[NodeResult]) -> Block {
    let row = |node: &NodeResult| {
        vec![
            node.name.clone(),
            node.outcome.word().to_owned(),
            node.mode.unwrap_or("-").to_owned(),
            node.cleaned.as_ref().map(Cleaned::words).unwrap_or_default(),
            node.detail.clone().unwrap_or_default(),
        ]
    };
    Block::Table(heads(&["Node", "Outcome", "Mode", "Clean-up", "Details"]), nodes.iter().map(row).collect())
}

/// The timeline, and how long things took.
fn timeline(blocks: &mut Vec<Block>, events: &[Recorded]) {
    let Some(timeline) = Timeline::new(events) else { return };
    let mut took: Vec<i64> = timeline.lanes.iter().flat_map(Lane::switches).collect();
    took.sort_unstable();
    let mut figures = vec![("Whole run".to_owned(), clock(timeline.length))];
    if let (Some(shortest), Some(longest)) = (took.first(), took.last()) {
        let seconds = |milliseconds: i64| format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100);
        figures.push((
            "Replaced until verified".to_owned(),
            format!("{} to {}, median {}", seconds(*shortest), seconds(*longest), seconds(took[took.len() / 2])),
        ));
    }
    let drains = timeline.lanes.iter().flat_map(|lane| &lane.spans).filter(|span| span.kind == SpanKind::Draining);
    if let Some(longest) = drains.map(|span| span.to - span.from).max() {
        figures.push(("Drained in".to_owned(), clock(longest)));
    }
    blocks.push(Block::Heading("What happened when".to_owned()));
    blocks.push(Block::Facts(figures));
    blocks.push(Block::Timeline(timeline));
}
