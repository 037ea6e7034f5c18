//! Problems of an input, collected so that all are reported together.

use crate::yaml::Node;

use std::fmt;

/// A problem of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its place: an option (`--pod-network-cidr`), or file, line and field (`config.yaml:12: ipvs.scheduler`).
    pub place: String,
    /// What is wrong and how to fix it. Never contains a token or key.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Problems, which stop a command, and warnings and notes, which do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Stop the command.
    pub problems: Vec<Problem>,
    /// The operator should review these.
    pub warnings: Vec<String>,
    /// Decisions that no option requested.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a problem.
    pub fn problem(&mut self, place: impl Into<String>, message: impl fmt::Display) {
        self.problems.push(Problem { place: place.into(), message: message.to_string() });
    }

    /// Adds a warning.
    pub fn warn(&mut self, message: impl fmt::Display) {
        self.warnings.push(message.to_string());
    }

    /// Adds a note.
    pub fn note(&mut self, message: impl fmt::Display) {
        self.notes.push(message.to_string());
    }

    /// Returns the value, or adds a problem at this place.
    pub fn accept<T, E: fmt::Display>(&mut self, place: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(place, error)).ok()
    }

    /// All problems as one message; `None` if there are none.
    pub fn refusal(&self) -> Option<String> {
        let lines: Vec<_> = self.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        match lines.as_slice() {
            [] => None,
            [one] => Some(format!("nothing was written: {}", one.trim_start())),
            many => Some(format!("nothing was written: {} problems{}", many.len(), many.concat())),
        }
    }
}

/// `FILE:LINE: FIELD`
pub(super) fn place(name: &str, node: &Node, field: &str) -> String {
    format!("{name}:{}: {field}", node.line)
}
