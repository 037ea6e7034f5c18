//! A change in two legs (`crate::cluster::plan::legs`): runs one after the other.

use super::ended::Ended;
use super::operator::Operator;
use super::{ATTEMPTS, Job};
use crate::cluster::plan::Plan;
use crate::cluster::report::remediation::{FirstLeg, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::report::say::say;

/// What an operator does between the legs.
const BETWEEN_LEGS: &str = "The first leg is done: iptables mode is configured and verified. Run the same command again for the second leg, or roll back with `kpx-prep remediate --rollback`.";

/// The end of a run whose second leg has changed nothing: the state is that after the first.
fn not_begun(ended: anyhow::Result<Ended>, first: &FirstLeg) -> Ended {
    let mut ended = ended.unwrap_or_else(|error| {
        let exit = match Exit::of_error(&error) {
            Exit::Failed => Exit::TimedOut,
            exit => exit,
        };
        Ended { report: RemediationReport::new(&Plan::unknown(), Outcome::Left, format!("{error:#}")), exit }
    });
    let report = &mut ended.report;
    match report.outcome {
        Outcome::Blocked => {
            (report.outcome, ended.exit) = (Outcome::Left, Exit::TimedOut);
            report.message =
                format!("Stopped: preflight of the second leg failed, see the errors above. {BETWEEN_LEGS}");
        }
        Outcome::Interrupted if report.backup.is_none() => report.message = format!("Interrupted. {BETWEEN_LEGS}"),
        Outcome::Left if report.backup.is_none() => {
            report.message = format!("The second leg was not begun: {} {BETWEEN_LEGS}", report.message);
        }
        _ => {}
    }
    report.backup = report.backup.take().or_else(|| first.backup.clone());
    report.first_leg = Some(Box::new(first.clone()));
    ended
}

impl Job<'_> {
    /// Runs the leg that is due, and the next one once that is done.
    pub(super) async fn legs(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Ended> {
        // A node that comes back with the first mode goes through the first leg, too.
        for _ in 0..ATTEMPTS {
            let ended = Box::pin(self.run(operator)).await;
            match (ended, &self.first) {
                (Ok(ended), _) if ended.exit == Exit::Done && ended.report.plan.then.is_some() && ended.is_whole() => {
                    let report = ended.report;
                    say(&format!("leg 1 of 2: {}", report.message));
                    let backup = report.backup.or_else(|| self.first.take()?.backup);
                    let (from, to) = (report.plan.from, report.plan.to);
                    self.first = Some(FirstLeg { from, to, backup, nodes: report.nodes });
                }
                (ended, Some(first)) => return Ok(not_begun(ended, first)),
                (ended, None) => return ended,
            }
        }
        Err(anyhow::anyhow!("nodes with the first mode came back {ATTEMPTS} times during the change. {BETWEEN_LEGS}"))
    }
}
