//! The options of the node commands; the meaning of each is in the help of kpx-prep.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::boot::mechanism::Mechanism;
use crate::mode::ProxyMode;
use crate::proxy_ports::ProxyPorts;

/// Which modules are needed and how they are loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleOptions {
    /// `--mode`
    pub mode: Option<ProxyMode>,
    /// `--modules`
    pub modules: Option<String>,
    /// `--scheduler`
    pub scheduler: Option<String>,
    /// The minor version of `--kubernetes-version`.
    pub minor: Option<u32>,
    /// `--boot-mechanism`
    pub mechanism: Option<Mechanism>,
    /// `--load` or `--no-load`; by default modules are loaded on the host itself only.
    pub load: Option<bool>,
    /// `--tools`: the file tree with kube-proxy's `nft`, instead of that of kube-proxy's process.
    pub tools: Option<PathBuf>,
}

/// The options of `node install`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallCommand {
    /// Which modules.
    pub modules: ModuleOptions,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--force`
    pub force: bool,
}

/// The options of `node check`.
pub type CheckCommand = ModuleOptions;

/// What is known about kube-proxy on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeProxyOptions {
    /// `--metrics-port` and `--healthz-port`
    pub ports: ProxyPorts,
    /// `--pod`
    pub pods: Vec<String>,
    /// `--service-count`
    pub services: usize,
    /// `--tools`: the file tree whose iptables, ipset and nft are used, instead of that of kube-proxy's process.
    pub tools: Option<PathBuf>,
}

impl Default for KubeProxyOptions {
    fn default() -> Self {
        Self { ports: ProxyPorts::default(), pods: Vec::new(), services: 1000, tools: None }
    }
}

/// The options of `node survey`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyCommand {
    /// `--mode`
    pub mode: Option<ProxyMode>,
    /// `--scheduler`
    pub scheduler: Option<String>,
    /// The minor version of `--kubernetes-version`.
    pub minor: Option<u32>,
    /// `--ask`
    pub ask: Vec<SocketAddr>,
    /// kube-proxy.
    pub kube_proxy: KubeProxyOptions,
}

/// The options of `node bridge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeCommand {
    /// `--to`
    pub to: Option<ProxyMode>,
    /// `--keep`
    pub keep: Duration,
    /// kube-proxy.
    pub kube_proxy: KubeProxyOptions,
}

impl Default for BridgeCommand {
    fn default() -> Self {
        Self { to: None, keep: Duration::from_secs(600), kube_proxy: KubeProxyOptions::default() }
    }
}

/// The options of `node clean`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanCommand {
    /// `--from`
    pub from: Option<ProxyMode>,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--services`: a file, or `-` for standard input.
    pub services: Option<PathBuf>,
    /// `--wait`
    pub wait: Duration,
    /// `--keep-virtual-servers`
    pub keep_virtual_servers: bool,
    /// `--drain`
    pub drain: Duration,
    /// `--keep-leftovers`
    pub keep_leftovers: bool,
    /// `--no-kube-proxy`
    pub no_kube_proxy: bool,
    /// `--api-service`
    pub api_service: Option<SocketAddr>,
    /// kube-proxy.
    pub kube_proxy: KubeProxyOptions,
}

impl CleanCommand {
    /// The API Service, if no kube-proxy runs on the node any more.
    ///
    /// # Errors
    /// If the options contradict each other.
    pub(super) fn without(&self) -> Result<Option<SocketAddr>, &'static str> {
        let others = self.from.is_some() || self.services.is_some() || self.keep_leftovers || self.keep_virtual_servers;
        match (self.no_kube_proxy, self.api_service) {
            (false, None) => Ok(None),
            (true, Some(_)) if others => Err(
                "--no-kube-proxy removes everything: it takes none of --from, --services, --keep-leftovers and --keep-virtual-servers; nothing was changed",
            ),
            (true, Some(service)) => Ok(Some(service)),
            _ => Err("--no-kube-proxy and --api-service require each other; nothing was changed"),
        }
    }
}

impl Default for CleanCommand {
    fn default() -> Self {
        Self {
            from: None,
            dry_run: false,
            services: None,
            wait: Duration::from_secs(60),
            keep_virtual_servers: false,
            drain: Duration::from_secs(300),
            keep_leftovers: false,
            no_kube_proxy: false,
            api_service: None,
            kube_proxy: KubeProxyOptions::default(),
        }
    }
}
