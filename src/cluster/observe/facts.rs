//! The observed state of a cluster, on which all decisions are based.

use super::flavour::{Flavour, OtherSet};
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::helper::groups::{ProxyImage, ProxyOnNode};
use crate::cluster::kube_proxy::backup::Backup;
use crate::cluster::kube_proxy::config_map::ConfigFacts;
use crate::cluster::kube_proxy::daemon_set::{ConfigSource, KubeProxy};
use crate::cluster::kube_proxy::parking::Parked;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::proof::Proof;
use crate::kubernetes_version::minor_of;
use crate::mode::ProxyMode;
use crate::node_protocol::Survey;
use crate::proxy_config::target;
use crate::proxy_ports::{METRICS_PORT, ProxyPorts};

/// The observed state of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context; `None` for a pod's service account.
    pub context: Option<String>,
    /// The API server's version, as reported.
    pub version: String,
    /// The kind of cluster.
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
    /// The backups, newest first.
    pub backups: Vec<Backup>,
    /// The run that holds the lock; `None` if the Lease was not read.
    pub other_run: Option<OtherRun>,
    /// `ConfigMap`s with a program of the node helper, as namespace/name.
    pub helper_programs: Vec<String>,
    /// All `DaemonSet`s, to find other software on the nodes.
    pub daemon_sets: Vec<OtherSet>,
}

/// A node.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Whether the node is Ready.
    pub ready: bool,
    /// Whether it is a control-plane node.
    pub control_plane: bool,
    /// Whether it runs Windows.
    pub windows: bool,
    /// Its processor, as GOARCH: `amd64`.
    pub architecture: String,
    /// Its addresses beside the primary one of each family.
    pub more_addresses: Vec<String>,
    /// Whether kube-proxy's `DaemonSet` wants a pod there.
    pub wanted: bool,
    /// kube-proxy's pod.
    pub pod: Option<PodFacts>,
    /// The verified mode of kube-proxy.
    pub proof: Proof,
    /// The node helper's survey of the host, or why it failed; `None` if it was not requested.
    pub host: Option<Result<Survey, String>>,
}

impl NodeFacts {
    /// The node helper's survey of the host, if it succeeded.
    pub fn survey(&self) -> Option<&Survey> {
        self.host.as_ref()?.as_ref().ok()
    }
}

impl ClusterFacts {
    /// kube-proxy's minor version: that of its image, else that of the API server.
    pub fn minor(&self) -> u32 {
        self.proxy_version().as_deref().and_then(minor_of).or_else(|| minor_of(&self.version)).unwrap_or(0)
    }

    /// kube-proxy's version, from its image tag.
    pub fn proxy_version(&self) -> Option<String> {
        let image = self.kube_proxy.as_ref()?.image.split('@').next()?;
        let tag = image.rsplit('/').next()?.split_once(':')?.1;
        minor_of(tag).map(|_| tag.to_owned())
    }

    /// The configured mode.
    ///
    /// # Errors
    /// If the configuration has no valid mode.
    pub fn target(&self) -> Result<ProxyMode, String> {
        if let Some(kube_proxy) = self.kube_proxy.as_ref().filter(|kube_proxy| kube_proxy.config == ConfigSource::Flags)
        {
            return target(kube_proxy.mode_flag.as_deref().unwrap_or_default(), self.minor());
        }
        let config = self.config.as_ref().ok_or("no kube-proxy ConfigMap found")?;
        let parsed = config.parsed.as_ref().map_err(Clone::clone)?;
        target(&parsed.mode, self.minor())
    }

    /// kube-proxy's ports: from the configuration, or from its flags if it has none.
    pub fn ports(&self) -> ProxyPorts {
        let config = self.config.as_ref().and_then(|config| config.parsed.as_ref().ok()).map(|parsed| parsed.ports);
        config.unwrap_or_else(|| {
            let flag = self.kube_proxy.as_ref().and_then(|kube_proxy| kube_proxy.metrics_port_flag);
            ProxyPorts { metrics: flag.unwrap_or(METRICS_PORT), ..ProxyPorts::default() }
        })
    }

    /// The command that switches the cluster to its configured mode.
    pub fn remediate(&self) -> String {
        self.remediate_to(self.target().map_or("MODE", ProxyMode::name))
    }

    /// The command that switches the cluster to a mode.
    pub fn remediate_to(&self, mode: &str) -> String {
        // If there are several kube-proxies, the command must select one.
        let which = self.kube_proxy.as_ref().filter(|_| !self.elsewhere.is_empty());
        let which = which.map(|set| format!(" --namespace {} --daemonset {}", set.namespace, set.name));
        format!("kpx-prep remediate --mode {mode}{}", which.unwrap_or_default())
    }

    /// Nodes that should run kube-proxy on Linux.
    pub fn proxy_nodes(&self) -> impl Iterator<Item = &NodeFacts> {
        self.nodes.iter().filter(|node| node.wanted && !node.windows)
    }

    /// The nodes that run kube-proxy, with its image there.
    pub fn proxies(&self) -> Vec<ProxyOnNode> {
        let set = self.kube_proxy.as_ref();
        // A parked one has no pods; what they would run is in its template.
        let parked = set.and_then(|set| {
            let Parked { pull_policy, pull_secrets, .. } = set.parked.clone()?;
            Some(ProxyImage { reference: set.image.clone(), pull_policy, pull_secrets })
        });
        let proxy = |node: &NodeFacts| {
            let of_pod = node.pod.as_ref().map(|pod| ProxyImage {
                reference: pod.image.clone(),
                pull_policy: pod.pull_policy.clone(),
                pull_secrets: pod.pull_secrets.clone(),
            });
            let image = of_pod.or_else(|| parked.clone())?;
            Some(ProxyOnNode { node: node.name.clone(), architecture: node.architecture.clone(), image })
        };
        self.proxy_nodes().filter_map(proxy).collect()
    }

    /// Whether a pod is older than the configuration. Times are in whole seconds; the same second counts as newer.
    pub fn is_stale(&self, pod: &PodFacts) -> bool {
        let changed = self.config.as_ref().and_then(|config| config.changed);
        changed.is_some_and(|changed| pod.created < changed)
    }
}
