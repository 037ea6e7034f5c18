//! `kpx-prep node survey | leftovers | clean`: what kube-proxy's modes left on one host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::cluster_args::duration;
use super::driven;
use super::node_root::Where;
use crate::bounded::read_named_text;
use crate::exit_code::{Exit, Refusal};
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::boot::request::NodeRequest;
use crate::node::kube_proxy::clean::{CleanOptions, clean};
use crate::node::kube_proxy::process::toolbox::Known;
use crate::node::kube_proxy::report::{clean_text, leftovers, survey_text};
use crate::node::kube_proxy::survey::survey;
use crate::node_protocol::ServicePort;
use crate::proxy_config::DEFAULT_SCHEDULER;

#[derive(Debug, Args)]
struct Metrics {
    /// kube-proxy's metrics port (metricsBindAddress)
    #[arg(long, value_name = "N", default_value_t = 10249)]
    metrics_port: u16,
}

#[derive(Debug, Args)]
struct KubeProxy {
    /// UID of kube-proxy's pod on this host, to identify its process; repeatable
    #[arg(long, value_name = "UID")]
    pod: Vec<String>,
    /// Number of Services in the cluster; limits for reading the host's rules scale with it
    #[arg(long, value_name = "N", default_value_t = 1000)]
    service_count: usize,
}

impl KubeProxy {
    fn known(&self) -> Known {
        Known { pods: self.pod.clone(), services: self.service_count }
    }
}

/// Only root may read links, rules and the IPVS table.
fn need_root() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Refusal::usage(
        "root is required to read the host's rules and IPVS table; nothing was changed. Run it again as root",
    ))
}

/// Report everything on this host that affects kube-proxy's mode (read-only)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node survey -o json")]
pub(super) struct SurveyArgs {
    /// IPVS scheduler that kube-proxy will use
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SCHEDULER)]
    scheduler: String,
    /// Kubernetes version of the cluster; kube-proxy up to 1.26 needs more modules
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Test whether this address accepts a TCP connection; repeatable
    #[arg(long, value_name = "ADDRESS:PORT")]
    ask: Vec<SocketAddr>,
    #[command(flatten)]
    metrics: Metrics,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl SurveyArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let minor = self.kubernetes_version.as_ref().map(KubernetesVersion::minor);
        let request = NodeRequest::parse("all", &self.scheduler).map_err(Refusal::usage)?.with(minor, None, None);
        need_root()?;
        let survey =
            survey(&self.place.root()?, &request, self.metrics.metrics_port, &self.ask, &self.kube_proxy.known())?;
        self.place.print(&survey, || survey_text(&survey))?;
        Ok(Exit::Done)
    }
}

/// Show what other proxy modes left on this host (read-only)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node leftovers || kpx-prep node clean --dry-run")]
pub(super) struct LeftoversArgs {
    #[command(flatten)]
    metrics: Metrics,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl LeftoversArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        need_root()?;
        let (report, exit) = leftovers(&self.place.root()?, self.metrics.metrics_port, &self.kube_proxy.known())?;
        self.place.print(&report, || report.text())?;
        Ok(exit)
    }
}

/// Remove what other proxy modes left on this host
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep node clean --dry-run
  kpx-prep node clean --from iptables
  kpx-prep node clean --drain 30m    # after ipvs, with long-lived connections")]
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
    /// Do not remove IPVS virtual servers and kube-ipvs0 in this run
    #[arg(long)]
    keep_virtual_servers: bool,
    /// How long to let existing IPVS connections drain before their virtual servers are removed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    drain: Duration,
    #[command(flatten)]
    metrics: Metrics,
    #[command(flatten)]
    kube_proxy: KubeProxy,
    #[command(flatten)]
    place: Where,
}

impl CleanArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        need_root()?;
        let options = CleanOptions {
            from: self.from,
            dry_run: self.dry_run,
            port: self.metrics.metrics_port,
            services: self.services.as_deref().map(read_services).transpose()?.unwrap_or_default(),
            wait: self.wait,
            keep_virtual_servers: self.keep_virtual_servers,
            drain: self.drain,
            known: self.kube_proxy.known(),
        };
        let (report, exit) = clean(&self.place.root()?, &options)?;
        self.place.print(&report, || clean_text(&report))?;
        Ok(exit)
    }
}

/// Reads one line only: the sender may be unable to close standard input.
fn read_services(file: &Path) -> anyhow::Result<Vec<ServicePort>> {
    let (name, text) = if file.as_os_str() == "-" {
        let line = driven::line().context("reading --services from standard input")?;
        ("standard input".to_owned(), line)
    } else {
        let name = file.display().to_string();
        let text = read_named_text(file)
            .map_err(|error| Refusal::usage(format!("--services {name}: {error}; nothing was changed")))?;
        (name, text)
    };
    serde_json::from_str(&text).map_err(|error| {
        Refusal::usage(format!("--services: {name} is not a JSON list of Service ports: {error}; nothing was changed"))
    })
}
