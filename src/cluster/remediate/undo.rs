//! A failed switch: whether and how a run rolls back, and its final message.

use super::interrupt::Interrupt;
use super::on_nodes;
use super::roll_end::Failure;
use super::rollback::Rollback;
use super::run::Run;
use super::tools::{Tools, WrittenConfig};
use crate::cluster::plan::drift::{State, state};
use crate::cluster::plan::legs::by_way;
use crate::cluster::report::remediation::{NodeOutcome, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::proxy_config::{read, target};
use crate::report::event::{Event, What};

const ORIGINAL: &str = "the original configuration";

/// A text to restore, and the one that it replaces.
struct StepBack {
    /// Its name in messages.
    what: &'static str,
    written: String,
    original: String,
}

/// Every node that runs kube-proxy: all of them were switched in the first leg, and run its mode again.
fn through_both_legs(report: &RemediationReport, mode: ProxyMode) -> Vec<(String, ProxyMode)> {
    let is_there = |outcome| !matches!(outcome, NodeOutcome::Gone | NodeOutcome::NotReady);
    let nodes = report.nodes.iter().filter(|node| is_there(node.outcome));
    nodes.map(|node| (node.name.clone(), mode)).collect()
}

impl Run<'_> {
    /// A node could not be verified: rolls back to the original, if there is one.
    pub(super) async fn failed(
        &self,
        report: &mut RemediationReport,
        failure: Failure,
        tools: Tools<'_>,
        interrupt: &Interrupt,
    ) -> Exit {
        let Failure { why, timed_out } = failure;
        let (progress, events) = (tools.progress, tools.events);
        let steps = self.steps_back();
        if steps.is_empty() || self.request.no_rollback {
            let because = if self.request.no_rollback {
                "not rolled back because of --no-rollback"
            } else {
                "this run changed nothing to roll back"
            };
            report.outcome = Outcome::Left;
            report.message = format!(
                "Failed: {why}; {because}. Fix the node and run again to continue, or roll back with `kpx-prep remediate --rollback`.{}",
                self.served_until()
            );
            events.warning("RemediationFailed", report.message.clone()).await;
            return if timed_out || self.request.no_rollback { Exit::TimedOut } else { Exit::Failed };
        }
        progress.tell(&Event::new(What::RollingBack, &format!("{why}: rolling back")));
        let mut failures = Vec::new();
        let mut old_mode = Err(String::new());
        for (number, step) in steps.iter().enumerate() {
            // The original is always restored; pods are replaced only if kube-proxy can start with it.
            old_mode = read(&step.original).and_then(|parsed| target(&parsed.mode, self.facts.minor()));
            let nodes = match (&old_mode, number) {
                (Ok(_), _) if self.is_again() => Vec::new(),
                (Ok(mode), 0) => self.to_roll_back(report, *mode),
                (Ok(mode), _) => through_both_legs(report, *mode),
                (Err(_), _) => Vec::new(),
            };
            if let (1.., Ok(mode), Some(cleaner)) = (number, &old_mode, tools.cleaner)
                && by_way(*mode).is_some()
            {
                on_nodes::drain(cleaner, &mut report.nodes, interrupt, progress).await;
            }
            // What fails on one node does not keep the others in the mode between.
            if let Err(error) = self.step_back(step, &nodes, old_mode.as_ref().ok().copied(), report, tools).await {
                failures.push(format!("{error:#}"));
            }
        }
        if self.is_again() && failures.is_empty() {
            report.outcome = Outcome::Failed;
            report.message = format!(
                "Failed: {why}. The configuration was restored, and the other nodes were not touched. Fix the node and run the same command again."
            );
            events.warning("RemediationFailed", report.message.clone()).await;
            return Exit::Failed;
        }
        let back = if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) };
        let down = report.nodes.iter().filter(|node| node.outcome == NodeOutcome::NotReady).count();
        let down = if down > 0 { format!(" {down} node(s) are NotReady and were skipped.") } else { String::new() };
        match (back, old_mode) {
            (Ok(()), Err(unfit)) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Failed: {why}. The original configuration was restored. It has no mode that kube-proxy can run ({unfit}), so no kube-proxy was restarted with it. Check with `kpx-prep status`, then set a mode with `kpx-prep remediate --mode MODE`."
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
            (Ok(()), Ok(_)) => {
                report.outcome = Outcome::RolledBack;
                report.message = format!(
                    "Failed and rolled back: {why}. The original configuration was restored and the old mode verified on every node.{down}"
                );
                events.warning("RolledBack", report.message.clone()).await;
                Exit::RolledBack
            }
            (Err(error), _) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Switch failed: {why}. Rollback failed as well: {error}. Inspect with `kpx-prep status`, then retry with `kpx-prep remediate --rollback`.{}",
                    self.served_until()
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
        }
    }

    /// Restores one text and the mode of the nodes.
    async fn step_back(
        &self,
        step: &StepBack,
        nodes: &[(String, ProxyMode)],
        mode: Option<ProxyMode>,
        report: &mut RemediationReport,
        tools: Tools<'_>,
    ) -> anyhow::Result<()> {
        let config = self.config()?;
        let rollback = Rollback {
            connection: self.connection,
            kube_proxy: self.kube_proxy()?,
            config: WrittenConfig { name: &config.name, key: &config.key, text: &step.written, at: None },
            original: &step.original,
            what: step.what,
            planned: &self.planned_pods(),
            mode,
            at_a_time: self.plan.batch_size,
            tools,
        };
        rollback.run(nodes, &mut report.nodes).await
    }

    /// The texts to restore, one after the other: that of this run, or of the one that it continues; from the second of two
    /// legs, that between them and then the original. Empty if there is none.
    fn steps_back(&self) -> Vec<StepBack> {
        let (Ok(config), Ok(target)) = (self.config(), self.target()) else { return Vec::new() };
        let step = |what, written: &str, original: &str| StepBack {
            what,
            written: written.to_owned(),
            original: original.to_owned(),
        };
        match &self.plan.original {
            Some(original) if self.plan.then.is_none() && original.text == target.text => {
                // The change was given up between its legs.
                return vec![step("the configuration between the legs", &target.text, &original.on_the_way)];
            }
            Some(original) if self.plan.then.is_none() => {
                return vec![
                    step("the configuration between the legs", &target.text, &original.on_the_way),
                    step(ORIGINAL, &original.on_the_way, &original.text),
                ];
            }
            _ => {}
        }
        if self.plan.edits {
            return vec![step(ORIGINAL, &target.text, &config.text)];
        }
        let of_last = self.facts.backups.iter().find(|backup| backup.was_replaced_by(&config.text));
        let of_last = of_last.filter(|backup| backup.text != config.text);
        of_last.map(|backup| step(ORIGINAL, &target.text, &backup.text)).into_iter().collect()
    }

    /// Whether this is the first leg once more: all other nodes have had both.
    fn is_again(&self) -> bool {
        self.plan.then.is_some() && self.plan.original.is_some()
    }

    /// The nodes that run the new configuration, failed ones first, and the previous mode of each.
    fn to_roll_back(&self, report: &RemediationReport, old_mode: ProxyMode) -> Vec<(String, ProxyMode)> {
        let of = |outcome: NodeOutcome| report.nodes.iter().filter(move |node| node.outcome == outcome);
        let continued = (!self.plan.edits).then(|| of(NodeOutcome::Already)).into_iter().flatten();
        let nodes = of(NodeOutcome::Failed).chain(of(NodeOutcome::Proved)).chain(continued);
        nodes
            .map(|result| {
                // A node that did not run the old configuration's mode before cannot do so now.
                let fell_back = self.node(&result.name).is_some_and(|node| state(node, self.facts) == State::Fallback);
                let mode = if fell_back && self.plan.edits { ProxyMode::Iptables } else { old_mode };
                (result.name.clone(), mode)
            })
            .collect()
    }
}
