//! Other objects in a cluster that depend on kube-proxy's mode: Services, host ports, load balancers, other users of IPVS.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::calico::CalicoModes;
use super::neighbours::{Neighbour, SeenPod, recognise, words};
use crate::cluster::api::calls::{self, retried};
use crate::cluster::api::errors::plain;
use crate::cluster::api::objects;
use crate::cluster::kube_proxy::command::runs_kube_proxy;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::services::Services;

/// Other objects in the cluster.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Services with a load balancer IP, as namespace/name.
    pub load_balancers: Vec<String>,
    /// Number of Services with node ports.
    pub node_ports: usize,
    /// Services with the external traffic policy `Local` and an address of a load balancer or an external one, as
    /// namespace/name.
    pub local_services: Vec<String>,
    /// The ports on which load balancers ask nodes for endpoints of such Services.
    pub health_check_ports: BTreeSet<u16>,
    /// Ports of Services.
    pub service_ports: BTreeSet<(i32, String)>,
    /// The Services.
    pub services: Services,
    /// Number of pods that may be endpoints: running, and not in the host network.
    pub endpoints: usize,
    /// Pods with host ports, by port and protocol.
    pub host_ports: BTreeMap<(i32, String), String>,
    /// Pods in the host network with declared ports, by port, without kube-proxy's own.
    pub host_network_ports: BTreeMap<i32, String>,
    /// Pods of neighbours; one of several identical ones.
    pub neighbours: BTreeMap<Neighbour, Vec<SeenPod>>,
    /// Calico's data plane, if Calico is installed.
    pub calico: CalicoModes,
    /// The newest template revision of each `DaemonSet`, by its UID.
    pub newest_revisions: BTreeMap<String, String>,
    /// Other kube-proxies in the host network, by node: pods of other `DaemonSet`s, and static ones.
    pub other_proxies: BTreeMap<String, String>,
}

impl Surroundings {
    /// The pods of one kind of neighbour.
    pub fn pods_of(&self, who: Neighbour) -> impl Iterator<Item = &SeenPod> {
        self.neighbours.get(&who).into_iter().flatten()
    }
}

/// Limit for different pods of one neighbour; pods of one `DaemonSet` are identical.
const OF_A_KIND: usize = 32;

/// Reads the other objects.
///
/// # Errors
/// If a list could not be read.
pub async fn look(client: &kube::Client, kube_proxy: &KubeProxy) -> anyhow::Result<Surroundings> {
    let mut seen = Surroundings::default();
    let services = Api::all_with(client.clone(), &objects::services());
    calls::walk(&services, &ListParams::default(), &mut seen, |seen, service| add_service(seen, &service))
        .await
        .map_err(|error| anyhow::anyhow!("listing the Services: {}; nothing was changed", plain(&error)))?;
    let mut pods_seen = Surroundings::default();
    let pods = Api::all_with(client.clone(), &objects::pods());
    calls::walk(&pods, &ListParams::default(), &mut pods_seen, |seen, pod| add_pod(seen, &pod, kube_proxy))
        .await
        .map_err(|error| anyhow::anyhow!("listing the pods: {}; nothing was changed", plain(&error)))?;
    seen.host_ports = pods_seen.host_ports;
    seen.endpoints = pods_seen.endpoints;
    seen.neighbours = pods_seen.neighbours;
    if seen.neighbours.contains_key(&Neighbour::Calico) {
        seen.calico = CalicoModes::observe(client).await;
    }
    seen.host_network_ports = pods_seen.host_network_ports;
    seen.other_proxies = pods_seen.other_proxies;
    seen.newest_revisions = newest_revisions(client, kube_proxy)
        .await
        .map_err(|error| anyhow::anyhow!("listing the ControllerRevisions: {}; nothing was changed", plain(&error)))?;
    Ok(seen)
}

fn protocol(name: Option<&String>) -> String {
    name.cloned().unwrap_or_else(|| "TCP".to_owned())
}

fn add_service(seen: &mut Surroundings, service: &objects::Service) {
    let name = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
    let balanced =
        service.status.iter().flat_map(|status| &status.load_balancer.ingress).any(|ingress| ingress.ip.is_some());
    if service.spec.external_traffic_policy == "Local" {
        if balanced || !service.spec.external_ips.is_empty() {
            seen.local_services.push(name.clone());
        }
        seen.health_check_ports.extend(service.spec.health_check_node_port.filter(|port| *port != 0));
    }
    if balanced {
        seen.load_balancers.push(name);
    }
    seen.node_ports += usize::from(matches!(service.spec.r#type.as_str(), "NodePort" | "LoadBalancer"));
    seen.services.add(service);
    seen.service_ports.extend(service.spec.ports.iter().map(|port| (port.port, protocol(port.protocol.as_ref()))));
}

fn add_pod(seen: &mut Surroundings, pod: &objects::Pod, kube_proxy: &KubeProxy) {
    let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    for container in &pod.spec.containers {
        // In the host network, container ports are not forwarded.
        for port in container.ports.iter().filter(|_| !pod.spec.host_network) {
            if let Some(number) = port.host_port {
                seen.host_ports.entry((number, protocol(port.protocol.as_ref()))).or_insert_with(|| name.clone());
            }
        }
        for port in container.ports.iter().filter(|_| pod.spec.host_network && !runs_kube_proxy(container)) {
            // The API server sets a hostPort for each of them (`SetHostNetworkPorts` in pkg/apis/core/v1/defaults.go).
            if let Some(number) = port.host_port {
                seen.host_network_ports.entry(number).or_insert_with(|| name.clone());
            }
        }
    }
    let ended = pod.status.as_ref().is_some_and(|status| matches!(status.phase.as_str(), "Succeeded" | "Failed"));
    seen.endpoints += usize::from(!pod.spec.host_network && !ended);
    let runs_it = pod.spec.host_network && !ended && pod.spec.containers.iter().any(runs_kube_proxy);
    if let (true, None, Some(node)) = (runs_it, kube_proxy.set_of(pod), &pod.spec.node_name) {
        seen.other_proxies.insert(node.clone(), name.clone());
    }
    for (who, image) in recognise(pod.labels(), &pod.spec.containers) {
        let words: Vec<_> = pod.spec.containers.iter().flat_map(words).collect();
        let seen = seen.neighbours.entry(who).or_default();
        let is_new = || !seen.iter().any(|known| known.image == image && known.words == words);
        if seen.len() < OF_A_KIND && is_new() {
            seen.push(SeenPod { name: name.clone(), image: image.to_owned(), words });
        }
    }
}

async fn newest_revisions(client: &kube::Client, kube_proxy: &KubeProxy) -> kube::Result<BTreeMap<String, String>> {
    let api = Api::<ControllerRevision>::namespaced(client.clone(), &kube_proxy.namespace);
    let mut newest = BTreeMap::new();
    for set in kube_proxy.sets() {
        let params = ListParams::default().labels(&set.selector);
        let revisions = retried(|| api.list(&params)).await?;
        let ours = revisions
            .items
            .iter()
            .filter(|revision| revision.owner_references().iter().any(|owner| owner.uid == set.uid));
        let revision = ours.max_by_key(|revision| revision.revision);
        let label = revision.and_then(|revision| revision.labels().get(super::REVISION).cloned());
        newest.extend(label.map(|label| (set.uid.clone(), label)));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_with_a_local_policy() {
        let mut seen = Surroundings::default();
        for (name, spec, ingress) in [
            ("plain", json!({"type": "NodePort", "externalTrafficPolicy": "Local"}), json!([])),
            (
                "other",
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}),
                json!([{"ip": "192.0.2.1"}]),
            ),
            (
                "balanced",
                json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000}),
                json!([{"ip": "192.0.2.2"}]),
            ),
            ("external", json!({"externalTrafficPolicy": "Local", "externalIPs": ["192.0.2.3"]}), json!([])),
            ("by-name", json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), json!([{"hostname": "x"}])),
        ] {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "x"},
                "spec": spec, "status": {"loadBalancer": {"ingress": ingress}},
            });
            add_service(&mut seen, &serde_json::from_value(service).unwrap());
        }
        assert_eq!(seen.local_services, ["x/balanced", "x/external"]);
        assert_eq!(seen.health_check_ports, [31000].into());
        assert_eq!((seen.load_balancers.len(), seen.node_ports), (2, 4));
    }
}
