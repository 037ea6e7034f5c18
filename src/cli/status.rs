//! `kpx-prep status`: which mode every kube-proxy really runs.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::cluster_args::{ClusterArgs, ClusterFormat};
use super::helper_setup::{HelperSetup, ask, can_confirm, question};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::helper::{Helper, Must};
use crate::cluster::observe::facts::Facts;
use crate::cluster::observe::{Scope, look_at_hosts, observe};
use crate::cluster::remediate::interrupt::{Interrupt, Signals};
use crate::cluster::report::status::StatusReport;
use crate::exit_code::{Exit, Refusal};
use crate::report::say::say;
use crate::report::{Format, print, print_rendered};

/// How often `--watch` looks.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long the lock lasts without being renewed, as remediate's.
const LEASE: Duration = Duration::from_secs(15);

/// Show which mode every kube-proxy of a cluster really runs, and how that was proved
#[derive(Debug, Args)]
#[command(after_help = "Exits 0 when every node runs the configured mode, else 3.

Examples:
  kpx-prep status
  kpx-prep status --kubeconfig /etc/kubernetes/admin.conf -o wide
  kpx-prep status -o json | jq '.nodes[] | select(.state != \"right\")'")]
pub(super) struct StatusArgs {
    /// Only this node; repeat for more
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Look at the nodes' hosts too: modules, and what other modes left; starts the node helper and takes it away again
    #[arg(long, conflicts_with = "watch")]
    nodes: bool,
    #[command(flatten)]
    helper: HelperSetup,
    /// Skip the confirmation prompt before the node helper is started
    #[arg(short, long)]
    yes: bool,
    /// Look again and again, until interrupted
    #[arg(short, long)]
    watch: bool,
    /// How to write the report
    #[arg(short, long, value_enum, default_value_t)]
    output: ClusterFormat,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
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
            print_rendered(&self.render(&report)?, self.output.format())?;
            Ok(report.exit())
        })
    }

    fn render(&self, report: &StatusReport) -> anyhow::Result<String> {
        report.render(self.output.format(), self.output == ClusterFormat::Wide)
    }

    async fn look_at_nodes(&self, connection: &Connection, facts: &mut Facts) -> anyhow::Result<()> {
        let (Some(kube_proxy), Some(config)) = (facts.kube_proxy.clone(), facts.config.clone()) else { return Ok(()) };
        let setup = self.helper.setup();
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
        let looked = match Helper::start(connection, &kube_proxy.namespace, &setup, &lock).await {
            Err(error) => Err(error),
            Ok(helper) => {
                let looked = tokio::select! {
                    looked = look_at_hosts(&helper, facts, Must::RunOnOne, &config.text, &[]) => looked,
                    () = interrupt.asked() => Err(Refusal::interrupted("interrupted; the node helper was removed")),
                };
                helper.end().await;
                looked
            }
        };
        if let Some(lost) = lock.lost() {
            return Err(Refusal::lock_lost(format!("{lost}; the node helper was left to the other run")));
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
                // A cluster that is away for a moment is no reason to stop watching it.
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
async fn observe_all(connection: &Connection, scope: &Scope) -> anyhow::Result<Facts> {
    let mut facts = observe(connection, scope).await?;
    if let Some(kube_proxy) = &facts.kube_proxy {
        match OtherRun::observe(&connection.client, &kube_proxy.namespace).await {
            Ok(run) => facts.other_run = run,
            // Who may not see it may still look at kube-proxy.
            Err(error) => say(&format!("warning: {error:#}")),
        }
    }
    Ok(facts)
}
