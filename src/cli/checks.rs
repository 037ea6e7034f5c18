//! `kpx-prep checks`: the table of all checks.

use clap::Args;

use crate::checks::{Check, checks, find, markdown, text};
use crate::exit_code::{Exit, Refusal};
use crate::report::{API_VERSION, Format, print_rendered, serialize};

/// List all checks: what each means and how to fix it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ChecksArgs {
    /// Show only these checks
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Print as Markdown, as in docs/checks.md
    #[arg(long, hide = true, conflicts_with = "output")]
    markdown: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpx-prep checks
  kpx-prep checks foreign-owner
  kpx-prep checks -o json";

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckList<'a> {
    api_version: &'static str,
    kind: &'static str,
    checks: &'a [Check],
}

impl ChecksArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut chosen = checks().to_vec();
        if !self.ids.is_empty() {
            let found = self.ids.iter().map(|id| find(id)).collect::<Result<Vec<_>, _>>().map_err(Refusal::usage)?;
            chosen.retain(|check| found.contains(&check));
        }
        let rendered = match self.output {
            Format::Text if self.markdown => markdown(&chosen),
            Format::Text => text(&chosen),
            format => serialize(&CheckList { api_version: API_VERSION, kind: "CheckList", checks: &chosen }, format)?,
        };
        print_rendered(&rendered, self.output)?;
        Ok(Exit::Done)
    }
}
