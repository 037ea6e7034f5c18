//! `kpx-prep remediate`: switches kube-proxy's mode on a cluster that runs.

use std::time::Duration;

use clap::Args;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cluster_args::{ClusterArgs, duration};
use super::helper_setup::{HelperSetup, ask, can_confirm, question};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::helper;
use crate::cluster::helper::manifest::Setup;
use crate::cluster::observe::facts::Facts;
use crate::cluster::plan::Plan;
use crate::cluster::plan::request::{Goal, Wish};
use crate::cluster::remediate::{Operator, Options, remediate};
use crate::cluster::report::remediation::plan_text;
use crate::exit_code::{Exit, Refusal};
use crate::kubeadm::proxy::RawSettings;
use crate::kubeadm::raw_options::RawOptions;
use crate::report::say::{say, say_part};
use crate::report::{Format, print, print_text, serialize};

/// Switch kube-proxy to IPVS on a cluster that runs: node by node, proved, undone where it fails
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep remediate --dry-run --assume-nodes-prepared
  kpx-prep remediate --assume-nodes-prepared --canary worker-1 --pause-after-canary
  kpx-prep remediate --rollback")]
pub(super) struct RemediateArgs {
    /// Proxy mode: ipvs, iptables or nftables [default: ipvs]
    #[arg(long, conflicts_with = "rollback")]
    mode: Option<String>,
    /// IPVS scheduler, such as rr, lc or sh
    #[arg(long, value_name = "NAME", conflicts_with = "rollback")]
    scheduler: Option<String>,
    /// Answer ARP only for addresses of the receiving interface; kube-vip and metallb need it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "rollback")]
    strict_arp: Option<bool>,
    /// Virtual servers in these ranges are left alone by kube-proxy
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', conflicts_with = "rollback")]
    exclude_cidrs: Vec<String>,
    /// Prepare no node: vouch for the kernel modules of every one
    #[arg(long)]
    assume_nodes_prepared: bool,
    /// Leave these nodes as they are; refused for ipvs where their kube-proxy would exit at its next start
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    exclude_nodes: Vec<String>,

    /// The node that goes first [default: the first ready worker]
    #[arg(long, value_name = "NODE", help_heading = "Roll")]
    canary: Option<String>,
    /// How many nodes at a time [default: the DaemonSet's maxUnavailable]
    #[arg(long, value_name = "N|N%", value_parser = at_a_time, help_heading = "Roll")]
    max_unavailable: Option<IntOrString>,
    /// How long a new kube-proxy may take to be proved
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help_heading = "Roll")]
    timeout: Duration,
    /// How long the canary must keep its mode
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Roll")]
    settle_time: Duration,
    /// Stop after the canary; the same command without this goes on
    #[arg(long, help_heading = "Roll")]
    pause_after_canary: bool,
    /// Leave a failure as it is, to be looked at
    #[arg(long, help_heading = "Roll")]
    no_rollback: bool,
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, hide = true)]
    lease_duration: Duration,

    /// Leave what the old mode left on the nodes
    #[arg(long, help_heading = "Nodes")]
    no_clean: bool,
    /// How long connections through ipvs may go on after it was left
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help_heading = "Nodes")]
    drain: Duration,
    #[command(flatten)]
    helper: HelperSetup,
    /// Leave the node helper running at the end
    #[arg(long, help_heading = "Nodes")]
    keep_helper: bool,
    /// Only take away a node helper that was left running
    #[arg(long, help_heading = "Nodes", conflicts_with_all = ["rollback", "dry_run", "keep_helper", "mode"])]
    remove_helper: bool,
    /// With --dry-run: look at the nodes too, by the node helper
    #[arg(long, help_heading = "Nodes", requires = "dry_run")]
    nodes: bool,

    /// Put back what stood before the last change
    #[arg(long, help_heading = "Rollback")]
    rollback: bool,
    /// Put back this backup (kpx-prep status lists them)
    #[arg(long, value_name = "BACKUP", requires = "rollback", help_heading = "Rollback")]
    to: Option<String>,
    /// Even if somebody edited the configuration since
    #[arg(long, requires = "rollback", help_heading = "Rollback")]
    force: bool,

    /// Show the plan and change nothing; the API server tries every write
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Checks that shall only warn, by id, or `all`
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
    /// How to write the report
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl RemediateArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.remove_helper {
            return self.remove_helper();
        }
        let mut operator = Terminal { yes: self.yes, output: self.output };
        // Refused before anything is asked of the cluster.
        if !self.dry_run || self.nodes {
            can_confirm(self.yes)?;
        }
        let wish = self.wish();
        let options = Options {
            dry_run: self.dry_run,
            lease: self.lease_duration,
            // Without anything to prepare and to clean there is nothing to do on the nodes.
            helper: self.needs_helper().then(|| self.helper.setup()),
            keep_helper: self.keep_helper,
        };
        let scope = self.cluster.scope(Vec::new());
        let (report, exit) = crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            Box::pin(remediate(&connection, &scope, &wish, options, &mut operator)).await
        })?;
        match self.output {
            Format::Text => print_text(&report.summary())?,
            format => print(&serialize(&report, format)?)?,
        }
        Ok(exit)
    }

    /// Whether there may be something to do on the nodes: to clean, or to prepare for ipvs, which only a rollback decides later.
    fn needs_helper(&self) -> bool {
        let prepares = self.mode.as_deref().is_none_or(|mode| mode == "ipvs") && !self.assume_nodes_prepared;
        prepares || !self.no_clean
    }

    fn wish(&self) -> Wish {
        let goal = if self.rollback {
            Goal::Restore { backup: self.to.clone(), force: self.force }
        } else {
            let settings = RawSettings::from_options(&RawOptions {
                mode: self.mode.clone(),
                scheduler: self.scheduler.clone(),
                strict_arp: self.strict_arp,
                exclude_cidrs: self.exclude_cidrs.clone(),
                ..RawOptions::default()
            });
            Goal::Settings(Box::new(settings))
        };
        Wish {
            goal,
            canary: self.canary.clone(),
            max_unavailable: self.max_unavailable.clone(),
            timeout: self.timeout,
            settle: self.settle_time,
            ignored_checks: self.ignore_preflight_errors.iter().map(|id| id.trim().to_lowercase()).collect(),
            nodes_are_prepared: self.assume_nodes_prepared,
            exclude_nodes: self.exclude_nodes.clone(),
            look_at_nodes: self.nodes,
            clean: !self.no_clean,
            drain: self.drain,
            pause_after_canary: self.pause_after_canary,
            no_rollback: self.no_rollback,
        }
    }
}

impl RemediateArgs {
    fn remove_helper(&self) -> anyhow::Result<Exit> {
        let removed = crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            let namespaces = helper::namespaces(&connection.client).await?;
            for namespace in &namespaces {
                let lock = Lock::take(&connection.client, namespace, self.lease_duration).await?;
                let removed = helper::remove(&connection.client, namespace, None, &lock).await;
                if let Some(lost) = lock.lost() {
                    return Err(Refusal::lock_lost(format!("{lost}; the node helper was left to the other run")));
                }
                lock.release().await;
                removed?;
            }
            Ok(!namespaces.is_empty())
        })?;
        say(if removed { "node helper removed" } else { "no node helper found" });
        Ok(Exit::Done)
    }
}

struct Terminal {
    yes: bool,
    output: Format,
}

impl Operator for Terminal {
    fn show(&mut self, facts: Option<&Facts>, plan: &Plan) -> anyhow::Result<()> {
        let text = plan_text(facts, plan);
        match self.output {
            Format::Text => print_text(&text),
            // stdout is for the one document; whoever is to confirm must see the plan all the same.
            _ if !self.yes => {
                say_part(&text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn confirm_helper<'a>(
        &'a mut self,
        setup: &'a Setup,
        cluster: &'a Connection,
        nodes: usize,
    ) -> BoxFuture<'a, anyhow::Result<bool>> {
        Box::pin(async move { ask(self.yes, &question(setup, cluster, nodes)).await })
    }

    fn confirm<'a>(&'a mut self, plan: &'a Plan, cluster: &'a Connection) -> BoxFuture<'a, anyhow::Result<bool>> {
        let question = match plan.to {
            Some(mode) => format!("Switch kube-proxy to {mode} on {}? [y/N] ", cluster.place()),
            None => format!("Put the original configuration back on {}? [y/N] ", cluster.place()),
        };
        Box::pin(async move { ask(self.yes, &question).await })
    }
}

/// A number of nodes or a percentage of them.
fn at_a_time(text: &str) -> Result<IntOrString, String> {
    let (number, percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
    match number.parse::<i32>() {
        Ok(number) if number >= 1 && (!percent || number <= 100) => {
            Ok(if percent { IntOrString::String(text.to_owned()) } else { IntOrString::Int(number) })
        }
        _ => Err("a number of nodes from 1, or a percentage from 1% to 100%".to_owned()),
    }
}
