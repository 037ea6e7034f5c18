//! The cluster's Services: which virtual servers of a node belong to them, what a new mode must have programmed before the
//! old mode's rules are removed, and which Services are tested.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::cluster::api::calls;
use crate::cluster::api::errors::plain;
use crate::cluster::api::objects::{self, Service};
use crate::node_protocol::{ServicePort, VirtualServer};

/// Services with this label are served by another proxy (`LabelServiceProxyName`, KEP-2447).
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Number of Services to test, including the API server's.
const QUESTIONS: usize = 3;

/// The Services of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Every port of every Service with a cluster IP.
    pub ports: Vec<ServicePort>,
    /// All addresses of Services: cluster IPs, external IPs, load balancer IPs.
    pub addresses: BTreeSet<IpAddr>,
    /// All node ports.
    pub node_ports: BTreeSet<u16>,
}

impl Services {
    /// Lists them.
    ///
    /// # Errors
    /// The error of the API request.
    pub async fn list(client: &kube::Client) -> anyhow::Result<Self> {
        let mut services = Self::default();
        let api = Api::all_with(client.clone(), &objects::services());
        calls::walk(&api, &ListParams::default(), &mut services, |services, service| services.add(&service))
            .await
            .map_err(|error| anyhow::anyhow!("listing the Services: {}", plain(&error)))?;
        Ok(services)
    }

    /// Adds a Service.
    pub fn add(&mut self, service: &Service) {
        let spec = &service.spec;
        let ingress = service.status.iter().flat_map(|status| &status.load_balancer.ingress);
        let written = spec.cluster_ips.iter().chain([&spec.cluster_ip]).chain(&spec.external_ips);
        self.addresses.extend(
            written.chain(ingress.filter_map(|ingress| ingress.ip.as_ref())).filter_map(|ip| ip.parse::<IpAddr>().ok()),
        );
        self.node_ports.extend(spec.ports.iter().filter_map(|port| port.node_port).filter(|port| *port != 0));
        let mut addresses: Vec<IpAddr> =
            [&spec.cluster_ip].into_iter().chain(&spec.cluster_ips).filter_map(|ip| ip.parse().ok()).collect();
        addresses.dedup();
        if addresses.is_empty() {
            return;
        }
        if spec.r#type == "ExternalName" || service.labels().contains_key(OTHER_PROXY) {
            return;
        }
        let place = format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any());
        self.ports.extend(spec.ports.iter().filter_map(|port| {
            let number = u16::try_from(port.port).ok()?;
            Some(ServicePort {
                name: format!("{place}:{}", port.name.clone().unwrap_or_else(|| number.to_string())),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
                addresses: addresses.clone(),
                node_port: port.node_port.filter(|port| *port != 0),
                must_answer: false,
            })
        }));
    }

    /// The addresses to test: the API server's Service, cluster DNS, and others.
    pub fn questions(&self) -> Vec<SocketAddr> {
        let mut tcp: Vec<_> = self.ports.iter().filter(|port| port.protocol == "TCP").collect();
        let rank = |port: &ServicePort| match port.name.split(':').next() {
            Some("default/kubernetes") => 0,
            Some("kube-system/kube-dns") => 1,
            _ => 2,
        };
        tcp.sort_by_key(|port| (rank(port), port.name.clone()));
        tcp.iter()
            .filter_map(|port| Some(SocketAddr::new(*port.addresses.first()?, port.port)))
            .take(QUESTIONS)
            .collect()
    }

    /// The line for a node: every port, and which ones must answer because they did before.
    pub fn message(&self, answered: &[SocketAddr]) -> String {
        let ports: Vec<_> = self
            .ports
            .iter()
            .map(|port| ServicePort {
                must_answer: port.protocol == "TCP"
                    && port.addresses.first().is_some_and(|ip| answered.contains(&SocketAddr::new(*ip, port.port))),
                ..port.clone()
            })
            .collect();
        serde_json::to_string(&ports).unwrap_or_default()
    }

    /// Whether a node's virtual server does not belong to kube-proxy: it is not identified as kube-proxy's on the node,
    /// and no Service has its address, or its port as a node port.
    pub fn is_foreign(&self, server: &VirtualServer) -> bool {
        let node_port = u16::try_from(server.port).is_ok_and(|port| self.node_ports.contains(&port));
        let by_mark = server.protocol == "FWM";
        !server.claimed && (by_mark || !self.addresses.contains(&server.address) && !node_port)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(name: &str, spec: &Value) -> Service {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "ns", "name": name}, "spec": spec,
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"hostname": "x"}]}},
        });
        serde_json::from_value(object).unwrap()
    }

    fn server(protocol: &str, address: &str, port: u32, claimed: bool) -> VirtualServer {
        let scheduler = "rr".to_owned();
        VirtualServer {
            protocol: protocol.to_owned(),
            address: address.parse().unwrap(),
            port,
            scheduler,
            claimed,
            connections: 0,
        }
    }

    #[test]
    fn served_ports_and_addresses() {
        let mut services = Services::default();
        let port = json!([{"port": 80, "name": "http", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]);
        services
            .add(&service("web", &json!({"clusterIP": "10.96.0.5", "externalIPs": ["198.51.100.1"], "ports": port})));
        services.add(&service("headless", &json!({"clusterIP": "None", "ports": [{"port": 80}]})));
        services.add(&service("outside", &json!({"type": "ExternalName", "ports": [{"port": 80}]})));
        let names: Vec<_> = services.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["ns/web:http", "ns/web:53"]);
        assert_eq!(services.questions(), ["10.96.0.5:80".parse().unwrap()]);
        let message = services.message(&services.questions());
        let sent: Vec<ServicePort> = serde_json::from_str(&message).unwrap();
        assert_eq!(sent.iter().map(|port| port.must_answer).collect::<Vec<_>>(), [true, false]);
        assert!(!message.contains('\n'), "the node reads one line");

        for (of, foreign) in [
            (server("TCP", "10.96.0.5", 80, false), false),
            (server("TCP", "203.0.113.9", 80, false), false),
            (server("TCP", "198.51.100.1", 443, false), false),
            (server("TCP", "192.0.2.1", 30080, false), false),
            (server("TCP", "192.0.2.1", 80, false), true),
            (server("TCP", "192.0.2.1", 80, true), false),
            (server("FWM", "0.0.0.0", 30080, false), true),
        ] {
            assert_eq!(services.is_foreign(&of), foreign, "{of:?}");
        }
    }
}
