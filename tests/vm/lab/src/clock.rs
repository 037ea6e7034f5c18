//! How long a command takes.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{self, ExitCode, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use crate::record::{Record, Time};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Name of the round; those that begin with 0 warm caches and are not counted
    round: String,
    /// What is measured
    what: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<OsString>,
}

/// From before the process is created to after it was waited for. What it says goes nowhere. Ends as the command does: a
/// command that failed was not measured.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = process::Command::new(&arguments.command[0]);
    command.args(&arguments.command[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    let from = Instant::now();
    let status = command.status().with_context(|| format!("running {}", arguments.command[0].display()))?;
    let took = from.elapsed();
    if !status.success() {
        return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
    }
    let time = Time {
        round: arguments.round.clone(),
        what: arguments.what.clone(),
        nanoseconds: u64::try_from(took.as_nanos()).context("it took centuries")?,
    };
    Record::Time(time).write(&mut io::stdout().lock())?;
    io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}
