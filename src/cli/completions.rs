//! `kpx-prep completions` and the hidden `kpx-prep man`: both generated from the command line's own definition.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};

use super::Cli;
use crate::exit_code::Exit;
use crate::report::print;

/// Print a shell completion script
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep completions bash > /etc/bash_completion.d/kpx-prep")]
pub(super) struct CompletionsArgs {
    /// Shell to print the script for
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "kpx-prep", &mut script);
        print(&String::from_utf8(script).context("the completion script is not UTF-8")?)?;
        Ok(Exit::Done)
    }
}

/// Write a manual page for every command into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep man /usr/local/share/man/man1")]
pub(super) struct ManArgs {
    /// Directory to write into; it is created if it does not exist
    folder: PathBuf,
}

impl ManArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder))
            .with_context(|| format!("writing manual pages into {}", self.folder.display()))?;
        Ok(Exit::Done)
    }
}
