//! Preflight: named checks of the observed state before anything is changed. Pure.
//!
//! A [`Level::Error`] stops the run unless its id is ignored, as with kubeadm's `--ignore-preflight-errors`.

mod cni;
mod config;
pub(super) mod gap;
mod host_network;
pub mod hosts;
mod network;
mod nodes;
pub mod question;

use question::Question;

use crate::checks::check;
use crate::cluster::plan::request::Request;
use crate::report::{Finding, Level};

/// Runs all checks; ignored errors become warnings.
pub fn run(question: Question) -> Vec<Finding> {
    let mut findings = Vec::new();
    config::check(question, &mut findings);
    gap::check(question, &mut findings);
    nodes::check(question, &mut findings);
    network::check(question, &mut findings);
    hosts::check(question, &mut findings);
    findings.extend(question.target.warnings.iter().cloned());
    soften(&mut findings, question.request);
    findings
}

/// Turns errors of ignored checks into warnings, where there is something to go on with.
pub fn soften(findings: &mut [Finding], request: &Request) {
    let ignorable = |finding: &&mut Finding| check(&finding.id).is_some_and(|check| check.ignorable);
    let ignored = |finding: &&mut Finding| finding.level == Level::Error && request.ignores(&finding.id);
    for finding in findings.iter_mut().filter(ignored).filter(ignorable) {
        finding.level = Level::Warning;
        finding.message.push_str(" (ignored)");
    }
}
