//! What was observed of a cluster. Everything is decided from this; nothing here decides.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::backup::Backup;
use super::daemon_set::{ConfigSource, KubeProxy};
use super::flavour::Flavour;
use super::neighbours::Neighbour;
use super::other_run::OtherRun;
use super::proof::Proof;
use crate::messages::Survey;
use crate::mode::ProxyMode;
use crate::proxy_config::{METRICS_PORT, ProxyConfig, target};
use crate::report::foreign::foreign;

/// A cluster as it was observed.
#[derive(Clone, Debug)]
pub struct Facts {
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

/// Another `DaemonSet`.
#[derive(Clone, Debug)]
pub struct OtherSet {
    /// namespace/name
    pub name: String,
    /// Who runs in its pods.
    pub runs: Vec<Neighbour>,
}

/// kube-proxy's configuration as it was read.
#[derive(Clone, Debug)]
pub struct ConfigFacts {
    /// The `ConfigMap`.
    pub name: String,
    /// The key that holds the configuration.
    pub key: String,
    /// The text under that key.
    pub text: String,
    /// All keys, for the backup.
    pub data: BTreeMap<String, String>,
    /// All keys that are no text, for the backup.
    pub binary_data: BTreeMap<String, ByteString>,
    /// `resourceVersion`; a write with it fails if anyone wrote since.
    pub resource_version: String,
    /// Whether it is `immutable`.
    pub immutable: bool,
    /// When the key was last changed, in seconds since 1970.
    pub changed: Option<i64>,
    /// Whether kubeadm's hash annotation fits the data.
    pub hash: HashAnnotation,
    /// Who else writes it, such as a GitOps tool.
    pub owner: Option<String>,
    /// What the text says.
    ///
    /// An error says why it cannot be read.
    pub parsed: Result<ProxyConfig, String>,
}

/// kubeadm's annotation `kubeadm.kubernetes.io/component-config.hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAnnotation {
    /// kubeadm generated the data and nobody changed it.
    Matches,
    /// Someone changed the data; kubeadm takes it as the user's and keeps it.
    Differs,
    /// Not there: the user's.
    Absent,
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

/// A pod of kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The id by which the kubelet names its cgroup: its uid, or a static pod's own.
    pub cgroup: String,
    /// Its node.
    pub node: String,
    /// The UID of its `DaemonSet`.
    pub set: String,
    /// The container that runs kube-proxy.
    pub container: String,
    /// kube-proxy's image.
    pub image: String,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its phase.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How often kube-proxy was started again.
    pub restarts: u32,
    /// When kube-proxy's container was started, in seconds since 1970, by its kubelet.
    pub started: Option<i64>,
    /// Why kube-proxy waits to be started, if it does.
    pub waiting: Option<String>,
    /// The template revision that it was made from.
    pub revision: String,
}

impl NodeFacts {
    /// What the node helper saw of its host, if it could look.
    pub fn survey(&self) -> Option<&Survey> {
        self.host.as_ref()?.as_ref().ok()
    }
}

/// A cluster in words: the API server's address, and the context that led to it.
pub fn place(server: &str, context: Option<&str>) -> String {
    match context {
        Some(context) => format!("{server} (context {})", foreign(context)),
        None => server.to_owned(),
    }
}

impl Facts {
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

/// 20 of `v1.20.2`, `1.20+` and the like.
pub fn minor_of(version: &str) -> Option<u32> {
    let rest = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}
