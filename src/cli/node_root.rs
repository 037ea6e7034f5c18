//! The file tree and output format of a node command.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::exit_code::Exit;
use crate::node::command::NodeCommand;
use crate::report::{Format, print_rendered, serialize};

#[derive(Debug, Args)]
pub(super) struct Where {
    /// Use the file tree below DIR; where modules are loaded, any DIR but `/` implies --no-load
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Where {
    /// Runs the command there and prints its report.
    pub(super) fn run(&self, command: NodeCommand) -> anyhow::Result<Exit> {
        let (answer, exit) = command.run(&self.root)?;
        let rendered = if self.output == Format::Text { answer.text() } else { serialize(&answer, self.output)? };
        print_rendered(&rendered, self.output)
            .context("the report could not be printed; run the command again to see the node's state")?;
        Ok(exit)
    }
}
