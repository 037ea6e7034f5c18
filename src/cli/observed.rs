//! What `status` and `collect` observe: the cluster, a run in progress and, on request, the nodes' hosts.

use std::time::Duration;

use anyhow::Context as _;

use super::helper_setup::{HelperSetup, ask, question};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::helper::{Coverage, Helper};
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::hosts::look_at_hosts;
use crate::cluster::observe::{Scope, observe};
use crate::cluster::remediate::interrupt::Interrupt;
use crate::exit_code::Refusal;
use crate::mode::{DEFAULT_SCHEDULER, ProxyMode};
use crate::proxy_config::ProxyConfig;
use crate::report::say::say;

/// How long the lock is valid without renewal, as in `remediate`.
const LEASE: Duration = Duration::from_secs(15);

/// The cluster, and whether a run is in progress.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn observe_all(connection: &Connection, scope: &Scope) -> anyhow::Result<ClusterFacts> {
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

/// Surveys the nodes' hosts with the node helper, after a confirmation. `mode`: the mode that they are to be ready for, if not
/// the configured one.
///
/// # Errors
/// Without a confirmation, without the lock, or if the helper cannot be started.
pub(super) async fn look_at_nodes(
    connection: &Connection,
    facts: &mut ClusterFacts,
    helper: &HelperSetup,
    yes: bool,
    mode: Option<ProxyMode>,
) -> anyhow::Result<()> {
    let (Some(kube_proxy), Some(config)) = (facts.kube_proxy.clone(), facts.config.clone()) else { return Ok(()) };
    let scheduler = config.parsed.as_ref().map_or(DEFAULT_SCHEDULER, ProxyConfig::scheduler).to_owned();
    let mode = mode.or(facts.target().ok()).unwrap_or(ProxyMode::Ipvs);
    let setup = helper.setup()?;
    let interrupt = Interrupt::listen().context("listening for signals; nothing was changed")?;
    let nodes = facts.proxy_nodes().filter(|node| node.ready).count();
    let question = question(&setup, connection, nodes);
    let confirmed = tokio::select! {
        confirmed = ask(yes, &question) => confirmed?,
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
