//! `kpx-prep node survey | leftovers | clean`: what kube-proxy's modes left on one host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cluster_args::duration;
use super::node_root::Where;
use crate::exit_code::Exit;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::command::{BridgeCommand, CleanCommand, KubeProxyOptions, NodeCommand, SurveyCommand};
use crate::proxy_ports::ProxyPorts;

#[derive(Debug, Args)]
struct KubeProxy {
    /// kube-proxy's metrics port (metricsBindAddress)
    #[arg(long, value_name = "N", default_value_t = 10249)]
    metrics_port: u16,
    /// kube-proxy's health port (healthzBindAddress)
    #[arg(long, value_name = "N", default_value_t = 10256)]
    healthz_port: u16,
    /// UID of kube-proxy's pod on this host, to identify its process; repeatable
    #[arg(long, value_name = "UID")]
    pod: Vec<String>,
    /// Number of Services in the cluster; limits for reading the host's rules scale with it
    #[arg(long, value_name = "N", default_value_t = 1000)]
    service_count: usize,
    /// Use the iptables, ipset and nft of the file tree below DIR [default: those of kube-proxy's container]
    #[arg(long, value_name = "DIR", hide = true)]
    tools: Option<PathBuf>,
}

impl KubeProxy {
    fn options(self) -> KubeProxyOptions {
        let Self { metrics_port, healthz_port, pod, service_count, tools } = self;
        KubeProxyOptions {
            ports: ProxyPorts { metrics: metrics_port, healthz: healthz_port },
            pods: pod,
            services: service_count,
            tools,
        }
    }
}

/// Report everything on this host that affects kube-proxy's mode (read-only)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node survey -o json")]
pub(super) struct SurveyArgs {
    /// Mode that kube-proxy will run: ipvs or nftables
    #[arg(long, value_name = "MODE", default_value = "ipvs")]
    mode: ProxyMode,
    /// IPVS scheduler that kube-proxy will use [default: rr]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    /// Kubernetes version of the cluster; kube-proxy up to 1.26 needs more modules
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Test whether this address accepts a TCP connection; repeatable
    #[arg(long, value_name = "ADDRESS:PORT")]
    ask: Vec<SocketAddr>,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl SurveyArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        self.place.run(NodeCommand::Survey(SurveyCommand {
            mode: Some(self.mode),
            scheduler: self.scheduler,
            minor: self.kubernetes_version.as_ref().map(KubernetesVersion::minor),
            ask: self.ask,
            kube_proxy: self.kube_proxy.options(),
        }))
    }
}

/// Show what other proxy modes left on this host (read-only)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node leftovers || kpx-prep node clean --dry-run")]
pub(super) struct LeftoversArgs {
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl LeftoversArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        self.place.run(NodeCommand::Leftovers(self.kube_proxy.options()))
    }
}

/// Copy the running mode's rules under other names, before kube-proxy starts in or after nftables mode
///
/// From 1.29 on kube-proxy removes the old rules when it starts, before it has written its own. The copy serves new
/// connections until then. `node clean` removes it once kube-proxy has synced; the kernel stops using it after --keep.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  kpx-prep node bridge --to nftables --keep 10m
  # change the mode, delete this node's kube-proxy pod, then:
  kpx-prep node clean")]
pub(super) struct BridgeArgs {
    /// Mode in which kube-proxy will start: iptables, ipvs or nftables
    #[arg(long, value_name = "MODE")]
    to: ProxyMode,
    /// How long the kernel uses the copy at most
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    keep: Duration,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl BridgeArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        self.place.run(NodeCommand::Bridge(BridgeCommand {
            to: Some(self.to),
            keep: self.keep,
            kube_proxy: self.kube_proxy.options(),
        }))
    }
}

/// Remove what other proxy modes left on this host
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep node clean --dry-run
  kpx-prep node clean --from iptables
  kpx-prep node clean --drain 30m    # after ipvs, with long-lived connections
  kpx-prep node clean --no-kube-proxy --api-service 10.96.0.1:443    # kube-proxy was replaced")]
pub(super) struct CleanArgs {
    /// Clean only what this mode left: iptables, ipvs or nftables [default: all modes but the running one]
    #[arg(long, value_name = "MODE")]
    from: Option<ProxyMode>,
    /// Print what would be done without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Service ports that must be programmed before anything is removed: one line of JSON, from FILE or stdin (-)
    #[arg(long, value_name = "FILE")]
    services: Option<PathBuf>,
    /// How long to wait until the running mode has synced and serves these Service ports
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    wait: Duration,
    /// Remove only the copy made by `node bridge`, and check the rest
    #[arg(long, conflicts_with = "dry_run")]
    keep_leftovers: bool,
    /// Do not remove IPVS virtual servers and kube-ipvs0 in this run
    #[arg(long)]
    keep_virtual_servers: bool,
    /// Remove everything that kube-proxy made: it was replaced by another data plane and no longer runs on this host
    ///
    /// Refused unless connections to the API Service are translated to an endpoint when they are opened, which
    /// kube-proxy's own rules never do (Cilium's socket load balancing, Calico's connect-time load balancing).
    #[arg(long)]
    no_kube_proxy: bool,
    /// With --no-kube-proxy: cluster IP and port of Service default/kubernetes
    #[arg(long, value_name = "ADDRESS:PORT")]
    api_service: Option<SocketAddr>,
    /// How long to let existing IPVS connections drain before their virtual servers are removed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    drain: Duration,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl CleanArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        self.place.run(NodeCommand::Clean(CleanCommand {
            from: self.from,
            dry_run: self.dry_run,
            services: self.services,
            wait: self.wait,
            keep_virtual_servers: self.keep_virtual_servers,
            drain: self.drain,
            keep_leftovers: self.keep_leftovers,
            no_kube_proxy: self.no_kube_proxy,
            api_service: self.api_service,
            kube_proxy: self.kube_proxy.options(),
        }))
    }
}
