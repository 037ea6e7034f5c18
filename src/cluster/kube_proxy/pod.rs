//! A pod of kube-proxy as it was observed.

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
