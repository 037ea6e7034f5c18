//! The fields of pods and pod templates that kpx-prep reads.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

/// `spec` of a pod, and of a pod template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Its node.
    pub node_name: Option<String>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Whether it uses the host network.
    pub host_network: bool,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Its affinity.
    pub affinity: Affinity,
    /// Its tolerations.
    pub tolerations: Vec<Toleration>,
    /// The Secrets with which its images are pulled.
    pub image_pull_secrets: Vec<NamedSecret>,
}

/// A Secret of the pod's namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamedSecret {
    /// Its name.
    pub name: String,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub image_pull_policy: String,
    /// The command, if not the image's.
    pub command: Vec<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// Environment variables with plain values.
    pub env: Vec<EnvVar>,
    /// Its ports.
    pub ports: Vec<ContainerPort>,
    /// Its volume mounts.
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
    /// The host port.
    pub host_port: Option<i32>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
}

/// A volume mount of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeMount {
    /// The volume.
    pub name: String,
    /// The mount path.
    pub mount_path: String,
    /// The sub-path.
    pub sub_path: Option<String>,
}

/// A volume of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The `ConfigMap` in it.
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
    /// The file names of keys; all keys under their own names if empty.
    pub items: Vec<KeyToPath>,
}

/// A key of a `ConfigMap` and its file name.
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
    /// The node affinity.
    pub node_affinity: NodeAffinity,
}

/// `nodeAffinity`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// The required terms.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
}

/// Alternative terms; a node must match one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelector {
    /// The alternatives.
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that a node must match together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSelectorTerm {
    /// On labels.
    pub match_expressions: Vec<Requirement>,
    /// On fields; only `metadata.name` exists.
    pub match_fields: Vec<Requirement>,
}

/// A requirement for a label or field.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// The label or field.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`.
    pub operator: String,
    /// The values to compare with.
    pub values: Vec<String>,
}

/// A toleration of a pod.
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
    /// Why it is not running.
    pub reason: Option<String>,
}

/// The status of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Its number of restarts.
    pub restart_count: u32,
    /// Its state.
    pub state: ContainerState,
}

/// The state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Waiting, with the reason.
    pub waiting: Option<Waiting>,
    /// Running, with the start time.
    pub running: Option<Running>,
}

/// The start of a running container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// By its kubelet's clock.
    pub started_at: Option<Time>,
}

/// Why a container is waiting.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// In one word: `CrashLoopBackOff`.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// A condition of a node or pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Its type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason, in one word.
    pub reason: String,
}
