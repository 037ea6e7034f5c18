//! A finding: what a check found, its severity, and what to do. All commands print findings alike.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information; no action needed.
    Info,
    /// It works, but should be reviewed.
    Warning,
    /// Stops the command or fails the check.
    Error,
}

impl Level {
    /// The word at the start of the finding's line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// Something a check found, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its severity.
    pub level: Level,
    /// Stable id of the check, for scripts; see [`crate::checks`].
    pub id: Cow<'static, str>,
    /// What was found, naming the object or path.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// The finding for people: a line with its level, id and message, then the hint and the link on lines of their own.
    pub fn text(&self) -> String {
        let mut text = format!("{} [{}] {}\n", self.level.word(), self.id, self.message);
        let (hint, link) = self.hint.as_deref().map_or(("", None), hint_and_link);
        if !hint.is_empty() {
            let _ = writeln!(text, "  hint: {hint}");
        }
        if let Some(link) = link {
            let _ = writeln!(text, "  see:  {link}");
        }
        text
    }
}

/// A finding; an empty hint is none.
pub fn finding(level: Level, id: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
    Finding { level, id: Cow::Borrowed(id), message: message.into(), hint }
}

/// A hint may end with a link, after a colon or semicolon.
fn hint_and_link(hint: &str) -> (&str, Option<&str>) {
    let at = hint.rfind("https://").filter(|at| !hint[*at..].contains(char::is_whitespace));
    let Some(at) = at else { return (hint, None) };
    let before = hint[..at].trim_end();
    match before.strip_suffix([':', ';']) {
        Some(before) => (before.trim_end(), Some(&hint[at..])),
        None if before.is_empty() => ("", Some(hint)),
        // The link is part of a sentence.
        None => (hint, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_and_link_are_on_separate_lines() {
        for (hint, text) in [
            ("", "warning [id] what\n"),
            ("do this", "warning [id] what\n  hint: do this\n"),
            ("do this; https://a.b/c#d", "warning [id] what\n  hint: do this\n  see:  https://a.b/c#d\n"),
            ("do this: https://a.b/c", "warning [id] what\n  hint: do this\n  see:  https://a.b/c\n"),
            ("https://a.b/c", "warning [id] what\n  see:  https://a.b/c\n"),
            ("remove \"https://\"", "warning [id] what\n  hint: remove \"https://\"\n"),
            ("get https://a.b/c first", "warning [id] what\n  hint: get https://a.b/c first\n"),
        ] {
            assert_eq!(finding(Level::Warning, "id", "what", hint).text(), text, "{hint}");
        }
    }
}
