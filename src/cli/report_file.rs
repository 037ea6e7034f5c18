//! `--report FILE`: the result as a page, too.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::atomic_file;
use crate::exit_code::Refusal;
use crate::page::{Page, PageFormat};

/// Option of commands that can write their result as a page.
#[derive(Debug, Args)]
pub(super) struct ReportFile {
    /// Also write the result as a page for a change ticket: Markdown (.md) or one self-contained HTML file (.html)
    #[arg(long = "report", value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ReportFile {
    /// Whether a page is asked for.
    pub(super) fn is_given(&self) -> bool {
        self.path.is_some()
    }

    /// Whether the file's ending names a format.
    ///
    /// # Errors
    /// A refusal as wrong usage if it does not.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.format().map(|_| ())
    }

    fn format(&self) -> anyhow::Result<Option<PageFormat>> {
        let Some(path) = &self.path else { return Ok(None) };
        let Some(format) = PageFormat::of(path) else {
            return Err(Refusal::usage(format!(
                "--report {}: the format is chosen by the file's ending, .md or .html. Nothing was changed",
                path.display()
            )));
        };
        Ok(Some(format))
    }

    /// Replaces the file. It names nodes and addresses: readable by its owner and group.
    ///
    /// # Errors
    /// If it cannot be written; the existing file was not changed.
    pub(super) fn write(&self, page: &Page) -> anyhow::Result<()> {
        let (Some(path), Some(format)) = (&self.path, self.format()?) else { return Ok(()) };
        atomic_file::replace(path, page.render(format).as_bytes(), 0o640)
            .with_context(|| format!("--report: writing {}; the existing file was not changed", path.display()))
    }
}
