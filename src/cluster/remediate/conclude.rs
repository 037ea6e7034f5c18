//! The final report and event of a run that ends without a rollback.

use super::events::Events;
use super::roll_end::RollEnd;
use super::run::Run;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::{few, few_long};

impl Run<'_> {
    /// Reports an end without a rollback.
    pub(super) async fn ended(&self, report: &mut RemediationReport, end: RollEnd, events: &Events) -> Exit {
        let mode = self.plan.to.map_or("", ProxyMode::name);
        let count = |outcome| report.nodes.iter().filter(|node| node.outcome == outcome).count();
        let proved = count(NodeOutcome::Proved) + count(NodeOutcome::Already);
        let failed: Vec<String> = report
            .nodes
            .iter()
            .filter(|node| node.outcome == NodeOutcome::Failed)
            .map(|node| format!("{}: {}", node.name, node.detail.as_deref().unwrap_or_default()))
            .collect();
        let named = match failed.len() {
            0 => String::new(),
            count => format!(" {count} node(s) failed: {}.", few_long(&failed)),
        };
        let again = "run the same command again to continue, or kpx-prep remediate --rollback to roll back";
        let unfit = self.plan.target.as_ref().and_then(|target| target.unfit.as_ref());
        let (outcome, message, exit) = match end {
            RollEnd::Done if let Some(why) = unfit => {
                let message = format!(
                    "Done: the original configuration was restored. It has no mode that kube-proxy can run ({why}), so no kube-proxy was restarted; each keeps its current mode."
                );
                events.normal("RemediationDone", message.clone()).await;
                (Outcome::Done, message, Exit::Done)
            }
            RollEnd::Done | RollEnd::Failed(_) if !failed.is_empty() => {
                let message = format!(
                    "Done with failures: kube-proxy runs {mode} on {proved} node(s), verified on each. {} node(s) failed: {}. Fix them and run the same command again, or roll back with `kpx-prep remediate --rollback`.{}",
                    failed.len(),
                    few_long(&failed),
                    self.served_until()
                );
                events.warning("RemediationDone", message.clone()).await;
                (Outcome::NodesFailed, message, Exit::Failed)
            }
            RollEnd::Done | RollEnd::Failed(_) => {
                let down = count(NodeOutcome::NotReady);
                let rest = if down > 0 {
                    format!("; {down} node(s) are NotReady, run again once they are Ready")
                } else {
                    String::new()
                };
                let message =
                    format!("Done: kube-proxy runs in {mode} mode on {proved} node(s), verified on each{rest}.");
                let other: Vec<_> = report.nodes.iter().filter(|node| node.is_for_other_leg()).collect();
                if !other.is_empty() {
                    let waiting: Vec<_> = other.iter().map(|node| node.name.clone()).collect();
                    let message = format!(
                        "{message} {} came back with the first mode and go by way of another one: run the same command again.",
                        few(&waiting)
                    );
                    events.warning("RemediationDone", message.clone()).await;
                    return self.concluded(report, (Outcome::Left, message, Exit::TimedOut));
                }
                events.normal("RemediationDone", message.clone()).await;
                let unclean = |node: &&NodeResult| node.cleaned.as_ref().is_some_and(|cleaned| !cleaned.is_clean());
                let dirty: Vec<_> = report.nodes.iter().filter(unclean).map(|node| node.name.clone()).collect();
                if dirty.is_empty() || !self.request.clean {
                    (Outcome::Done, message, Exit::Done)
                } else {
                    let left = format!(
                        "{message} Leftovers of another mode remain on {}; run the same command again to remove them.",
                        few(&dirty)
                    );
                    (Outcome::LeftoversRemain, left, Exit::TimedOut)
                }
            }
            RollEnd::Paused => {
                let message = format!("Paused after the canary: {proved} node(s) run {mode}; {again}.{named}");
                events.normal("RemediationPaused", message.clone()).await;
                (Outcome::Paused, message, Exit::Done)
            }
            RollEnd::Interrupted => {
                let message = format!("Interrupted: {mode} is configured, {proved} node(s) run it; {again}.{named}");
                events.warning("RemediationInterrupted", message.clone()).await;
                (Outcome::Interrupted, message, Exit::Interrupted)
            }
            RollEnd::Stopped(why) => {
                let message =
                    format!("Stopped: {why}. This run configured {mode}, {proved} node(s) run it; {again}.{named}");
                events.warning("RemediationFailed", message.clone()).await;
                (Outcome::Left, message, Exit::TimedOut)
            }
        };
        self.concluded(report, (outcome, message, exit))
    }

    /// Records the end; of a first leg that is not followed by the second, it says so.
    fn concluded(&self, report: &mut RemediationReport, (outcome, message, exit): (Outcome, String, Exit)) -> Exit {
        let stops = self.plan.then.is_some() && outcome != Outcome::Done;
        report.outcome = outcome;
        report.message = if stops { format!("{message} The second leg was not begun.") } else { message };
        exit
    }
}
