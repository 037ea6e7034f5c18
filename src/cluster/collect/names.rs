//! All names that a bundle may hold.

use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::bundle::anonymizer::{Anonymizer, NameKind};
use crate::cluster::api::calls;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::plain;
use crate::cluster::api::objects::{self, Node, Pod, Service};
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::list_nodes;

/// Namespaces of Kubernetes itself: what runs there is named by its software, and is needed to help.
const SYSTEM: &str = "kube-system";

/// Knows the names of nodes, Services, pods, namespaces, `DaemonSet`s, and of the cluster's access.
///
/// # Errors
/// If they cannot be listed: a name that is not known would stay.
pub(super) async fn anonymizer(connection: &Connection, facts: &ClusterFacts) -> anyhow::Result<Anonymizer> {
    let client = &connection.client;
    let unlisted = |what: &str, error: &kube::Error| {
        anyhow::anyhow!(
            "--anonymize: listing the {what}, whose names must be replaced: {}. Nothing was written",
            plain(error)
        )
    };
    let mut anonymizer = Anonymizer::default();
    for names in list_nodes(client, names_of).await? {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        anonymizer.add_all(NameKind::Node, &names);
    }
    let own = facts.kube_proxy.as_ref().map_or(SYSTEM, |kube_proxy| &kube_proxy.namespace);
    let is_system = |namespace: &str| namespace == SYSTEM || namespace == own;
    let (of_services, of_pods) = (objects::services(), objects::pods());
    let services = Api::all_with(client.clone(), &of_services);
    let services = calls::list(&services, &ListParams::default(), |service: Service| place(service.metadata)).await;
    let services = services.map_err(|error| unlisted("Services", &error))?;
    let pods = Api::all_with(client.clone(), &of_pods);
    let pods = calls::list(&pods, &ListParams::default(), |pod: Pod| place(pod.metadata)).await;
    let pods = pods.map_err(|error| unlisted("pods", &error))?;
    let sets: Vec<_> = facts.daemon_sets.iter().filter_map(|set| set.name.split_once('/')).collect();
    let mut named: Vec<(NameKind, &str, &str)> = Vec::new();
    named.extend(services.iter().map(|(namespace, name)| (NameKind::Service, namespace.as_str(), name.as_str())));
    named.extend(sets.iter().map(|(namespace, name)| (NameKind::DaemonSet, *namespace, *name)));
    named.extend(pods.iter().map(|(namespace, name)| (NameKind::Pod, namespace.as_str(), name.as_str())));
    named.sort_unstable_by(|a, b| (a.1, a.2).cmp(&(b.1, b.2)));
    for (_, namespace, _) in &named {
        anonymizer.add(NameKind::Namespace, namespace);
    }
    for (kind, namespace, name) in &named {
        // Static pods have their node's name in theirs, which is replaced in any case.
        if !is_system(namespace) {
            anonymizer.add(*kind, name);
        }
    }
    if let Some(context) = &facts.context {
        anonymizer.add(NameKind::Context, context);
        // As kubeadm names them: kubernetes-admin@kubernetes.
        for part in context.split(['@', '/', ':']) {
            anonymizer.add(NameKind::Context, part);
        }
    }
    if let Some(host) = facts.server.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(ToOwned::to_owned)) {
        anonymizer.add(NameKind::Host, &host);
    }
    if let Some(run) = &facts.other_run {
        // HOST/PROCESS/START of another machine.
        anonymizer.add(NameKind::Host, run.holder.split('/').next().unwrap_or_default());
    }
    let images = facts.kube_proxy.iter().map(|set| set.image.as_str());
    for registry in images.chain(facts.nodes.iter().filter_map(|node| Some(node.pod.as_ref()?.image.as_str()))) {
        if let Some(host) = private_registry(registry) {
            // Not its first label alone, which may be any word.
            anonymizer.add(NameKind::Domain, host);
        }
    }
    Ok(anonymizer)
}

/// The host of an image's registry, unless it is one that everybody uses. As containerd reads references: what is before the
/// first slash is a host if it has a dot or a port, or is localhost (`splitDockerDomain`, distribution/reference).
fn private_registry(image: &str) -> Option<&str> {
    const PUBLIC: [&str; 8] = [
        "docker.io",
        "gcr.io",
        "ghcr.io",
        "k8s.gcr.io",
        "mcr.microsoft.com",
        "public.ecr.aws",
        "quay.io",
        "registry.k8s.io",
    ];
    let (host, _) = image.split_once('/')?;
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    ((name.contains('.') || port.is_some()) && !PUBLIC.contains(&name)).then_some(name)
}

/// Its name, and its other names.
fn names_of(node: &Node) -> Vec<String> {
    let status = node.status.clone().unwrap_or_default();
    let others = status.addresses.into_iter().map(|address| address.address);
    [node.name_any()].into_iter().chain(others).collect()
}

fn place(metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> (String, String) {
    (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::private_registry;

    #[test]
    fn registries_that_belong_to_someone() {
        for (image, host) in [
            ("registry.k8s.io/kube-proxy:v1.35.6", None),
            ("kube-proxy:v1.35.6", None),
            ("library/kube-proxy", None),
            ("localhost/kube-proxy", None),
            ("harbor.corp.example/k8s/kube-proxy@sha256:00", Some("harbor.corp.example")),
            ("mirror:5000/kube-proxy:v1.35.6", Some("mirror")),
        ] {
            assert_eq!(private_registry(image), host, "{image}");
        }
    }
}
