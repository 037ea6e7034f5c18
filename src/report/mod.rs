//! Output of commands: findings, formats, and printing that survives a closed pipe.

#[cfg(feature = "full")]
pub mod event;
pub mod finding;
pub mod foreign;
#[cfg(feature = "full")]
pub mod progress;
#[cfg(feature = "full")]
pub mod recorded;
pub mod say;

#[cfg(feature = "full")]
mod colours;

use std::io::Write as _;

use anyhow::Context as _;
use serde::Serialize;

pub use finding::{Finding, Level, finding};

/// The version that every JSON or YAML report carries in `apiVersion`.
pub const API_VERSION: &str = "kpx-prep/v1";

/// Output format of a command's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "full", derive(clap::ValueEnum))]
pub enum Format {
    /// Human-readable; the wording may change between releases.
    #[default]
    Text,
    /// JSON for programs; versioned by `apiVersion`.
    Json,
    /// The same document as YAML.
    #[cfg(feature = "full")]
    Yaml,
}

/// Up to so many nodes, text has a line for each; more are shown in groups.
pub const LISTED: usize = 50;

/// Some of the names, and the number of the others.
pub fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    if names.len() <= SHOWN {
        return names.join(", ");
    }
    format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN)
}

/// Some of the texts, one after the other, and the number of the others.
pub fn few_long(texts: &[String]) -> String {
    const SHOWN: usize = 20;
    if texts.len() <= SHOWN {
        return texts.join("; ");
    }
    format!("{}; and {} more", texts[..SHOWN].join("; "), texts.len() - SHOWN)
}

/// Renders a report as JSON or YAML.
///
/// # Errors
/// If `report` cannot be serialized, or `format` is [`Format::Text`].
pub fn serialize(report: &impl Serialize, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => Ok(foreign::visible_json(&serde_json::to_string_pretty(report)?).into_owned() + "\n"),
        #[cfg(feature = "full")]
        Format::Yaml => Ok(serde_yaml::to_string(&foreign::visible_texts(serde_json::to_value(report)?))?),
        Format::Text => anyhow::bail!("a text report is not serialized"),
    }
}

/// Prints a text result: terminal control characters are shown as escapes, and levels are coloured.
///
/// # Errors
/// As [`print()`].
pub fn print_text(text: &str) -> anyhow::Result<()> {
    print(&levels(&foreign::visible(text)))
}

/// Prints a report that was rendered in this format.
///
/// # Errors
/// As [`print()`].
pub fn print_rendered(report: &str, format: Format) -> anyhow::Result<()> {
    if format == Format::Text { print_text(report) } else { print(report) }
}

/// Colours the levels of findings at the start of a line; the node program has no colours.
fn levels(text: &str) -> std::borrow::Cow<'_, str> {
    #[cfg(feature = "full")]
    return colours::levels(text).into();
    #[cfg(not(feature = "full"))]
    text.into()
}

/// Standard output, without colours where it is not a terminal.
fn stdout() -> impl std::io::Write {
    #[cfg(feature = "full")]
    return anstream::stdout().lock();
    #[cfg(not(feature = "full"))]
    std::io::stdout().lock()
}

/// Standard error, without colours where it is not a terminal.
fn stderr() -> impl std::io::Write {
    #[cfg(feature = "full")]
    return anstream::stderr().lock();
    #[cfg(not(feature = "full"))]
    std::io::stderr().lock()
}

/// Writes a result to stdout. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// If stdout cannot be written, for example because the disk is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}
