//! How a run ended.

use crate::cluster::plan::Plan;
use crate::cluster::report::remediation::{Outcome, RemediationReport};
use crate::exit_code::Exit;

/// The end of a run.
#[derive(Debug)]
pub struct Ended {
    /// Its report.
    pub report: RemediationReport,
    /// Its exit status.
    pub exit: Exit,
}

impl Ended {
    /// Whether the whole plan was carried out, and not only rehearsed, or its canary.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.report.outcome, Outcome::Done)
    }

    pub(super) fn new(plan: &Plan, outcome: Outcome, message: impl Into<String>, exit: Exit) -> Self {
        Self { report: RemediationReport::new(plan, outcome, message), exit }
    }
}
