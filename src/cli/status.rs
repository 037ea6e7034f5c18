//! `kpx-prep status`: the mode each kube-proxy is actually running.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;

use super::cluster_args::{ClusterArgs, ClusterFormat};
use super::helper_setup::{HelperSetup, can_confirm};
use super::observed::{look_at_nodes, observe_all};
use super::report_file::ReportFile;
use crate::atomic_file;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::observe::Scope;
use crate::cluster::remediate::interrupt::Signals;
use crate::cluster::report::status::StatusReport;
use crate::exit_code::{Exit, Refusal};
use crate::report::foreign::visible;
use crate::report::say::say;
use crate::report::{Format, print, print_rendered};

/// Refresh interval of `--watch`.
const INTERVAL: Duration = Duration::from_secs(3);

/// Show the mode each kube-proxy is actually running, and how it was verified
#[derive(Debug, Args)]
#[command(after_help = "Exits with 0 if every node runs the configured mode, else with 3.

Examples:
  kpx-prep status
  kpx-prep status --kubeconfig /etc/kubernetes/admin.conf -o wide
  kpx-prep status -o json | jq '.nodes[] | select(.state != \"right\")'
  kpx-prep status -o prometheus --output-file /var/lib/prometheus/node-exporter/kpx-prep.prom")]
pub(super) struct StatusArgs {
    /// Show only this node; repeatable
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Also inspect each host (kernel modules, leftover rules); temporarily deploys the node helper
    #[arg(long, conflicts_with = "watch")]
    nodes: bool,
    #[command(flatten)]
    helper: HelperSetup,
    /// Skip the confirmation prompt
    #[arg(short, long)]
    yes: bool,
    /// Refresh until interrupted
    #[arg(short, long)]
    watch: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: ClusterFormat,
    /// Write to this file, which readers see as a whole or not at all [default: stdout]
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    output_file: Option<PathBuf>,
    #[command(flatten)]
    report: ReportFile,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.watch && self.output == ClusterFormat::Prometheus {
            return Err(Refusal::usage(
                "--watch: metrics are read as a whole; use -o prometheus without it, in a timer",
            ));
        }
        self.report.check()?;
        if self.watch && self.report.is_given() {
            return Err(Refusal::usage("--watch: a report is written once; use --report without it"));
        }
        if self.nodes {
            can_confirm(self.yes)?;
        }
        let scope = self.cluster.scope(self.node.clone());
        crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            if self.watch {
                return self.watch(&connection, &scope).await;
            }
            let mut facts = observe_all(&connection, &scope).await?;
            if self.nodes {
                look_at_nodes(&connection, &mut facts, &self.helper, self.yes, None).await?;
            }
            let report = StatusReport::new(&facts);
            self.deliver(&self.render(&report)?)?;
            if self.report.is_given() {
                self.report.write(&report.page())?;
            }
            Ok(report.exit())
        })
    }

    /// Prints the report, or replaces the file. Others may read it: `node_exporter` has a user of its own.
    fn deliver(&self, text: &str) -> anyhow::Result<()> {
        let Some(path) = &self.output_file else { return print_rendered(text, self.output.format()) };
        atomic_file::replace(path, visible(text).as_bytes(), 0o644)
            .with_context(|| format!("writing {}; the existing file was not changed", path.display()))
    }

    fn render(&self, report: &StatusReport) -> anyhow::Result<String> {
        if self.output == ClusterFormat::Prometheus {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
            return Ok(report.prometheus(now.as_secs()));
        }
        report.render(self.output.format(), self.output == ClusterFormat::Wide)
    }

    async fn watch(&self, connection: &Connection, scope: &Scope) -> anyhow::Result<Exit> {
        let redraw = self.output.format() == Format::Text && std::io::stdout().is_terminal();
        let mut shown = None;
        let mut signals = Signals::listen().context("listening for signals")?;
        loop {
            match observe_all(connection, scope).await {
                Ok(facts) => {
                    let report = StatusReport::new(&facts);
                    if shown.as_ref() != Some(&report) {
                        if redraw {
                            print("\x1b[H\x1b[2J")?;
                        }
                        print_rendered(&self.render(&report)?, self.output.format())?;
                        shown = Some(report);
                    }
                }
                // Keep watching when the cluster is unreachable for a moment.
                Err(error) if shown.is_some() => say(&format!("warning: {error:#}")),
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = signals.received() => return Ok(Exit::Interrupted),
            }
        }
    }
}
