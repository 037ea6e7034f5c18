//! Problems of an input, collected so that all are reported together.

use std::fmt;

use crate::report::{Finding, Level, finding};
use crate::yaml::Node;

/// A problem of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProblem {
    /// Its place: an option (`--pod-network-cidr`), or file, line and field (`config.yaml:12: ipvs.scheduler`).
    pub place: String,
    /// What is wrong and how to fix it. Never contains a token or key.
    pub message: String,
}

impl fmt::Display for InputProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Problems, which stop a command, and remarks (warnings and notes), which do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Stop the command.
    pub problems: Vec<InputProblem>,
    /// Do not stop the command: warnings, and decisions that no option requested.
    pub remarks: Vec<Finding>,
}

impl Findings {
    /// Adds a problem.
    pub fn problem(&mut self, place: impl Into<String>, message: impl fmt::Display) {
        self.problems.push(InputProblem { place: place.into(), message: message.to_string() });
    }

    /// Adds a warning of the check `id`.
    pub fn warn(&mut self, id: &'static str, message: impl fmt::Display) {
        self.remarks.push(finding(Level::Warning, id, message.to_string(), ""));
    }

    /// Adds a decision that no option requested.
    pub fn note(&mut self, id: &'static str, message: impl fmt::Display) {
        self.remarks.push(finding(Level::Info, id, message.to_string(), ""));
    }

    /// Returns the value, or adds a problem at this place.
    pub fn accept<T, E: fmt::Display>(&mut self, place: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(place, error)).ok()
    }

    /// All as findings: remarks by severity, then the problems.
    pub fn all(&self) -> Vec<Finding> {
        let mut all = self.remarks.clone();
        all.sort_by_key(|finding| finding.level);
        all.extend(self.problems.iter().map(|problem| finding(Level::Error, "invalid-input", problem.to_string(), "")));
        all
    }

    /// The error message if there are problems.
    pub fn refusal(&self) -> Option<String> {
        match self.problems.len() {
            0 => None,
            1 => Some("nothing was written; fix the error above".to_owned()),
            many => Some(format!("nothing was written; fix the {many} errors above")),
        }
    }
}

/// `FILE:LINE: FIELD`
pub(super) fn place(name: &str, node: &Node, field: &str) -> String {
    format!("{name}:{}: {field}", node.line)
}
