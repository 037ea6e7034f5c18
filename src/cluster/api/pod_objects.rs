//! The parts of pods and pod templates that kpx-prep reads.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

/// `spec` of a pod, and of a pod template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Where it runs.
    pub node_name: Option<String>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What the containers mount.
    pub volumes: Vec<Volume>,
    /// Whether it lives in the node's network.
    pub host_network: bool,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Further demands on the node.
    pub affinity: Affinity,
    /// Taints that it does not mind.
    pub tolerations: Vec<Toleration>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The command, if not the image's.
    pub command: Vec<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// Environment variables with plain values.
    pub env: Vec<EnvVar>,
    /// Ports, for those of the host.
    pub ports: Vec<ContainerPort>,
    /// Where volumes appear.
    pub volume_mounts: Vec<VolumeMount>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its plain value, if it has one.
    pub value: Option<String>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// The node's port that leads to it.
    pub host_port: Option<i32>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
}

/// Where a volume appears in a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume.
    pub name: String,
    /// Where.
    pub mount_path: String,
    /// One file of it only.
    pub sub_path: Option<String>,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The `ConfigMap` it shows.
    pub config_map: Option<ConfigMapVolume>,
    /// Several sources in one.
    pub projected: Option<Projected>,
}

/// A volume made of a `ConfigMap`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigMapVolume {
    /// The `ConfigMap`.
    pub name: String,
    /// Which keys appear under which file names; all under their own if empty.
    pub items: Vec<KeyToPath>,
}

/// A key of a `ConfigMap` and the file it appears as.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyToPath {
    /// The key.
    pub key: String,
    /// The file.
    pub path: String,
}

/// A volume of several sources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Projected {
    /// The sources.
    pub sources: Vec<ProjectedSource>,
}

/// One source of a projected volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectedSource {
    /// A `ConfigMap`.
    pub config_map: Option<ConfigMapVolume>,
}

/// `affinity`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Affinity {
    /// The part about nodes.
    pub node_affinity: NodeAffinity,
}

/// `nodeAffinity`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// What a node must have.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
}

/// Alternatives, of which a node must meet one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The alternatives.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Demands that a node must meet together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// On labels.
    pub match_expressions: Vec<Requirement>,
    /// On fields; only `metadata.name` exists.
    pub match_fields: Vec<Requirement>,
}

/// A demand on one label or field.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Which label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// What it is compared with.
    pub values: Vec<String>,
}

/// A taint that a pod does not mind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Toleration {
    /// The key; all if empty.
    pub key: String,
    /// `Exists` or `Equal`.
    pub operator: String,
    /// The value.
    pub value: String,
    /// The effect; all if empty.
    pub effect: String,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running` and so on.
    pub phase: String,
    /// `Ready` among them.
    pub conditions: Vec<Condition>,
    /// One per container.
    pub container_statuses: Vec<ContainerStatus>,
    /// Why it is not running, in one word.
    pub reason: Option<String>,
}

/// How a container is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// What it does now.
    pub state: ContainerState,
}

/// What a container does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// It waits, and why.
    pub waiting: Option<Waiting>,
    /// It runs, and since when.
    pub running: Option<Running>,
}

/// Since when a container runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// By its kubelet's clock.
    pub started_at: Option<Time>,
}

/// Why a container waits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// In one word: `CrashLoopBackOff`.
    pub reason: String,
}

/// A condition of a node or pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which one.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
}
