//! `kpx-prep collect`: what a support case needs, in one archive.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use super::cluster_args::ClusterArgs;
use super::helper_setup::{HelperSetup, ask, can_confirm};
use super::observed::{look_at_nodes, observe_all};
use super::remediate::RemediateArgs;
use crate::atomic_file;
use crate::bundle::{BundleFile, archive};
use crate::cluster::collect::{Wanted, collect};
use crate::exit_code::{Exit, Refusal};
use crate::mode::ProxyMode;
use crate::report::print_text;
use crate::report::say::say;

/// Collect what a support case needs into one archive; it only reads
#[derive(Debug, Args)]
#[command(after_help = "Always without secrets: tokens, keys, passwords and certificates are removed from every file.
The list of the files is shown before the archive is written. Look into it before you send it.

Examples:
  kpx-prep collect --dry-run
  kpx-prep collect --anonymize --yes
  kpx-prep collect --nodes --mode nftables --output-file case-42.tar.gz")]
pub(super) struct CollectArgs {
    /// Write to this new file [default: kpx-prep-TIME.tar.gz in the current directory]
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Replace the names of nodes, namespaces, Services and pods, and all addresses, by others
    #[arg(long)]
    anonymize: bool,
    /// Include the plan for this mode [default: the configured mode]
    #[arg(long, value_name = "MODE", value_parser = str::parse::<ProxyMode>)]
    mode: Option<ProxyMode>,
    /// Include the logs of at most this many nodes; first of those that do not run the configured mode
    #[arg(long, value_name = "N", default_value_t = 20)]
    logs: usize,
    /// Also inspect each host (kernel modules, leftover rules); temporarily deploys the node helper
    #[arg(long)]
    nodes: bool,
    #[command(flatten)]
    helper: HelperSetup,
    /// Only list what would be written
    #[arg(long)]
    dry_run: bool,
    /// Skip the confirmation prompts
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl CollectArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if !self.dry_run || self.nodes {
            can_confirm(self.yes)?;
        }
        let now = jiff::Timestamp::now();
        let name = format!("kpx-prep-{}", now.strftime("%Y%m%dT%H%M%SZ"));
        let path = self.output_file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
        is_new(&path)?;
        crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            let mut facts = observe_all(&connection, &self.cluster.scope(Vec::new())).await?;
            if self.nodes {
                look_at_nodes(&connection, &mut facts, &self.helper, self.yes, self.mode).await?;
            }
            let wanted = Wanted {
                plan: self.mode.or(facts.target().ok()).map(RemediateArgs::default_request).transpose()?,
                logs: self.logs,
                anonymize: self.anonymize,
            };
            let collection = collect(&connection, &facts, &wanted).await?;
            for missing in &collection.index.missing {
                say(&format!("warning: not collected: {missing}"));
            }
            let files = collection.finish()?;
            let modified = u64::try_from(now.as_second()).unwrap_or(0);
            let archive = archive(&name, &files, modified).context("building the archive; nothing was written")?;
            print_text(&list(&files))?;
            if self.dry_run {
                say(&format!("dry run; nothing was written ({} bytes as {})", archive.len(), path.display()));
                return Ok(Exit::Done);
            }
            let question = format!("Write {} ({} bytes)? [y/N] ", path.display(), archive.len());
            if !ask(self.yes, &question).await? {
                return Err(Refusal::interrupted("nothing was written"));
            }
            is_new(&path)?;
            atomic_file::replace(&path, &archive, 0o600)
                .with_context(|| format!("writing {}; nothing was written", path.display()))?;
            say(&format!("{}: written, {} bytes. Look into it before you send it", path.display(), archive.len()));
            Ok(Exit::Done)
        })
    }
}

/// A bundle of an earlier case is not overwritten.
fn is_new(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let exists =
        format!("--output-file {}: it exists already; nothing was written. Choose another name", path.display());
    Err(Refusal::usage(exists))
}

/// What is in the archive.
fn list(files: &[BundleFile]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["FILE", "BYTES", "CONTENT"]);
    for file in files {
        table.add_row([file.path.clone(), file.bytes.len().to_string(), file.about.clone()]);
    }
    if let Some(bytes) = table.column_mut(1) {
        bytes.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}
