//! The plan of `remediate --mode none`: park kube-proxy, then remove what it made, node by node. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::Serialize;

use super::checks::soften;
use super::drift::findings;
use super::order::batch_size;
use super::patience::default_timeout;
use super::request::Request;
use super::{NOT_READY, Plan, SkippedNode};
use crate::cluster::observe::data_plane::DataPlane;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::report::{Finding, Level, few, finding};

/// The Service of the API server.
const API_SERVICE: &str = "default/kubernetes:";

/// What is known beside the nodes. Its JSON form is an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parking {
    /// The data plane that replaces kube-proxy, if one was recognised.
    pub data_plane: Option<String>,
    /// The address of the API server's Service, which it must answer for.
    pub api_service: Option<SocketAddr>,
    /// Whether kube-proxy was parked before this run.
    pub already_parked: bool,
}

/// The plan. `clean`: nodes of a parked kube-proxy on which nothing of it is left.
pub fn park(
    facts: &ClusterFacts,
    surroundings: &Surroundings,
    request: &Request,
    plane: &DataPlane,
    clean: &BTreeSet<String>,
) -> (Plan, Parking) {
    let is_parked = facts
        .kube_proxy
        .as_ref()
        .is_some_and(|set| set.sets().all(|set| set.parked.as_ref().is_some_and(|parked| parked.selects)));
    let service = api_service(surroundings);
    let parking = Parking { data_plane: plane.clone().ok(), api_service: service, already_parked: is_parked };
    let timeout = request.timeout.unwrap_or_else(|| default_timeout(facts, surroundings));
    let mut plan =
        Plan { from: facts.target().ok(), batch_size: batch_size(facts, request), timeout, ..Plan::unknown() };
    order(facts, request, clean, &mut plan);
    plan.checks = checks(facts, surroundings, plane, service);
    if let Some(canary) = &request.canary
        && plan.canary.as_ref() != Some(canary)
        && !plan.already_right.contains(canary)
    {
        let message = format!("--canary {canary}: not one of the nodes to clean");
        plan.checks.push(finding(Level::Error, "canary", message, "list the nodes with: kpx-prep status"));
    }
    soften(&mut plan.checks, request);
    (plan, parking)
}

/// The address and port of the API server's Service.
fn api_service(surroundings: &Surroundings) -> Option<SocketAddr> {
    let ports = surroundings.services.ports.iter();
    let port = ports.filter(|port| port.protocol == "TCP").find(|port| port.name.starts_with(API_SERVICE))?;
    Some(SocketAddr::new(*port.addresses.first()?, port.port))
}

/// Workers first, one of them alone.
fn order(facts: &ClusterFacts, request: &Request, clean: &BTreeSet<String>, plan: &mut Plan) {
    let mut todo: Vec<&NodeFacts> = Vec::new();
    for node in facts.proxy_nodes() {
        if !node.ready {
            plan.left_alone.push(SkippedNode { node: node.name.clone(), reason: NOT_READY.to_owned() });
        } else if clean.contains(&node.name) {
            plan.already_right.push(node.name.clone());
        } else {
            todo.push(node);
        }
    }
    todo.sort_by_key(|node| node.control_plane);
    let at = match request.canary.as_ref().filter(|name| !plan.already_right.contains(name)) {
        Some(name) => todo.iter().position(|node| node.name == *name),
        None => (!todo.is_empty()).then_some(0),
    };
    plan.canary = at.map(|at| todo.remove(at).name.clone());
    plan.batches =
        todo.chunks(plan.batch_size).map(|batch| batch.iter().map(|node| node.name.clone()).collect()).collect();
}

fn checks(
    facts: &ClusterFacts,
    surroundings: &Surroundings,
    plane: &DataPlane,
    service: Option<SocketAddr>,
) -> Vec<Finding> {
    let mut checks = findings(facts);
    checks.retain(|check| ["no-kube-proxy", "managed-cluster"].contains(&&*check.id));
    for check in &mut checks {
        check.level = Level::Error;
    }
    if let Err(why) = plane {
        let hint = "let another data plane replace kube-proxy first, by its own documentation; https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/, https://docs.tigera.io/calico/latest/operations/ebpf/enabling-ebpf";
        checks.push(finding(Level::Error, "unknown-data-plane", why.clone(), hint));
    }
    let unverified = "on every node, connections to the API Service must be translated when they are opened (Cilium's socketLB, Calico's bpfConnectTimeLoadBalancing); kpx-prep node survey --ask shows it; https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/";
    match service {
        None => {
            let message =
                "the Service default/kubernetes, by which the data plane is verified, was not found".to_owned();
            checks.push(finding(Level::Error, "unverified-data-plane", message, unverified));
        }
        Some(service) => {
            let lacks = |node: &&NodeFacts| match &node.host {
                None => false,
                Some(Ok(host)) => !host.translated.contains(&service),
                Some(Err(_)) => true,
            };
            let nodes: Vec<_> =
                facts.proxy_nodes().filter(|node| node.ready).filter(lacks).map(|node| node.name.clone()).collect();
            if !nodes.is_empty() {
                let message = format!("{}: no other data plane is verified to answer for {service}", few(&nodes));
                checks.push(finding(Level::Error, "unverified-data-plane", message, unverified));
            }
        }
    }
    let others: Vec<_> = surroundings.other_proxies.iter().map(|(node, pod)| format!("{node} (pod {pod})")).collect();
    if !others.is_empty() {
        let message =
            format!("{}: a kube-proxy with a separate configuration, which this run does not stop", few(&others));
        let hint = "stop it first; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/";
        checks.push(finding(Level::Error, "other-kube-proxy", message, hint));
    }
    let down: Vec<_> = facts.proxy_nodes().filter(|node| !node.ready).map(|node| node.name.clone()).collect();
    if !down.is_empty() {
        let message = format!("{}: NotReady; skipped. Run remediate again once they are Ready", few(&down));
        let hint = "check with: kubectl describe node; https://kubernetes.io/docs/reference/node/node-status/";
        checks.push(finding(Level::Warning, "nodes-not-ready", message, hint));
    }
    if surroundings.node_ports > 0 {
        let message = format!(
            "{} Services have node ports, which the other data plane must serve too; kpx-prep verifies it for the API Service only",
            surroundings.node_ports
        );
        checks.push(finding(
            Level::Warning,
            "unverified-node-ports",
            message,
            "check with: kubectl get services -A, and the data plane's own status command; https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
        ));
    }
    checks
}
