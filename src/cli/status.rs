//! `kpx-prep status`: the mode each kube-proxy is actually running.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;

use super::cluster_args::{ClusterArgs, ClusterFormat};
use super::helper_setup::{HelperSetup, ask, can_confirm, question};
use super::report_file::ReportFile;
use crate::atomic_file;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::helper::{Coverage, Helper};
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::hosts::look_at_hosts;
use crate::cluster::observe::{Scope, observe};
use crate::cluster::remediate::interrupt::{Interrupt, Signals};
use crate::cluster::report::status::StatusReport;
use crate::exit_code::{Exit, Refusal};
use crate::mode::{DEFAULT_SCHEDULER, ProxyMode};
use crate::proxy_config::ProxyConfig;
use crate::report::foreign::visible;
use crate::report::say::say;
use crate::report::{Format, print, print_rendered};

/// Refresh interval of `--watch`.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long the lock is valid without renewal, as in `remediate`.
const LEASE: Duration = Duration::from_secs(15);

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
                self.look_at_nodes(&connection, &mut facts).await?;
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

    async fn look_at_nodes(&self, connection: &Connection, facts: &mut ClusterFacts) -> anyhow::Result<()> {
        let (Some(kube_proxy), Some(config)) = (facts.kube_proxy.clone(), facts.config.clone()) else { return Ok(()) };
        let scheduler = config.parsed.as_ref().map_or(DEFAULT_SCHEDULER, ProxyConfig::scheduler).to_owned();
        let mode = facts.target().unwrap_or(ProxyMode::Ipvs);
        let setup = self.helper.setup()?;
        let interrupt = Interrupt::listen().context("listening for signals; nothing was changed")?;
        let nodes = facts.proxy_nodes().filter(|node| node.ready).count();
        let question = question(&setup, connection, nodes);
        let confirmed = tokio::select! {
            confirmed = ask(self.yes, &question) => confirmed?,
            () = interrupt.asked() => false,
        };
        if !confirmed {
            return Err(Refusal::interrupted("the node helper was not started; nothing was changed"));
        }
        let lock = tokio::select! {
            lock = Lock::take(&connection.client, &kube_proxy.namespace, LEASE) => lock?,
            () = interrupt.asked() => {
                return Err(Refusal::interrupted("interrupted while waiting for the lock; nothing was changed"));
            }
        };
        let looked = match Helper::start(connection, &kube_proxy.namespace, &setup, &facts.proxies(), &lock).await {
            Err(error) => Err(error),
            Ok(helper) => {
                let looked = tokio::select! {
                    looked = look_at_hosts(&helper, facts, Coverage::AnyNode, (mode, &scheduler), &[]) => looked,
                    () = interrupt.asked() => Err(Refusal::interrupted("interrupted; the node helper was removed")),
                };
                helper.end().await;
                looked
            }
        };
        if let Some(lost) = lock.lost() {
            return Err(Refusal::lock_lost(format!(
                "{lost}; the node helper was not removed and is left to the other run"
            )));
        }
        lock.release().await;
        looked
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

/// The cluster, and whether a run is in progress.
async fn observe_all(connection: &Connection, scope: &Scope) -> anyhow::Result<ClusterFacts> {
    let mut facts = observe(connection, scope).await?;
    if let Some(kube_proxy) = &facts.kube_proxy {
        match OtherRun::observe(&connection.client, &kube_proxy.namespace).await {
            Ok(run) => facts.other_run = run,
            // Not being allowed to read the lock must not prevent showing kube-proxy's state.
            Err(error) => say(&format!("warning: {error:#}")),
        }
    }
    Ok(facts)
}
