//! What was observed of a cluster. Everything is decided from this; nothing here decides.

use super::flavour::{Flavour, OtherSet};
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::kube_proxy::backup::Backup;
use crate::cluster::kube_proxy::config_map::ConfigFacts;
use crate::cluster::kube_proxy::daemon_set::{ConfigSource, KubeProxy};
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::proof::Proof;
use crate::kubernetes_version::minor_of;
use crate::messages::Survey;
use crate::mode::ProxyMode;
use crate::proxy_config::{METRICS_PORT, target};

/// A cluster as it was observed.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context that led there; nothing for a pod's service account.
    pub context: Option<String>,
    /// The API server's version, as it says it.
    pub version: String,
    /// What kind of cluster it is.
    pub flavour: Flavour,
    /// kube-proxy, if it runs as a `DaemonSet`.
    pub kube_proxy: Option<KubeProxy>,
    /// kube-proxies of Windows nodes.
    pub windows_sets: Vec<String>,
    /// `DaemonSet`s of kube-proxies with another configuration, as namespace/name.
    pub elsewhere: Vec<String>,
    /// kube-proxy's configuration.
    pub config: Option<ConfigFacts>,
    /// The nodes, by name.
    pub nodes: Vec<NodeFacts>,
    /// The kept originals, newest first.
    pub backups: Vec<Backup>,
    /// The run that holds the lock; nothing if the Lease was not read.
    pub other_run: Option<OtherRun>,
    /// All `DaemonSet`s: who else works on the nodes.
    pub daemon_sets: Vec<OtherSet>,
}

/// A node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether its kubelet says so, and lately.
    pub ready: bool,
    /// Whether it is a control-plane node.
    pub control_plane: bool,
    /// Whether it runs Windows.
    pub windows: bool,
    /// Whether kube-proxy's `DaemonSet` wants a pod there.
    pub wanted: bool,
    /// kube-proxy's pod.
    pub pod: Option<PodFacts>,
    /// What kube-proxy says about its mode.
    pub proof: Proof,
    /// What the node helper saw of its host, or why it could not look; nothing if it was not asked.
    pub host: Option<Result<Survey, String>>,
}

impl NodeFacts {
    /// What the node helper saw of its host, if it could look.
    pub fn survey(&self) -> Option<&Survey> {
        self.host.as_ref()?.as_ref().ok()
    }
}

impl ClusterFacts {
    /// kube-proxy's minor version: its image's, else the API server's.
    pub fn minor(&self) -> u32 {
        self.proxy_version().as_deref().and_then(minor_of).or_else(|| minor_of(&self.version)).unwrap_or(0)
    }

    /// kube-proxy's version, by its image's tag.
    pub fn proxy_version(&self) -> Option<String> {
        let image = self.kube_proxy.as_ref()?.image.split('@').next()?;
        let tag = image.rsplit('/').next()?.split_once(':')?.1;
        minor_of(tag).map(|_| tag.to_owned())
    }

    /// What the configuration amounts to.
    ///
    /// # Errors
    /// Why it amounts to nothing.
    pub fn target(&self) -> Result<ProxyMode, String> {
        if let Some(kube_proxy) = self.kube_proxy.as_ref().filter(|kube_proxy| kube_proxy.config == ConfigSource::Flags)
        {
            return target(kube_proxy.mode_flag.as_deref().unwrap_or_default(), self.minor());
        }
        let config = self.config.as_ref().ok_or("there is no kube-proxy ConfigMap")?;
        let parsed = config.parsed.as_ref().map_err(Clone::clone)?;
        target(&parsed.mode, self.minor())
    }

    /// Where kube-proxy tells its mode: the port of the configuration, or of its flags where it has none.
    pub fn metrics_port(&self) -> u16 {
        let config =
            self.config.as_ref().and_then(|config| config.parsed.as_ref().ok()).map(|parsed| parsed.metrics_port);
        let flag = || self.kube_proxy.as_ref().and_then(|kube_proxy| kube_proxy.metrics_port_flag);
        config.or_else(flag).unwrap_or(METRICS_PORT)
    }

    /// The command that brings the cluster to its configured mode and to no other.
    pub fn remediate(&self) -> String {
        let mode = self.target().map_or("MODE", ProxyMode::name);
        // Where there are several kube-proxies, the command has to say which.
        let which = self.kube_proxy.as_ref().filter(|_| !self.elsewhere.is_empty());
        let which = which.map(|set| format!(" --namespace {} --daemonset {}", set.namespace, set.name));
        format!("kpx-prep remediate --mode {mode}{}", which.unwrap_or_default())
    }

    /// Nodes that should run kube-proxy on Linux.
    pub fn proxy_nodes(&self) -> impl Iterator<Item = &NodeFacts> {
        self.nodes.iter().filter(|node| node.wanted && !node.windows)
    }

    /// Whether a pod is older than the configuration. Times are whole seconds; the same second counts as newer.
    pub fn is_stale(&self, pod: &PodFacts) -> bool {
        let changed = self.config.as_ref().and_then(|config| config.changed);
        changed.is_some_and(|changed| pod.created < changed)
    }
}
