//! A change in two legs (`crate::cluster::plan::legs`): runs one after the other.

use anyhow::Context as _;

use super::ended::Ended;
use super::operator::Operator;
use super::{ATTEMPTS, Job};
use crate::cluster::report::remediation::Outcome;
use crate::exit_code::Exit;
use crate::report::say::say;

/// What an operator does between the legs.
const AFTER_LEG_ONE: &str = "The first leg is done: iptables mode is configured and verified. Run the same command again for the second leg, or roll back with `kpx-prep remediate --rollback`.";

/// The end of a second leg that has begun nothing.
fn after_leg_one(ended: anyhow::Result<Ended>) -> anyhow::Result<Ended> {
    let Ended { mut report, mut exit } = ended.context(AFTER_LEG_ONE)?;
    match report.outcome {
        Outcome::Blocked => {
            (report.outcome, exit) = (Outcome::Left, Exit::TimedOut);
            report.message =
                format!("Stopped: preflight of the second leg failed, see the errors above. {AFTER_LEG_ONE}");
        }
        Outcome::Interrupted if report.backup.is_none() => report.message = format!("Interrupted. {AFTER_LEG_ONE}"),
        _ => {}
    }
    Ok(Ended { report, exit })
}

impl Job<'_> {
    /// Runs the leg that is due, and the next one once that is done.
    pub(super) async fn legs(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Ended> {
        // A node that comes back with the first mode goes through the first leg, too.
        for _ in 0..ATTEMPTS {
            match Box::pin(self.run(operator)).await {
                Ok(ended) if ended.exit == Exit::Done && ended.report.plan.then.is_some() && ended.is_whole() => {
                    say(&format!("leg 1 of 2: {}", ended.report.message));
                    self.leg_one_is_done = true;
                }
                ended if self.leg_one_is_done => return after_leg_one(ended),
                ended => return ended,
            }
        }
        Err(anyhow::anyhow!("nodes with the first mode came back {ATTEMPTS} times during the change. {AFTER_LEG_ONE}"))
    }
}
