//! Whether the operator may do all that `remediate` does; asked of the API server, all at once.

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, PostParams};

use super::api::retried;

/// group, resource, subresource, verbs, whether in kube-proxy's namespace only. `kubeadm/remediate-rbac.yaml` grants
/// exactly these.
///
/// `get` and `create` on portforward: from Kubernetes 1.35 a WebSocket needs the one, before it the other.
pub const NEEDED: [(&str, &str, &str, &[&str], bool); 12] = [
    ("", "nodes", "", &["get", "list"], false),
    ("", "pods", "", &["list"], false),
    ("", "services", "", &["list"], false),
    ("apps", "daemonsets", "", &["list"], false),
    ("apps", "daemonsets", "", &["get"], true),
    ("apps", "controllerrevisions", "", &["list"], true),
    ("", "pods", "", &["watch", "delete"], true),
    ("", "pods", "log", &["get"], true),
    ("", "pods", "portforward", &["get", "create"], true),
    ("", "configmaps", "", &["get", "list", "create", "patch", "delete"], true),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update"], true),
    ("events.k8s.io", "events", "", &["create"], true),
];

/// The same for the node helper; `kubeadm/remediate-rbac.yaml` grants these too.
///
/// `get` and `create` on exec: as on portforward.
pub const NEEDED_BY_HELPER: [(&str, &str, &str, &[&str], bool); 3] = [
    ("", "namespaces", "", &["get"], false),
    ("apps", "daemonsets", "", &["create", "delete", "patch"], true),
    ("", "pods", "exec", &["get", "create"], true),
];

/// Why the helper's pods would be refused: the namespace enforces a pod security standard that knows no privileged pods.
/// Nothing if it does not, or cannot be read.
pub async fn pod_security(client: &Client, namespace: &str) -> Option<String> {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    let read = Api::<Namespace>::all(client.clone());
    let found = retried(|| read.get_metadata_opt(namespace)).await.ok()??;
    let level = found.metadata.labels?.remove(LABEL).filter(|level| level != "privileged")?;
    Some(format!("namespace {namespace} has {LABEL}={level}: it would refuse the pods of the node helper"))
}

/// What is missing, as `delete pods in kube-system`; `helper`: whether the node helper is to run.
///
/// # Errors
/// If the API server does not answer the question.
pub async fn missing(client: &Client, namespace: &str, helper: bool) -> kube::Result<Vec<String>> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let of_helper = NEEDED_BY_HELPER.iter().filter(|_| helper);
    let questions = NEEDED.iter().chain(of_helper).flat_map(|&(group, resource, subresource, verbs, namespaced)| {
        let api = &api;
        verbs.iter().map(move |verb| async move {
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                verb: Some((*verb).to_owned()),
                namespace: namespaced.then(|| namespace.to_owned()),
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
            let allowed = answer.status.is_some_and(|status| status.allowed);
            let dot = if group.is_empty() { String::new() } else { format!(".{group}") };
            let slash = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
            let place = if namespaced { format!("in {namespace}") } else { "in all namespaces".to_owned() };
            Ok((!allowed).then(|| format!("{verb} {resource}{dot}{slash} {place}")))
        })
    });
    let answers: kube::Result<Vec<_>> = join_all(questions).await.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}
