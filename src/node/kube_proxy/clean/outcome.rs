//! How a clean-up ended: its exit status, and the report of one that changed nothing.

use crate::exit_code::Exit;
use crate::node_protocol::{CleanOutcome, CleanReport};
use crate::report::{API_VERSION, Level, finding};

/// The report of a run in which no Service answered once the bridge was gone; `state`: what became of it.
pub(super) fn without_bridge(running: Option<String>, why: &str, state: &str) -> (CleanReport, Exit) {
    let (mut report, exit) = stopped(CleanOutcome::NotServing, running, format!("{why}; {state}"));
    report.summary = format!("{why}; {state}; nothing else was changed");
    for finding in &mut report.findings {
        finding.hint = Some("check kube-proxy's log and the endpoints of the Service, then run it again".to_owned());
    }
    (report, exit)
}

/// The report of a run that changed nothing, with the reason.
pub(super) fn stopped(outcome: CleanOutcome, running: Option<String>, why: String) -> (CleanReport, Exit) {
    let (id, hint) = match outcome {
        CleanOutcome::NotSynced => {
            ("not-synced", "run it again when kube-proxy has synced; see kube-proxy's log for the reason")
        }
        CleanOutcome::NotServing => (
            "not-serving",
            "check kube-proxy's log and the endpoints of the Service, then run it again; nothing was changed",
        ),
        _ => (
            "refused",
            "make sure kube-proxy is running in the mode you want to keep; set --metrics-port if it is not 10249",
        ),
    };
    let mut report = empty(outcome, running);
    report.summary = format!("{why}; nothing was changed");
    report.findings.push(finding(Level::Error, id, why, hint));
    (report, exit_of(outcome))
}

/// A report without any object.
pub(super) fn empty(outcome: CleanOutcome, running: Option<String>) -> CleanReport {
    CleanReport {
        api_version: API_VERSION.to_owned(),
        kind: "CleanReport".to_owned(),
        outcome,
        summary: String::new(),
        running,
        removed: Vec::new(),
        remaining: Vec::new(),
        transactions: Vec::new(),
        connections_cut: 0,
        suspicious: Vec::new(),
        findings: Vec::new(),
    }
}

/// The exit status of an outcome.
pub(super) fn exit_of(outcome: CleanOutcome) -> Exit {
    match outcome {
        CleanOutcome::Cleaned | CleanOutcome::NothingToClean | CleanOutcome::WouldClean => Exit::Done,
        CleanOutcome::NotSynced => Exit::TimedOut,
        CleanOutcome::NotServing | CleanOutcome::Refused => Exit::CheckSaysNo,
        CleanOutcome::Failed => Exit::Failed,
    }
}
