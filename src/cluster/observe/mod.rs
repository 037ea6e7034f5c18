//! Reads a cluster: nodes, kube-proxy's `DaemonSet`, `ConfigMap` and pods, and the verified mode of each kube-proxy.

pub mod calico;
pub mod data_plane;
pub mod facts;
pub mod flavour;
pub mod hosts;
pub mod neighbours;
mod node_addresses;
pub mod surroundings;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::api::calls;
use super::api::connection::client::Connection;
use super::api::errors::{code, plain};
use super::api::listed::CONFIG_HASH;
use super::api::objects::{self, DaemonSet, Node};
use super::helper;
use super::kube_proxy::backup;
use super::kube_proxy::config_map::{self, ConfigFacts};
use super::kube_proxy::daemon_set::{ConfigSource, KubeProxy, find};
use super::kube_proxy::pod::PodFacts;
use super::kube_proxy::proof::{How, Proof, Prover};
use crate::exit_code::Refusal;
use crate::mode::ProxyMode;
use crate::report::foreign::foreign;
use facts::{ClusterFacts, NodeFacts};
use flavour::{Flavour, OtherSet};
use neighbours::recognise;
use node_addresses::more_addresses;

/// The label with the template revision of a pod (`DefaultDaemonSetUniqueLabelKey`).
pub const REVISION: &str = "controller-revision-hash";

/// The part of the cluster to observe.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The namespace of kube-proxy's `DaemonSet`, if given.
    pub namespace: Option<String>,
    /// The name of kube-proxy's `DaemonSet`, if given.
    pub daemon_set: Option<String>,
    /// Only these nodes; all if empty.
    pub nodes: Vec<String>,
}

/// Observes a cluster.
///
/// # Errors
/// If a list or object could not be read. A missing object is not an error but a fact.
pub async fn observe(connection: &Connection, scope: &Scope) -> anyhow::Result<ClusterFacts> {
    read(connection, scope).await.map_err(|error| match error.downcast_ref::<Refusal>() {
        None => anyhow::anyhow!("{error:#}; nothing was changed"),
        Some(_) => error,
    })
}

async fn read(connection: &Connection, scope: &Scope) -> anyhow::Result<ClusterFacts> {
    let client = &connection.client;
    let sets = list_daemon_sets(client).await?;
    let found = find(&sets, scope.namespace.as_deref(), scope.daemon_set.as_deref()).map_err(Refusal::usage)?;
    let daemon_sets = sets.iter().map(other_set).collect();
    drop(sets);

    let kube_proxy = found.kube_proxy.as_ref();
    let mut labels = Vec::new();
    let mut nodes = list_nodes(client, |node| {
        labels.extend(node.labels().keys().take(if labels.is_empty() { usize::MAX } else { 0 }).cloned());
        node_facts(node, kube_proxy.is_some_and(|kube_proxy| kube_proxy.wants(node)))
    })
    .await?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    only_named(&mut nodes, &scope.nodes)?;
    let kubeadm = Api::<ConfigMap>::namespaced(client.clone(), "kube-system");
    let has_kubeadm_config = match calls::get(&kubeadm, "kubeadm-config").await {
        Ok(config) => config.is_some(),
        // Not being allowed to read it must not prevent observing kube-proxy.
        Err(error) if code(&error) == Some(403) => true,
        Err(error) => return Err(failed("reading ConfigMap kube-system/kubeadm-config", &error)),
    };
    let mut facts = ClusterFacts {
        server: connection.server.clone(),
        context: connection.context.clone(),
        flavour: Flavour::recognise(&connection.version, &labels, has_kubeadm_config),
        version: connection.version.clone(),
        kube_proxy: found.kube_proxy,
        windows_sets: found.windows,
        elsewhere: found.elsewhere,
        config: None,
        nodes,
        backups: Vec::new(),
        other_run: None,
        helper_programs: Vec::new(),
        daemon_sets,
    };
    if let Some(kube_proxy) = facts.kube_proxy.clone() {
        facts.config = read_config(client, &kube_proxy).await?;
        if let Some(config) = &facts.config {
            let maps = Api::namespaced(client.clone(), &kube_proxy.namespace);
            let ours = match backup::list_all(&maps).await {
                Ok(ours) => ours,
                // Observing does not require the right to list backups.
                Err(error) if code(&error) == Some(403) => Vec::new(),
                Err(error) => return Err(failed("listing the backups", &error)),
            };
            facts.backups = backup::newest_first(&ours, &config.name, &config.key);
            facts.helper_programs = helper::programs_among(&ours);
        }
        let pods = list_pods(client, &kube_proxy).await?;
        place_pods(&mut facts.nodes, pods);
        prove_nodes(connection, &mut facts).await;
    }
    Ok(facts)
}

fn failed(what: &str, error: &kube::Error) -> anyhow::Error {
    anyhow::anyhow!("{what}: {}", plain(error))
}

async fn list_daemon_sets(client: &kube::Client) -> anyhow::Result<Vec<DaemonSet>> {
    let api = Api::all_with(client.clone(), &objects::daemon_sets());
    calls::list(&api, &ListParams::default(), |set: DaemonSet| set)
        .await
        .map_err(|error| failed("listing the DaemonSets of all namespaces", &error))
}

/// All nodes, converted.
///
/// # Errors
/// Errors of the API server.
pub async fn list_nodes<T>(client: &kube::Client, turn: impl FnMut(&Node) -> T) -> anyhow::Result<Vec<T>> {
    let mut turn = turn;
    let api = Api::all_with(client.clone(), &objects::nodes());
    calls::list(&api, &ListParams::default(), |node: Node| turn(&node))
        .await
        .map_err(|error| failed("listing the nodes", &error))
}

/// kube-proxy's pods.
///
/// # Errors
/// Errors of the API server.
pub async fn list_pods(client: &kube::Client, kube_proxy: &KubeProxy) -> anyhow::Result<Vec<PodFacts>> {
    let api = Api::namespaced_with(client.clone(), &kube_proxy.namespace, &objects::pods());
    let mut all = Vec::new();
    for set in kube_proxy.sets() {
        let params = ListParams::default().labels(&set.selector);
        let pods = calls::list(&api, &params, |pod: objects::Pod| pod_facts(&pod, set))
            .await
            .map_err(|error| failed(&format!("listing the pods of kube-proxy in {}", kube_proxy.namespace), &error))?;
        all.extend(pods.into_iter().flatten());
    }
    Ok(all)
}

async fn read_config(client: &kube::Client, kube_proxy: &KubeProxy) -> anyhow::Result<Option<ConfigFacts>> {
    let ConfigSource::ConfigMap { name, key } = &kube_proxy.config else { return Ok(None) };
    let api = Api::<ConfigMap>::namespaced(client.clone(), &kube_proxy.namespace);
    let config_map = calls::get(&api, name)
        .await
        .map_err(|error| failed(&format!("reading ConfigMap {}/{name}", kube_proxy.namespace), &error))?;
    Ok(config_map.as_ref().and_then(|config_map| config_map::read(config_map, key)))
}

fn other_set(set: &DaemonSet) -> OtherSet {
    let template = &set.spec.template;
    let labels = template.metadata.labels.clone().unwrap_or_default();
    OtherSet {
        name: foreign(&format!("{}/{}", set.namespace().unwrap_or_default(), set.name_any())),
        runs: recognise(&labels, &template.spec.containers).into_iter().map(|(who, _)| who).collect(),
    }
}

/// The facts of a node. `wanted`: whether the `DaemonSet` wants a pod there.
pub fn node_facts(node: &Node, wanted: bool) -> NodeFacts {
    let labels = node.labels();
    let status = node.status.clone().unwrap_or_default();
    let role = |name: &str| labels.contains_key(&format!("node-role.kubernetes.io/{name}"));
    NodeFacts {
        name: foreign(&node.name_any()),
        ready: status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True"),
        control_plane: role("control-plane") || role("master"),
        architecture: foreign(&status.node_info.architecture),
        more_addresses: more_addresses(&status.addresses),
        windows: status.node_info.operating_system == "windows"
            || labels.get("kubernetes.io/os").is_some_and(|system| system == "windows"),
        wanted,
        pod: None,
        proof: Proof::default(),
        host: None,
    }
}

/// The facts of a pod; `None` if it does not belong to this `DaemonSet`, or is not scheduled yet.
pub fn pod_facts(pod: &objects::Pod, set: &KubeProxy) -> Option<PodFacts> {
    if !pod.owner_references().iter().any(|owner| owner.uid == set.uid) {
        return None;
    }
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.iter().find(|status| status.name == set.container);
    let image = pod.spec.containers.iter().find(|container| container.name == set.container);
    let waiting =
        container.and_then(|container| container.state.waiting.as_ref()).map(|waiting| waiting.reason.clone());
    Some(PodFacts {
        name: foreign(&pod.name_any()),
        cgroup: pod.annotations().get(CONFIG_HASH).cloned().or(pod.uid()).unwrap_or_default(),
        uid: pod.uid().unwrap_or_default(),
        set: set.uid.clone(),
        container: set.container.clone(),
        node: pod.spec.node_name.clone()?,
        image: image.map(|container| foreign(&container.image)).unwrap_or_default(),
        pull_policy: image.map(|container| container.image_pull_policy.clone()).unwrap_or_default(),
        pull_secrets: pod.spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
        created: objects::seconds(pod.metadata.creation_timestamp.as_ref()).unwrap_or_default(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        phase: foreign(&status.reason.clone().unwrap_or(status.phase)),
        ready: status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True"),
        started: container
            .and_then(|container| container.state.running.as_ref()?.started_at.as_ref())
            .map(|time| time.0.as_second()),
        restarts: container.map_or(0, |container| container.restart_count),
        waiting: waiting.filter(|reason| !reason.is_empty()).map(|reason| foreign(&reason)),
        revision: pod.labels().get(REVISION).cloned().unwrap_or_default(),
    })
}

/// Assigns each node its pod: of several, one that is not being deleted, and then the newest.
pub fn place_pods(nodes: &mut [NodeFacts], mut pods: Vec<PodFacts>) {
    pods.sort_by_key(|pod| (pod.deleting, std::cmp::Reverse(pod.created)));
    for pod in pods {
        if let Ok(at) = nodes.binary_search_by(|node| node.name.cmp(&pod.node)) {
            nodes[at].pod.get_or_insert(pod);
        }
    }
}

async fn prove_nodes(connection: &Connection, facts: &mut ClusterFacts) {
    let Some(kube_proxy) = &facts.kube_proxy else { return };
    let prover = Prover::new(connection, &kube_proxy.namespace, facts.ports(), connection.refusals / 10);
    let mut asked = Vec::new();
    for (index, node) in facts.nodes.iter_mut().enumerate() {
        match &node.pod {
            _ if node.windows || !node.wanted => {}
            None => node.proof = Proof::missing("no kube-proxy pod"),
            Some(pod) if pod.phase == "Running" => asked.push(index),
            Some(pod) => node.proof = Proof::missing(format!("the pod is {}", pod.phase)),
        }
    }
    let nodes = asked.iter().map(|&at| &facts.nodes[at]);
    let pods: Vec<_> = nodes.filter_map(|node| Some((node.pod.as_ref()?, node.ready))).collect();
    let proofs = prover.prove_all(&pods).await;
    for (index, proof) in asked.into_iter().zip(proofs) {
        facts.nodes[index].proof = proof;
    }
    // kube-proxy up to 1.25 reports its fallback from ipvs only in its log.
    if !facts.target().is_ok_and(|mode| mode.traits().needs_modules) || facts.minor() > 25 {
        return;
    }
    let iptables =
        |node: &&mut NodeFacts| node.proof.mode == Some(ProxyMode::Iptables) && node.proof.how == Some(How::ProxyMode);
    let mut suspects: Vec<_> = facts.nodes.iter_mut().filter(iptables).collect();
    let pods: Vec<_> = suspects.iter().filter_map(|node| node.pod.clone()).collect();
    for (node, fell_back) in suspects.iter_mut().zip(prover.fell_back(&pods).await) {
        node.proof.fallback = fell_back;
    }
}

fn only_named(nodes: &mut Vec<NodeFacts>, names: &[String]) -> anyhow::Result<()> {
    let unknown: Vec<_> = names.iter().filter(|name| !nodes.iter().any(|node| node.name == **name)).cloned().collect();
    if !unknown.is_empty() {
        return Err(Refusal::usage(format!("--node: node not found: {}", unknown.join(", "))));
    }
    if !names.is_empty() {
        nodes.retain(|node| names.contains(&node.name));
    }
    Ok(())
}
