//! A failed switch: whether and how a run rolls back, and its final message.

use super::roll_end::Failure;
use super::rollback::Rollback;
use super::run::Run;
use super::tools::{Tools, WrittenConfig};
use crate::cluster::plan::drift::{State, state};
use crate::cluster::report::remediation::{NodeOutcome, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::proxy_config::{read, target};
use crate::report::event::{Event, What};

impl Run<'_> {
    /// A node could not be verified: rolls back to the original, if there is one.
    pub(super) async fn failed(&self, report: &mut RemediationReport, failure: Failure, tools: Tools<'_>) -> Exit {
        let Failure { why, timed_out } = failure;
        let (progress, events) = (tools.progress, tools.events);
        let original = self.original();
        let (Some(original), false) = (original, self.request.no_rollback) else {
            let because = if self.request.no_rollback {
                "not rolled back because of --no-rollback"
            } else {
                "this run changed nothing to roll back"
            };
            report.outcome = Outcome::Left;
            report.message = format!(
                "Failed: {why}; {because}. Fix the node and run again to continue, or roll back with `kpx-prep remediate --rollback`."
            );
            events.warning("RemediationFailed", report.message.clone()).await;
            return if timed_out || self.request.no_rollback { Exit::TimedOut } else { Exit::Failed };
        };
        progress.tell(&Event::new(What::RollingBack, &format!("{why}: rolling back")));
        // The original is always restored; pods are replaced only if kube-proxy can start with it.
        let old_mode = read(&original).and_then(|parsed| target(&parsed.mode, self.facts.minor()));
        let nodes = old_mode.as_ref().map(|mode| self.to_roll_back(report, *mode)).unwrap_or_default();
        let planned = self.planned_pods();
        let back = match (self.config(), self.kube_proxy(), self.target()) {
            (Ok(config), Ok(kube_proxy), Ok(target)) => {
                let rollback = Rollback {
                    connection: self.connection,
                    kube_proxy,
                    config: WrittenConfig { name: &config.name, key: &config.key, text: &target.text, at: None },
                    original: &original,
                    planned: &planned,
                    mode: old_mode.as_ref().ok().copied(),
                    at_a_time: self.plan.batch_size,
                    tools,
                };
                rollback.run(&nodes, &mut report.nodes).await
            }
            _ => Err(anyhow::anyhow!("internal error: the plan has no cluster")),
        };
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
                    "Failed and rolled back: {why}. The original configuration was restored and the old mode verified on every node."
                );
                events.warning("RolledBack", report.message.clone()).await;
                Exit::RolledBack
            }
            (Err(error), _) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Switch failed: {why}. Rollback failed as well: {error:#}. Inspect with `kpx-prep status`, then retry with `kpx-prep remediate --rollback`."
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
        }
    }

    /// The original: that of this run, or of the one that it continues.
    fn original(&self) -> Option<String> {
        let config = self.facts.config.as_ref()?;
        if self.plan.edits {
            return Some(config.text.clone());
        }
        let of_last = self.facts.backups.iter().find(|backup| backup.written.as_ref() == Some(&config.text));
        of_last.map(|backup| backup.text.clone()).filter(|text| *text != config.text)
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
