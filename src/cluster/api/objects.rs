//! The fields of Kubernetes objects that kpx-prep reads. Everything else is skipped while parsing, so a list of
//! thousands of pods needs little memory.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{ApiResource, Object};
use serde::Deserialize;

use super::pod_objects::{Condition, PodSpec, PodStatus};

/// A node.
pub type Node = Object<NodeSpec, NodeStatus>;
/// A pod.
pub type Pod = Object<PodSpec, PodStatus>;
/// A `DaemonSet`.
pub type DaemonSet = Object<DaemonSetSpec, DaemonSetStatus>;
/// A Service.
pub type Service = Object<ServiceSpec, ServiceStatus>;

/// `nodes`
pub fn nodes() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&())
}

/// `pods`
pub fn pods() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

/// `daemonsets.apps`
pub fn daemon_sets() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::apps::v1::DaemonSet>(&())
}

/// `services`
pub fn services() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&())
}

/// `spec` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// Its taints.
    pub taints: Vec<Taint>,
}

/// A taint of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its conditions; `Ready` among them.
    pub conditions: Vec<Condition>,
    /// Versions and operating system.
    pub node_info: NodeInfo,
    /// Its addresses and names.
    pub addresses: Vec<NodeAddress>,
}

/// An address or a name of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname` and others.
    pub r#type: String,
    /// The address or name.
    pub address: String,
}

/// The kubelet's information about its machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeInfo {
    /// `linux` or `windows`.
    pub operating_system: String,
    /// The processor, as GOARCH: `amd64`.
    pub architecture: String,
    /// The kubelet's version.
    pub kubelet_version: String,
    /// The kernel's version.
    pub kernel_version: String,
    /// The distribution, by its own name.
    pub os_image: String,
    /// The container runtime, with its version.
    pub container_runtime_version: String,
}

/// `spec` of a `DaemonSet`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetSpec {
    /// Its pods' labels.
    pub selector: LabelSelector,
    /// Its pod template.
    pub template: PodTemplate,
    /// Its update strategy.
    pub update_strategy: UpdateStrategy,
}

/// A pod template.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodTemplate {
    /// Their labels.
    pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    /// Their spec.
    pub spec: PodSpec,
}

/// The update strategy of a `DaemonSet`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateStrategy {
    /// `RollingUpdate` or `OnDelete`.
    pub r#type: String,
    /// Its limits.
    pub rolling_update: RollingUpdate,
}

/// The number of pods replaced at a time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    /// A number or a percentage.
    pub max_unavailable: Option<IntOrString>,
}

/// `status` of a `DaemonSet`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DaemonSetStatus {
    /// The generation observed by the controller.
    pub observed_generation: i64,
    /// Number of nodes that should run a pod.
    pub desired_number_scheduled: usize,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    pub r#type: String,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its cluster IP; `None` or empty if it has none.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// Its cluster IPs, one per family.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Addresses that are routed to the nodes externally.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// `Cluster` or `Local`; empty if it has no external addresses.
    pub external_traffic_policy: String,
    /// The port on every node that says whether it has an endpoint; for a load balancer and the policy `Local`.
    pub health_check_node_port: Option<u16>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// The port on its address.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The port on every node, if it has one.
    pub node_port: Option<u16>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// The load balancer's status.
    pub load_balancer: LoadBalancer,
}

/// The status of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// Addresses.
    pub ingress: Vec<Ingress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// The address, if not a host name.
    pub ip: Option<String>,
}

/// The seconds since 1970 of an object's creation.
pub fn seconds(time: Option<&Time>) -> Option<i64> {
    time.map(|time| time.0.as_second())
}
