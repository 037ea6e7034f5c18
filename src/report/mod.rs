//! Output of commands: findings, formats, and printing that survives a closed pipe.

pub mod finding;
pub mod foreign;
pub mod progress;
pub mod say;

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

pub use finding::{Finding, Level, finding};

/// The version that every JSON or YAML report carries in `apiVersion`.
pub const API_VERSION: &str = "kpx-prep/v1";

/// Output format of a command's result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable; the wording may change between releases.
    #[default]
    Text,
    /// JSON for programs; versioned by `apiVersion`.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// Some of the names, and the number of the others.
pub fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    if names.len() <= SHOWN {
        return names.join(", ");
    }
    format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN)
}

/// Renders a report as JSON or YAML.
///
/// # Errors
/// If `report` cannot be serialized, or `format` is [`Format::Text`].
pub fn serialize(report: &impl Serialize, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => Ok(foreign::visible_json(&serde_json::to_string_pretty(report)?).into_owned() + "\n"),
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

/// Colours the levels of findings at the start of a line.
fn levels(text: &str) -> String {
    const COLOURS: [(&str, anstyle::AnsiColor); 3] = [
        ("error", anstyle::AnsiColor::Red),
        ("warning", anstyle::AnsiColor::Yellow),
        ("info", anstyle::AnsiColor::Cyan),
    ];
    let mut coloured = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let level = COLOURS.iter().find(|(word, _)| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(" [")));
        match level {
            Some((word, colour)) => {
                let style = colour.on_default();
                let _ = write!(coloured, "{style}{word}{style:#}{}", &line[word.len()..]);
            }
            None => coloured.push_str(line),
        }
    }
    coloured
}

/// Writes a result to stdout. A closed pipe (`| head`) is not an error.
///
/// # Errors
/// If stdout cannot be written, for example because the disk is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}
