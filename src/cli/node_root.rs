//! The file tree and output format of a node command.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::exit_code::{Exit, Refusal};
use crate::node::report::NodeReport;
use crate::node::root::Root;
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
    pub(super) fn root(&self) -> anyhow::Result<Root> {
        Root::new(&self.root)
            .map_err(|error| Refusal::usage(format!("--root {}: {error}; nothing was changed", self.root.display())))
    }

    /// Prints a report in the requested format.
    pub(super) fn print(&self, report: &impl serde::Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let rendered = if self.output == Format::Text { text() } else { serialize(report, self.output)? };
        print_rendered(&rendered, self.output)
            .context("the report could not be printed; run the command again to see the node's state")
    }

    pub(super) fn tell(&self, result: anyhow::Result<(NodeReport, Exit)>) -> anyhow::Result<Exit> {
        let (report, exit) = result?;
        print_rendered(&report.render(self.output)?, self.output)
            .context("the report could not be printed; run the command again to see the node's state")?;
        Ok(exit)
    }
}
