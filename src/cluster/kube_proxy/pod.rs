//! The observed state of a kube-proxy pod.

/// A pod of kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The id in its cgroup name: its uid, or a static pod's own.
    pub cgroup: String,
    /// Its node.
    pub node: String,
    /// The UID of its `DaemonSet`.
    pub set: String,
    /// The container that runs kube-proxy.
    pub container: String,
    /// kube-proxy's image.
    pub image: String,
    /// How its node gets it: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// The Secrets with which it is pulled.
    pub pull_secrets: Vec<String>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its phase.
    pub phase: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How often kube-proxy was restarted.
    pub restarts: u32,
    /// When kube-proxy's container was started, in seconds since 1970, by the kubelet's clock.
    pub started: Option<i64>,
    /// Why kube-proxy is waiting to be started, if it is.
    pub waiting: Option<String>,
    /// The template revision that it was created from.
    pub revision: String,
}
