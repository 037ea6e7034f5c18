//! `kpx-prep status`: which mode every kube-proxy really runs.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::cluster_args::{ClusterArgs, ClusterFormat};
use crate::cluster::client::Connection;
use crate::cluster::facts::Facts;
use crate::cluster::helper::{Helper, Must, manifest::Image};
use crate::cluster::interrupt::Interrupt;
use crate::cluster::observe::{Scope, look_at_hosts, observe};
use crate::cluster::status_report::StatusReport;
use crate::exit_code::{Exit, Refusal};
use crate::report::{Format, print};

/// How often `--watch` looks.
const INTERVAL: Duration = Duration::from_secs(3);

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
    /// The node helper's image [default: the one that kpx-prep image makes]
    #[arg(long, value_name = "NAME:TAG", requires = "nodes")]
    node_image: Option<String>,
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
        let scope = self.cluster.scope(self.node.clone());
        crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            if self.watch {
                return self.watch(&connection, &scope).await;
            }
            let mut facts = observe(&connection, &scope).await?;
            if self.nodes {
                self.look_at_nodes(&connection, &mut facts).await?;
            }
            let report = StatusReport::new(&facts);
            print(&self.render(&report)?)?;
            Ok(report.exit())
        })
    }

    fn render(&self, report: &StatusReport) -> anyhow::Result<String> {
        report.render(self.output.format(), self.output == ClusterFormat::Wide)
    }

    async fn look_at_nodes(&self, connection: &Connection, facts: &mut Facts) -> anyhow::Result<()> {
        let (Some(kube_proxy), Some(config)) = (facts.kube_proxy.clone(), facts.config.clone()) else { return Ok(()) };
        let image = Image::new(self.node_image.as_deref());
        let interrupt = Interrupt::listen().context("listening for signals; nothing was changed")?;
        let helper = Helper::start(connection, &kube_proxy.namespace, &image).await?;
        let looked = tokio::select! {
            looked = look_at_hosts(&helper, facts, Must::RunOnOne, &config.text, &[]) => looked,
            () = interrupt.asked() => Err(Refusal::interrupted("interrupted; the node helper was taken away")),
        };
        helper.end().await;
        looked
    }

    async fn watch(&self, connection: &Connection, scope: &Scope) -> anyhow::Result<Exit> {
        let redraw = self.output.format() == Format::Text && std::io::stdout().is_terminal();
        let mut shown = None;
        loop {
            match observe(connection, scope).await {
                Ok(facts) => {
                    let report = StatusReport::new(&facts);
                    if shown.as_ref() != Some(&report) {
                        if redraw {
                            print("\x1b[H\x1b[2J")?;
                        }
                        print(&self.render(&report)?)?;
                        shown = Some(report);
                    }
                }
                // A cluster that is away for a moment is no reason to stop watching it.
                Err(error) if shown.is_some() => anstream::eprintln!("warning: {error:#}"),
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
            }
        }
    }
}
