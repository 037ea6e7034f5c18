//! What the options of `remediate` ask for.

use anyhow::Context as _;
use clap::{Args as _, Command, FromArgMatches as _};

use super::RemediateArgs;
use crate::checks::find;
use crate::cluster::plan::request::{Goal, Request};
use crate::exit_code::Refusal;
use crate::kubeadm::proxy::RawSettings;
use crate::kubeadm::raw_options::RawProxyOptions;
use crate::mode::ProxyMode;

impl RemediateArgs {
    /// The request of `remediate --mode MODE` with every default, to show its plan.
    ///
    /// # Errors
    /// Only if the environment sets an option to what it cannot be.
    pub(in crate::cli) fn default_request(mode: ProxyMode) -> anyhow::Result<Request> {
        let command = Self::augment_args(Command::new("remediate"));
        let matches = command.try_get_matches_from(["remediate", "--mode", mode.name()]);
        let arguments = matches.and_then(|matches| Self::from_arg_matches(&matches));
        Ok(arguments.context("the defaults of remediate")?.request(Vec::new()))
    }

    /// With `--mode none` there is no configuration to change, and every node is cleaned.
    pub(super) fn refuse_settings(&self) -> anyhow::Result<()> {
        let given = [
            ("--scheduler", self.scheduler.is_some()),
            ("--strict-arp", self.strict_arp.is_some()),
            ("--exclude-cidrs", !self.exclude_cidrs.is_empty()),
            ("--node-port-addresses", !self.node_port_addresses.is_empty()),
            ("--masquerade-all", self.masquerade_all.is_some()),
            ("--conntrack-tcp-be-liberal", self.conntrack_tcp_be_liberal.is_some()),
            ("--sync-period", self.sync_period.is_some()),
            ("--min-sync-period", self.min_sync_period.is_some()),
            ("--exclude-nodes", !self.exclude_nodes.is_empty()),
            ("--no-clean", self.no_clean),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Refusal::usage(format!(
                "--mode none stops kube-proxy on all nodes and removes what it made; {option} has no meaning there. Nothing was changed"
            ))),
        }
    }

    /// Whether something may have to run on the nodes: clean-up, or preparation; a rollback decides that later, and so does
    /// the answer where the mode is asked for.
    pub(super) fn needs_helper(&self) -> bool {
        let mode = self.mode.as_deref().map_or(Ok(ProxyMode::Ipvs), str::parse);
        let prepares = mode.is_ok_and(|mode: ProxyMode| mode.traits().is_prepared) && !self.assume_nodes_prepared;
        prepares || !self.no_clean
    }

    /// The ids of checks to ignore. Case does not matter, as in kubeadm; empty ids (an empty variable) are skipped.
    pub(super) fn ignored_checks(&self) -> anyhow::Result<Vec<String>> {
        let given = self.ignore_preflight_errors.iter().map(|id| id.trim()).filter(|id| !id.is_empty());
        let id = |id: &str| {
            if id.eq_ignore_ascii_case("all") {
                return Ok("all".to_owned());
            }
            let found = find(id).map_err(|why| Refusal::usage(format!("--ignore-preflight-errors: {why}")))?;
            Ok(found.id.clone())
        };
        given.map(id).collect()
    }

    pub(super) fn request(&self, ignored_checks: Vec<String>) -> Request {
        let goal = if self.rollback {
            Goal::Restore { backup: self.to.clone(), force: self.force }
        } else {
            let settings = RawSettings::from_options(&RawProxyOptions {
                mode: self.mode.clone(),
                scheduler: self.scheduler.clone(),
                strict_arp: self.strict_arp,
                exclude_cidrs: self.exclude_cidrs.clone(),
                node_port_addresses: self.node_port_addresses.clone(),
                masquerade_all: self.masquerade_all,
                conntrack_tcp_be_liberal: self.conntrack_tcp_be_liberal,
                sync_period: self.sync_period.clone(),
                min_sync_period: self.min_sync_period.clone(),
                ..RawProxyOptions::default()
            });
            Goal::Settings(Box::new(settings))
        };
        Request {
            goal,
            canary: self.canary.clone(),
            max_unavailable: self.max_unavailable.clone(),
            timeout: self.timeout,
            settle: self.settle_time,
            ignored_checks,
            nodes_are_prepared: self.assume_nodes_prepared,
            exclude_nodes: self.exclude_nodes.clone(),
            look_at_nodes: self.nodes,
            clean: !self.no_clean,
            drain: self.drain,
            pause_after_canary: self.pause_after_canary,
            batch_pause: self.batch_pause,
            max_failures: self.max_failures,
            direct: self.direct,
            no_rollback: self.no_rollback,
            on_the_way: None,
        }
    }
}
