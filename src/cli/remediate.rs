//! `kpx-prep remediate`: switches kube-proxy's mode on a cluster that runs.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cluster_args::{ClusterArgs, duration};
use crate::cluster::facts::Facts;
use crate::cluster::plan::Plan;
use crate::cluster::remediate::{Operator, Options, remediate};
use crate::cluster::remediation_report::plan_text;
use crate::cluster::wish::{Goal, Wish};
use crate::exit_code::{Exit, Refusal};
use crate::kubeadm::proxy::RawSettings;
use crate::kubeadm::raw_options::RawOptions;
use crate::report::{Format, print, serialize};

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
    /// Vouch for the kernel modules of every node (kpx-prep node install); needed for ipvs
    #[arg(long)]
    assume_nodes_prepared: bool,

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
        let mut operator = Terminal { yes: self.yes, output: self.output };
        // Refused before anything is asked of the cluster.
        if !self.dry_run {
            operator.can_confirm()?;
        }
        let wish = self.wish();
        let options = Options { dry_run: self.dry_run, lease: self.lease_duration };
        let scope = self.cluster.scope(Vec::new());
        let (report, exit) = crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            remediate(&connection, &scope, &wish, options, &mut operator).await
        })?;
        match self.output {
            Format::Text => print(&report.summary())?,
            format => print(&serialize(&report, format)?)?,
        }
        Ok(exit)
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
            pause_after_canary: self.pause_after_canary,
            no_rollback: self.no_rollback,
        }
    }
}

struct Terminal {
    yes: bool,
    output: Format,
}

impl Terminal {
    fn can_confirm(&self) -> anyhow::Result<()> {
        if self.yes || std::io::stdin().is_terminal() {
            return Ok(());
        }
        Err(Refusal::usage(
            "there is no terminal to ask for confirmation on: look at --dry-run, then give --yes; nothing was changed",
        ))
    }
}

impl Operator for Terminal {
    fn show(&mut self, facts: Option<&Facts>, plan: &Plan) -> anyhow::Result<()> {
        let text = plan_text(facts, plan);
        match self.output {
            Format::Text => print(&text),
            // stdout is for the one document; whoever is to confirm must see the plan all the same.
            _ if !self.yes => {
                anstream::eprint!("{text}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn confirm(&mut self, plan: &Plan) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        self.can_confirm()?;
        anstream::eprint!("Switch kube-proxy to {}? [y/N] ", plan.to.unwrap_or("?"));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
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
