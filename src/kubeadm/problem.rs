//! What is wrong with an input, collected so that all of it is reported at once.

use crate::yaml::Node;

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: an option (`--pod-network-cidr`), or file, line and field (`config.yaml:12: ipvs.scheduler`).
    pub place: String,
    /// What is wrong there and what would be right. Never holds a token or key.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Problems, which stop a command, and remarks, which do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What stops the command.
    pub problems: Vec<Problem>,
    /// What the operator should look at.
    pub warnings: Vec<String>,
    /// What was decided without being asked for.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a problem.
    pub fn problem(&mut self, place: impl Into<String>, message: impl fmt::Display) {
        self.problems.push(Problem { place: place.into(), message: message.to_string() });
    }

    /// Adds a remark.
    pub fn warn(&mut self, message: impl fmt::Display) {
        self.warnings.push(message.to_string());
    }

    /// Adds a note.
    pub fn note(&mut self, message: impl fmt::Display) {
        self.notes.push(message.to_string());
    }

    /// The value, or a problem at this place.
    pub fn accept<T, E: fmt::Display>(&mut self, place: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(place, error)).ok()
    }

    /// All problems as one message; none if there are none.
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
