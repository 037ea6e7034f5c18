//! The helper's command where kube-proxy is gone: remove everything that it made.

use std::net::SocketAddr;
use std::time::Duration;

use super::Helper;
use super::work::{Cleaned, SLACK, reading};
use crate::node_protocol::{CleanOutcome, CleanReport};
use crate::proxy_ports::ProxyPorts;

/// How long the other data plane may take to answer for the API Service, such as while the API server restarts.
const WAIT: Duration = Duration::from_secs(30);

/// How nodes are cleaned.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// The API server's Service.
    pub service: SocketAddr,
    /// kube-proxy's ports, on which nothing may answer.
    pub ports: ProxyPorts,
    /// How long existing IPVS connections may drain.
    pub drain: Duration,
    /// Number of Services in the cluster.
    pub services: usize,
}

/// The result of a node.
#[derive(Clone, Debug)]
pub struct Removed {
    /// What was removed, and what remains.
    pub cleaned: Cleaned,
    /// Whether the other data plane answered for the API Service before and after.
    pub serves: bool,
}

impl Helper {
    /// Removes everything that kube-proxy made on a node; with `dry_run`, only looks for it.
    pub async fn remove_all(&self, node: &str, removal: &Removal, dry_run: bool) -> Removed {
        let Removal { service, ports, drain, services } = *removal;
        let (service, count) = (service.to_string(), services.to_string());
        let (port, healthz) = (ports.metrics.to_string(), ports.healthz.to_string());
        let (wait, drain_for) = (format!("{}s", WAIT.as_secs()), format!("{}s", drain.as_secs()));
        let mut arguments = vec!["clean", "--no-kube-proxy", "--api-service", &service, "--metrics-port", &port];
        arguments.extend([
            "--healthz-port",
            &healthz,
            "--wait",
            &wait,
            "--drain",
            &drain_for,
            "--service-count",
            &count,
        ]);
        arguments.extend(dry_run.then_some("--dry-run"));
        let patience = WAIT + drain + reading(services) + SLACK;
        match self.ask::<CleanReport>(node, &arguments, None, patience).await {
            Ok(report) => {
                let silent = report.findings.iter().any(|finding| finding.id == "no-data-plane");
                let serves = !silent && report.outcome != CleanOutcome::Refused;
                Removed { cleaned: Cleaned::new(&report), serves }
            }
            Err(why) => Removed { cleaned: Cleaned::impossible(why), serves: false },
        }
    }
}
