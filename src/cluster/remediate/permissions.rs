//! Checks with the API server whether the user has all permissions for `remediate`, all in parallel.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::cluster::api::calls::retried;
use crate::cluster::api::lock::lease;
use crate::cluster::helper::groups;

/// A permission that a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core's.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource, or empty.
    pub subresource: &'static str,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// The scope.
    pub scope: Scope,
    /// The object.
    pub object: Object,
}

/// The scope of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In kube-proxy's namespace.
    Namespace,
}

/// The objects to which a permission is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// Not limited by name: for list and create, or if names are generated or contain a hash.
    Any,
    /// kube-proxy's `DaemonSet`.
    KubeProxy,
    /// kube-proxy's namespace itself.
    Namespace,
    /// An object with this name: kpx-prep's Lease, the node helper's `DaemonSet`.
    Named(&'static str),
}

/// The names of the objects in a cluster.
#[derive(Clone, Debug)]
pub struct Names {
    /// kube-proxy's namespace.
    pub namespace: String,
    /// kube-proxy's `DaemonSet`s.
    pub daemon_sets: Vec<String>,
}

impl Object {
    /// Its names in a cluster; a single `None` if it is not limited by name.
    pub fn names(self, names: &Names) -> Vec<Option<&str>> {
        match self {
            Self::Any => vec![None],
            Self::KubeProxy => names.daemon_sets.iter().map(|name| Some(name.as_str())).collect(),
            Self::Namespace => vec![Some(&names.namespace)],
            Self::Named(name) => vec![Some(name)],
        }
    }
}

const fn permission(
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
    object: Object,
) -> Permission {
    Permission { group, resource, subresource, verbs, scope, object }
}

use Object::{Any, KubeProxy, Named};
use Scope::{Cluster, Namespace as InNamespace};

/// The permissions for `status`. `kubeadm/status-rbac.yaml` grants exactly these.
///
/// `get` and `create` on portforward: a WebSocket needs `create` from Kubernetes 1.35 on, and `get` before.
pub const OF_STATUS: [Permission; 7] = [
    permission("", "nodes", "", &["list"], Cluster, Any),
    permission("apps", "daemonsets", "", &["list"], Cluster, Any),
    permission("", "pods", "", &["list"], InNamespace, Any),
    permission("", "pods", "log", &["get"], InNamespace, Any),
    permission("", "pods", "portforward", &["get", "create"], InNamespace, Any),
    permission("", "configmaps", "", &["get", "list"], InNamespace, Any),
    permission("coordination.k8s.io", "leases", "", &["get"], InNamespace, Named(lease::NAME)),
];

/// The additional permissions for `remediate`. `kubeadm/remediate-rbac.yaml` grants exactly these and those of status.
pub const OF_REMEDIATE: [Permission; 10] = [
    permission("", "nodes", "", &["get"], Cluster, Any),
    permission("", "pods", "", &["list"], Cluster, Any),
    permission("", "services", "", &["list"], Cluster, Any),
    permission("apps", "daemonsets", "", &["get"], InNamespace, KubeProxy),
    permission("apps", "controllerrevisions", "", &["list"], InNamespace, Any),
    permission("", "pods", "", &["watch", "delete"], InNamespace, Any),
    permission("", "configmaps", "", &["create", "patch", "delete"], InNamespace, Any),
    permission("coordination.k8s.io", "leases", "", &["create"], InNamespace, Any),
    permission("coordination.k8s.io", "leases", "", &["update", "delete"], InNamespace, Named(lease::NAME)),
    permission("events.k8s.io", "events", "", &["create"], InNamespace, Any),
];

/// The permission for `--mode none` and its rollback: the one write to kube-proxy's `DaemonSet`; `kubeadm/remediate-rbac.yaml`
/// grants it.
pub const OF_PARKING: [Permission; 1] = [permission("apps", "daemonsets", "", &["patch"], InNamespace, KubeProxy)];

/// The permissions for reading Calico's configuration. Without them only the environment of its pods is used;
/// `kubeadm/remediate-rbac.yaml` grants them.
pub const OF_CALICO: [Permission; 2] = [
    permission("crd.projectcalico.org", "felixconfigurations", "", &["get"], Cluster, Named("default")),
    permission("operator.tigera.io", "installations", "", &["get"], Cluster, Named("default")),
];

/// The permissions for the node helper; `kubeadm/remediate-rbac.yaml` grants these too.
///
/// `get` and `create` on exec: as on portforward.
pub const OF_HELPER: [Permission; 8] = [
    permission("", "namespaces", "", &["get"], Cluster, Object::Namespace),
    permission("apps", "daemonsets", "", &["create"], InNamespace, Any),
    permission("apps", "daemonsets", "", &["get", "patch", "delete"], InNamespace, Named(groups::NAMES[0])),
    permission("apps", "daemonsets", "", &["get", "patch", "delete"], InNamespace, Named(groups::NAMES[1])),
    permission("apps", "daemonsets", "", &["get", "patch", "delete"], InNamespace, Named(groups::NAMES[2])),
    permission("apps", "daemonsets", "", &["get", "patch", "delete"], InNamespace, Named(groups::NAMES[3])),
    // Why a pod was not created.
    permission("", "events", "", &["list"], InNamespace, Any),
    permission("", "pods", "exec", &["get", "create"], InNamespace, Any),
];

/// Why the helper's pods would be refused: the namespace enforces a pod security standard without privileged pods.
/// `None` if it does not, or cannot be read.
pub async fn pod_security(client: &Client, namespace: &str) -> Option<String> {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    let read = Api::<Namespace>::all(client.clone());
    let found = retried(|| read.get_metadata_opt(namespace)).await.ok()??;
    let level = found.metadata.labels?.remove(LABEL).filter(|level| level != "privileged")?;
    Some(format!("namespace {namespace} has the label {LABEL}={level}, so it would refuse the node helper's pods"))
}

/// The missing permissions, such as `delete pods in kube-system`; `helper`: whether the node helper is needed; `more`: further
/// ones.
///
/// # Errors
/// If the API server does not answer the review.
pub async fn missing(client: &Client, names: &Names, helper: bool, more: &[Permission]) -> kube::Result<Vec<String>> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let of_helper = OF_HELPER.iter().filter(|_| helper);
    let questions = OF_STATUS.iter().chain(&OF_REMEDIATE).chain(of_helper).chain(more).flat_map(|permission| {
        let api = &api;
        let objects = permission.object.names(names).into_iter();
        objects.flat_map(move |name| {
            permission.verbs.iter().map(move |verb| ask(api, permission, verb, &names.namespace, name))
        })
    });
    let answers: kube::Result<Vec<_>> = join_all(questions).await.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

/// The description of a permission, if it is missing.
async fn ask(
    api: &Api<SelfSubjectAccessReview>,
    permission: &Permission,
    verb: &str,
    namespace: &str,
    name: Option<&str>,
) -> kube::Result<Option<String>> {
    let namespaced = permission.scope == InNamespace;
    let attributes = ResourceAttributes {
        group: Some(permission.group.to_owned()),
        resource: Some(permission.resource.to_owned()),
        subresource: (!permission.subresource.is_empty()).then(|| permission.subresource.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespaced.then(|| namespace.to_owned()),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let post = PostParams::default();
    let answer = retried(|| api.create(&post, &review)).await?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(None);
    }
    let dot = if permission.group.is_empty() { String::new() } else { format!(".{}", permission.group) };
    let slash = if permission.subresource.is_empty() { String::new() } else { format!("/{}", permission.subresource) };
    let name = name.map(|name| format!(" {name}")).unwrap_or_default();
    let place = if namespaced { format!("in {namespace}") } else { "in all namespaces".to_owned() };
    Ok(Some(format!("{verb} {}{dot}{slash}{name} {place}", permission.resource)))
}
