//! What commands tell people and programs: findings, output formats, and printing that survives a closed pipe.

use std::io::Write as _;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The version that every JSON or YAML report carries in `apiVersion`.
pub const API_VERSION: &str = "kpx-prep/v1";

/// How a command's result is written to stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; its wording may change.
    #[default]
    Text,
    /// For programs; versioned by `apiVersion`.
    Json,
    /// The same as JSON, as YAML.
    Yaml,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing; nothing to do.
    Info,
    /// Works, but someone should look at it.
    Warning,
    /// Stops the command or makes a check say no.
    Error,
}

/// Something a check found, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// Stable name of the check, for scripts.
    pub id: &'static str,
    /// What is so, naming the object or path.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Renders a report for programs.
///
/// # Errors
/// When `report` cannot be serialized, or `format` is [`Format::Text`].
pub fn serialize(report: &impl Serialize, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Json => Ok(serde_json::to_string_pretty(report)? + "\n"),
        Format::Yaml => Ok(serde_yaml::to_string(report)?),
        Format::Text => anyhow::bail!("a text report is not serialized"),
    }
}

/// Writes a result to stdout. A reader that went away (`| head`) is no error.
///
/// # Errors
/// When stdout cannot be written, for example because the disk behind it is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}
