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

/// The report of a run that was refused before anything was changed.
pub(super) fn refused(id: &'static str, why: String, hint: &str) -> (CleanReport, Exit) {
    let mut report = empty(CleanOutcome::Refused, None);
    report.summary = format!("{why}; nothing was changed");
    report.findings.push(finding(Level::Error, id, why, hint));
    (report, exit_of(CleanOutcome::Refused))
}

/// Adds what could not be removed. If all of it was removed in the end, a retry succeeded, and it is no failure.
pub(super) fn tell_failures<'a>(report: &mut CleanReport, failures: impl Iterator<Item = &'a String>) {
    let (level, hint) = match report.outcome {
        CleanOutcome::Failed => (Level::Error, "run it again; it continues from the current state"),
        _ => (Level::Info, ""),
    };
    report.findings.extend(failures.map(|failure| finding(level, "not-removed", failure.clone(), hint)));
}

/// Adds the number of connections that were closed.
pub(super) fn tell_cut(report: &mut CleanReport, cut: u32) {
    report.connections_cut = cut;
    if cut > 0 {
        report.findings.push(finding(
            Level::Warning,
            "connections-cut",
            format!("{cut} connections were still open after the drain time and were closed"),
            "for long-lived connections, increase --drain",
        ));
    }
}

/// A number of leftovers in words.
pub(super) fn count(number: usize) -> String {
    if number == 1 { "1 leftover".to_owned() } else { format!("{number} leftovers") }
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
