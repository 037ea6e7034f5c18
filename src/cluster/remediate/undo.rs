//! A switch that failed: whether and how a run goes back to what stood before, and what it says then.

use super::roll::{Failure, Tools, WrittenConfig};
use super::rollback::Rollback;
use super::run::Run;
use crate::cluster::plan::drift::{State, state};
use crate::cluster::report::remediation::{NodeOutcome, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::proxy_config::{read, target};

impl Run<'_> {
    /// A node was not verified: roll back to what was configured before, where there is such a thing.
    pub(super) async fn failed(&self, report: &mut RemediationReport, failure: Failure, tools: Tools<'_>) -> Exit {
        let Failure { why, timed_out } = failure;
        let (progress, events) = (tools.progress, tools.events);
        let original = self.original();
        let (Some(original), false) = (original, self.request.no_rollback) else {
            let because =
                if self.request.no_rollback { "--no-rollback leaves it as it is" } else { "there is nothing to undo" };
            report.outcome = Outcome::Left;
            report.message = format!(
                "Failed: {why}; {because}. Fix the node and run again to go on, or kpx-prep remediate --rollback to go back."
            );
            events.warning("RemediationFailed", report.message.clone()).await;
            return if timed_out || self.request.no_rollback { Exit::TimedOut } else { Exit::Failed };
        };
        progress.event(&format!("{why}: rolling back"));
        // The original goes back whatever it says; pods are replaced only where kube-proxy can start with it.
        let old_mode = read(&original).and_then(|parsed| target(&parsed.mode, self.facts.minor()));
        let nodes = old_mode.as_ref().map(|mode| self.to_roll_back(report, *mode)).unwrap_or_default();
        let back = match (self.config(), self.kube_proxy(), self.target()) {
            (Ok(config), Ok(kube_proxy), Ok(target)) => {
                let rollback = Rollback {
                    connection: self.connection,
                    kube_proxy,
                    config: WrittenConfig { name: &config.name, key: &config.key, text: &target.text, at: None },
                    original: &original,
                    batch_size: self.plan.batch_size,
                    tools,
                };
                rollback.run(&nodes, &mut report.nodes).await
            }
            _ => Err(anyhow::anyhow!("the plan lost its cluster")),
        };
        match (back, old_mode) {
            (Ok(()), Err(unfit)) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Failed: {why}. The original configuration is back byte for byte. It has no mode that kube-proxy can run ({unfit}), so no kube-proxy was restarted with it. See kpx-prep status; kpx-prep remediate --mode MODE sets a mode."
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
            (Ok(()), Ok(_)) => {
                report.outcome = Outcome::RolledBack;
                report.message = format!(
                    "Failed and rolled back: {why}. The original configuration is back byte for byte and the old mode proved."
                );
                events.warning("RolledBack", report.message.clone()).await;
                Exit::RolledBack
            }
            (Err(error), _) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Failed: {why}. The way back failed too: {error:#}. See kpx-prep status; kpx-prep remediate --rollback tries again."
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
        }
    }

    /// What stood before the change: of this run, or of the one that it continues.
    fn original(&self) -> Option<String> {
        let config = self.facts.config.as_ref()?;
        if self.plan.edits {
            return Some(config.text.clone());
        }
        let of_last = self.facts.backups.iter().find(|backup| backup.written.as_ref() == Some(&config.text));
        of_last.map(|backup| backup.text.clone()).filter(|text| *text != config.text)
    }

    /// The nodes that run the new configuration, the failed ones first, and the mode that each had.
    fn to_roll_back(&self, report: &RemediationReport, old_mode: ProxyMode) -> Vec<(String, ProxyMode)> {
        let of = |outcome: NodeOutcome| report.nodes.iter().filter(move |node| node.outcome == outcome);
        let continued = (!self.plan.edits).then(|| of(NodeOutcome::Already)).into_iter().flatten();
        let nodes = of(NodeOutcome::Failed).chain(of(NodeOutcome::Proved)).chain(continued);
        nodes
            .map(|result| {
                // A node that could not run the old configuration's mode before cannot do so now.
                let fell_back = self.node(&result.name).is_some_and(|node| state(node, self.facts) == State::Fallback);
                let mode = if fell_back && self.plan.edits { ProxyMode::Iptables } else { old_mode };
                (result.name.clone(), mode)
            })
            .collect()
    }
}
