//! What is known before kube-proxy is parked: the cluster, and what each node says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Context as _;
use futures::StreamExt as _;

use super::Job;
use crate::cluster::api::streams::AT_A_TIME;
use crate::cluster::helper::removal::Removal;
use crate::cluster::helper::{Coverage, Helper};
use crate::cluster::kube_proxy::parking::LABEL;
use crate::cluster::observe::data_plane::{DataPlane, data_plane};
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::hosts::look_at_hosts;
use crate::cluster::observe::surroundings::{Surroundings, look};
use crate::cluster::observe::{list_nodes, observe};
use crate::cluster::plan::Plan;
use crate::cluster::plan::parking::{Parking, park as make_plan};
use crate::cluster::plan::request::Request;
use crate::cluster::remediate::operator::Operator;
use crate::exit_code::Refusal;
use crate::mode::{DEFAULT_SCHEDULER, ProxyMode};
use crate::node_protocol::CleanOutcome;

/// What is known about the cluster.
pub(super) struct Seen {
    pub(super) facts: ClusterFacts,
    pub(super) surroundings: Surroundings,
    plane: DataPlane,
    /// Nodes of a parked kube-proxy on which nothing of it is left.
    clean: BTreeSet<String>,
}

impl Job<'_> {
    pub(super) async fn observe(&self) -> anyhow::Result<Seen> {
        let client = &self.connection.client;
        let facts = observe(self.connection, self.scope).await?;
        let surroundings = match &facts.kube_proxy {
            Some(kube_proxy) => look(client, kube_proxy).await?,
            None => Surroundings::default(),
        };
        let plane = data_plane(client, &surroundings).await;
        let labelled =
            list_nodes(client, |node| node.metadata.labels.as_ref().is_some_and(|all| all.contains_key(LABEL)));
        if labelled.await?.contains(&true) {
            return Err(Refusal::check(format!(
                "a node has the label {LABEL}, by which no node may be selected; remove it. Nothing was changed"
            )));
        }
        Ok(Seen { facts, surroundings, plane, clean: BTreeSet::new() })
    }

    /// Starts the helper and asks each node whether another data plane answers; if kube-proxy is parked, also what is left of
    /// it. Returns false if interrupted, or not confirmed.
    pub(super) async fn look_at_nodes(&mut self, seen: &mut Seen, operator: &mut dyn Operator) -> anyhow::Result<bool> {
        let (Some(setup), Some(kube_proxy)) = (&self.options.helper, &seen.facts.kube_proxy) else { return Ok(true) };
        let nodes: Vec<String> =
            seen.facts.proxy_nodes().filter(|node| node.ready).map(|node| node.name.clone()).collect();
        let confirmed = tokio::select! {
            confirmed = operator.confirm_helper(setup, self.connection, nodes.len()) => confirmed?,
            () = self.interrupt.asked() => false,
        };
        if !confirmed {
            return Ok(false);
        }
        let lock = self.lock.as_ref().context("internal error: the node helper without the lock")?;
        let proxies = seen.facts.proxies();
        let helper = Helper::start(self.connection, &kube_proxy.namespace, setup, &proxies, lock).await?;
        let helper: &Helper = self.helper.insert(helper);
        let (_, parking) = seen.plan(self.request);
        let questions: Vec<_> = parking.api_service.into_iter().collect();
        let mode = (ProxyMode::Iptables, DEFAULT_SCHEDULER);
        tokio::select! {
            looked = look_at_hosts(helper, &mut seen.facts, Coverage::EveryNode, mode, &questions) => looked?,
            () = self.interrupt.asked() => return Ok(false),
        }
        let (true, Some(service)) = (parking.already_parked, parking.api_service) else { return Ok(true) };
        let removal = seen.removal(self.request, service);
        let work = nodes.iter().map(|node| async move { (node, helper.remove_all(node, &removal, true).await) });
        let found: BTreeMap<_, _> = futures::stream::iter(work).buffer_unordered(AT_A_TIME).collect().await;
        let is_clean = |outcome| outcome == CleanOutcome::NothingToClean;
        let clean = found.into_iter().filter(|(_, found)| found.serves && is_clean(found.cleaned.outcome));
        seen.clean = clean.map(|(node, _)| node.clone()).collect();
        Ok(true)
    }
}

impl Seen {
    pub(super) fn plan(&self, request: &Request) -> (Plan, Parking) {
        make_plan(&self.facts, &self.surroundings, request, &self.plane, &self.clean)
    }

    /// How its nodes are cleaned.
    pub(super) fn removal(&self, request: &Request, service: SocketAddr) -> Removal {
        let services = self.surroundings.services.ports.len();
        Removal { service, ports: self.facts.ports(), drain: request.drain, services }
    }
}
