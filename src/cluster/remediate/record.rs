//! Records the end of a node: its result, its line, and what it means for the rest of the rollout.

use super::roll::Roll;
use super::roll_end::{Failure, NodeEnd, RollEnd};
use super::switch::SwitchEnd;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult};
use crate::report::event::What;
use crate::report::few;

impl Roll<'_> {
    /// Adds a node's end to the results and prints it.
    ///
    /// # Errors
    /// The end of the rollout: too many nodes have failed, more than `tolerated`, or the API server failed.
    pub(super) fn record(
        &self,
        ended: NodeEnd,
        tolerated: usize,
        results: &mut Vec<NodeResult>,
    ) -> Result<(), RollEnd> {
        let NodeEnd { node, end, cleaned } = ended;
        let mut stopped = None;
        let (outcome, detail, timed_out) = match end {
            Ok(SwitchEnd::Proved(_, how)) => {
                let by = serde_json::to_value(how).ok().and_then(|how| Some(format!("by {}", how.as_str()?)));
                (NodeOutcome::Proved, by, false)
            }
            Ok(SwitchEnd::Gone) => (NodeOutcome::Gone, None, false),
            Ok(SwitchEnd::NotReady) => (NodeOutcome::NotReady, None, false),
            Ok(SwitchEnd::OtherLeg(mode)) => (NodeOutcome::NotReached, Some(format!("it still runs {mode}")), false),
            Ok(SwitchEnd::Failed(why)) => (NodeOutcome::Failed, Some(why), false),
            Ok(SwitchEnd::TimedOut(why)) => (NodeOutcome::Failed, Some(why), true),
            Err(error) => {
                let why = format!("{error:#}");
                stopped = Some(RollEnd::Stopped(why.clone()));
                (NodeOutcome::Failed, Some(why), false)
            }
        };
        let why = detail.clone().unwrap_or_default();
        let mode = (outcome == NodeOutcome::Proved).then(|| self.mode.name());
        let (what, text) = match outcome {
            NodeOutcome::Proved => {
                let cleaned = cleaned.as_ref().map(|cleaned| format!(", {}", cleaned.words())).unwrap_or_default();
                (What::Verified, format!("{} verified{cleaned}", self.mode))
            }
            NodeOutcome::Gone => (What::Skipped, "deleted during the rollout".to_owned()),
            NodeOutcome::NotReady => (What::Skipped, "NotReady; skipped".to_owned()),
            NodeOutcome::NotReached => (What::Skipped, format!("{why}; skipped")),
            _ => (What::Failed, format!("FAILED: {why}")),
        };
        self.tools.progress.node_done(what, &node, mode, &text);
        let failure = format!("{node}: {why}");
        let result = NodeResult { mode, detail, cleaned, ..NodeResult::new(&node, outcome) };
        match results.iter_mut().find(|result| result.name == node) {
            Some(there) => *there = result,
            None => results.push(result),
        }
        // Nodes that are already up to date or not ready are in the results from the start.
        let done =
            results.iter().filter(|result| !matches!(result.outcome, NodeOutcome::Already | NodeOutcome::NotReady));
        self.tools.lock.tell_progress(format!("node {} of {}", done.count().min(self.total), self.total));
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        if outcome != NodeOutcome::Failed {
            return Ok(());
        }
        let failed: Vec<_> = results.iter().filter(|result| result.outcome == NodeOutcome::Failed).collect();
        if failed.len() <= tolerated {
            return Ok(());
        }
        let why = if tolerated == 0 {
            failure
        } else {
            let names: Vec<_> = failed.iter().map(|result| result.name.clone()).collect();
            format!(
                "{} nodes failed ({}), --max-failures is {tolerated}; the last: {failure}",
                names.len(),
                few(&names)
            )
        };
        Err(RollEnd::Failed(Failure { why, timed_out }))
    }
}
