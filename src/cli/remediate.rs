//! `kpx-prep remediate`: switch kube-proxy's mode on a running cluster.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cluster_args::{ClusterArgs, duration};
use super::helper_setup::{HelperSetup, can_confirm};
use super::report_file::ReportFile;
use super::terminal::Terminal;
use crate::cluster::api::lock::Lock;
use crate::cluster::helper;
use crate::cluster::remediate::ended::Ended;
use crate::cluster::remediate::park;
use crate::cluster::remediate::{RunOptions, remediate};
use crate::cluster::report::remediation_page;
use crate::exit_code::{Exit, Refusal};
use crate::report::event::{Event, What};
use crate::report::recorded::{record, recorded, start_recording};
use crate::report::say::{say, say_event, use_json};
use crate::report::{Format, print, print_text, serialize};

mod request;

/// Switch a running cluster's kube-proxy to another mode, node by node; verifies each node and rolls back on
/// failure
///
/// Shows the plan first and asks for confirmation before anything is changed. Run it with --dry-run first.
/// Then switch one node with --canary NODE --pause-after-canary, and run it again to switch the others.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep remediate --dry-run
  kpx-prep remediate --canary worker-1 --pause-after-canary
  kpx-prep remediate
  kpx-prep remediate --rollback")]
pub(super) struct RemediateArgs {
    /// Proxy mode: ipvs, iptables or nftables; none where another data plane has replaced kube-proxy [default: ipvs; from Kubernetes 1.35 on only where it is configured, otherwise
    /// required or asked for]
    #[arg(long, conflicts_with = "rollback")]
    mode: Option<String>,
    /// IPVS scheduler, such as rr, lc or sh
    #[arg(long, value_name = "NAME", conflicts_with = "rollback")]
    scheduler: Option<String>,
    /// Enable strict ARP (required by kube-vip and MetalLB)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "rollback")]
    strict_arp: Option<bool>,
    /// Ranges whose IPVS virtual servers kube-proxy does not remove
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', conflicts_with = "rollback")]
    exclude_cidrs: Vec<String>,
    /// Node addresses that node ports answer on: ranges, or primary [kube-proxy's default: every address; primary in
    /// nftables mode]
    #[arg(
        long,
        alias = "nodeport-addresses",
        value_name = "CIDR,...",
        value_delimiter = ',',
        conflicts_with = "rollback"
    )]
    node_port_addresses: Vec<String>,
    /// Masquerade all traffic to cluster IPs (required by some CNI plugins)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "rollback")]
    masquerade_all: Option<bool>,
    /// Let conntrack accept TCP packets outside of the window
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "rollback")]
    conntrack_tcp_be_liberal: Option<bool>,
    /// Interval at which kube-proxy refreshes its rules
    #[arg(long, value_name = "DURATION", conflicts_with = "rollback")]
    sync_period: Option<String>,
    /// Minimum interval between two refreshes
    #[arg(long, value_name = "DURATION", conflicts_with = "rollback")]
    min_sync_period: Option<String>,
    /// Print the plan without changing anything; writes are validated with a server-side dry run
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: also inspect each node; temporarily deploys the node helper
    #[arg(long, requires = "dry_run")]
    nodes: bool,
    /// Preflight checks to downgrade to warnings: check IDs, or `all`
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    ignore_preflight_errors: Vec<String>,
    /// Skip the confirmation prompt; does not choose a mode
    #[arg(short, long)]
    yes: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    report: ReportFile,
    /// Format of the progress on stderr; json: one object per event, needs --yes or --dry-run
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    progress: ProgressFormat,

    /// Skip node preparation; you guarantee that every node has the kernel modules
    #[arg(long, help_heading = "Nodes")]
    assume_nodes_prepared: bool,
    /// Skip these nodes; refused for ipvs if their kube-proxy would exit at its next start
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', help_heading = "Nodes")]
    exclude_nodes: Vec<String>,

    #[command(flatten)]
    helper: HelperSetup,
    /// Do not remove the node helper at the end
    #[arg(long, help_heading = "Node helper")]
    keep_helper: bool,
    /// Remove a leftover node helper and exit
    #[arg(long, help_heading = "Node helper", conflicts_with_all = ["rollback", "dry_run", "keep_helper", "mode"])]
    remove_helper: bool,

    /// Node to switch first [default: the first ready worker]
    #[arg(long, value_name = "NODE", help_heading = "Rollout")]
    canary: Option<String>,
    /// Stop after the canary; run again without this option to continue
    #[arg(long, help_heading = "Rollout")]
    pause_after_canary: bool,
    /// How long to watch the canary before continuing
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Rollout")]
    settle_time: Duration,
    /// Number of nodes to switch at a time [default: the DaemonSet's maxUnavailable]
    #[arg(long, value_name = "N|N%", value_parser = at_a_time, help_heading = "Rollout")]
    max_unavailable: Option<IntOrString>,
    /// After a node, wait this long before the next one is switched in its place
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, help_heading = "Rollout")]
    batch_pause: Duration,
    /// Number of failed nodes to tolerate; one more rolls back, and so does a failed canary
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Rollout")]
    max_failures: usize,
    /// How long to wait until a new kube-proxy is verified [default: 5m, longer with thousands of Services or pods; the
    /// plan shows it]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Rollout")]
    timeout: Option<Duration>,
    /// Into or out of nftables mode: do not serve Services from a copy of the old rules until the first sync, and do not go
    /// by way of iptables mode between ipvs and nftables mode
    #[arg(long, help_heading = "Rollout")]
    direct: bool,
    /// On failure, do not roll back (for debugging)
    #[arg(long, help_heading = "Rollout")]
    no_rollback: bool,
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration, hide = true)]
    lease_duration: Duration,

    /// Do not remove the old mode's rules from the nodes
    #[arg(long, help_heading = "Clean-up")]
    no_clean: bool,
    /// How long to let existing IPVS connections drain after leaving ipvs mode
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, help_heading = "Clean-up")]
    drain: Duration,

    /// Restore the configuration that was saved before the last change
    #[arg(long, help_heading = "Rollback")]
    rollback: bool,
    /// Restore this backup instead of the last one (kpx-prep status lists them)
    #[arg(long, value_name = "BACKUP", requires = "rollback", help_heading = "Rollback")]
    to: Option<String>,
    /// Roll back even if the ConfigMap was edited after kpx-prep changed it
    #[arg(long, requires = "rollback", help_heading = "Rollback")]
    force: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl RemediateArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.progress == ProgressFormat::Json {
            if !self.yes && (!self.dry_run || self.nodes) {
                return Err(Refusal::usage(
                    "--progress json: a prompt is not JSON; add --yes. Nothing was changed".to_owned(),
                ));
            }
            use_json();
        }
        self.report.check()?;
        if self.remove_helper {
            return self.remove_helper();
        }
        let ignored_checks = self.ignored_checks()?;
        let parks = self.mode.as_deref() == Some(NONE);
        if parks {
            self.refuse_settings()?;
        }
        let mut operator = Terminal { yes: self.yes, can_ask: self.can_ask(), output: self.output };
        // Refused before the first request to the cluster.
        if !self.dry_run || self.nodes {
            can_confirm(self.yes)?;
        }
        let request = self.request(ignored_checks);
        let options = RunOptions {
            dry_run: self.dry_run,
            lease: self.lease_duration,
            // Without preparation and clean-up, nothing runs on the nodes.
            helper: self.needs_helper().then(|| self.helper.setup()).transpose()?,
            keep_helper: self.keep_helper,
        };
        if self.report.is_given() {
            // Whether it can be written is known before anything is changed; and it is there if the run is killed.
            self.report.write(&remediation_page::unfinished())?;
            start_recording();
        }
        let scope = self.cluster.scope(Vec::new());
        let ended = crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            if parks {
                return Box::pin(park::park(&connection, &scope, &request, options, &mut operator)).await;
            }
            if self.rollback && self.to.is_none() && park::is_parked(&connection, &scope).await {
                return Box::pin(park::unpark(&connection, &scope, &request, options, &mut operator)).await;
            }
            Box::pin(remediate(&connection, &scope, &request, options, &mut operator)).await
        });
        self.write_report(&ended);
        let Ended { report, exit } = ended?;
        if self.progress == ProgressFormat::Json {
            let (outcome, exit) = (Some(report.outcome.name()), Some(exit as i32));
            say_event(&Event { outcome, exit, ..Event::new(What::Finished, &report.message) });
        }
        match self.output {
            Format::Text => print_text(&report.summary())?,
            format => print(&serialize(&report, format)?)?,
        }
        Ok(exit)
    }

    /// Writes the page, however the run ended. That it cannot be written must not hide how it ended.
    fn write_report(&self, ended: &anyhow::Result<Ended>) {
        if !self.report.is_given() {
            return;
        }
        record(&Event::new(What::Finished, ""));
        let page = match ended {
            Ok(ended) => ended.report.page(&recorded()),
            Err(error) => remediation_page::failed(&format!("{error:#}"), &recorded()),
        };
        if let Err(error) = self.report.write(&page) {
            say(&format!("warning: {error:#}"));
        }
    }

    /// Whether a question can be answered: on a terminal, whose lines are not JSON.
    fn can_ask(&self) -> bool {
        self.progress == ProgressFormat::Text && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}

impl RemediateArgs {
    fn remove_helper(&self) -> anyhow::Result<Exit> {
        let removed = crate::cluster::run(async {
            let connection = self.cluster.access().connect().await?;
            let namespaces = helper::namespaces(&connection.client).await?;
            for namespace in &namespaces {
                let lock = Lock::take(&connection.client, namespace, self.lease_duration).await?;
                let removed = helper::lifecycle::remove(&connection.client, namespace, &lock).await;
                if let Some(lost) = lock.lost() {
                    return Err(Refusal::lock_lost(format!(
                        "{lost}; the node helper was not removed and is left to the other run"
                    )));
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

/// The value of `--mode` where kube-proxy goes altogether.
const NONE: &str = "none";

/// Format of the progress on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ProgressFormat {
    /// One line per node; a bar on a terminal.
    #[default]
    Text,
    /// One JSON object per event; versioned by `apiVersion`.
    Json,
}

/// A number of nodes or a percentage of them.
fn at_a_time(text: &str) -> Result<IntOrString, String> {
    let (number, percent) = text.strip_suffix('%').map_or((text, false), |number| (number, true));
    match number.parse::<i32>() {
        Ok(number) if number >= 1 && (!percent || number <= 100) => {
            Ok(if percent { IntOrString::String(text.to_owned()) } else { IntOrString::Int(number) })
        }
        _ => Err("expected a number of nodes from 1, or a percentage from 1% to 100%".to_owned()),
    }
}
