//! Renders checked options as kubeadm documents. Only what was given is written, and the proxy mode always.

use super::api_version::ApiVersion;
use super::options::{Cluster, Config, Join, KubeadmOptions};
use super::proxy::{self, Mode, RawSettings};
use crate::yaml::Value;

/// The documents with comments, separated by `---`.
///
/// There is no comment before the first `---`: kubeadm would read it as a document without a kind.
pub fn render(options: &KubeadmOptions) -> String {
    let api = ApiVersion::for_minor(options.version.minor()).group_version();
    match &options.kind {
        Config::Init(cluster) => [
            init(options, cluster, api),
            cluster_configuration(options, cluster, api),
            proxy_configuration(&cluster.proxy, &cluster.mode),
            kubelet_configuration(),
        ]
        .join("---\n"),
        Config::Join(join) => join_configuration(options, join, api),
    }
}

/// Builds a mapping without the fields that are not given.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn of_kind(api_version: &str, kind: &str) -> Self {
        Self::default().text("apiVersion", Some(api_version)).text("kind", Some(kind))
    }

    fn with(mut self, key: &str, value: Option<Value>) -> Self {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
        self
    }

    fn text(self, key: &str, text: Option<&str>) -> Self {
        self.with(key, text.map(Value::from))
    }

    fn some(self, key: &str, value: Value) -> Self {
        let value = (!value.is_empty()).then_some(value);
        self.with(key, value)
    }

    fn map(self) -> Value {
        Value::Map(self.0)
    }
}

fn init(options: &KubeadmOptions, cluster: &Cluster, api: &str) -> String {
    let token = Fields::default()
        .text("token", options.token.as_ref().map(super::secret::Secret::reveal))
        .text("ttl", cluster.token_ttl.as_deref())
        .map();
    let tokens = if token.is_empty() { Vec::new() } else { vec![token] };
    let body = Fields::of_kind(api, "InitConfiguration")
        .some("bootstrapTokens", Value::Seq(tokens))
        .some("localAPIEndpoint", local_endpoint(options))
        .some("nodeRegistration", node_registration(options))
        .text("certificateKey", options.certificate_key.as_ref().map(super::secret::Secret::reveal));
    format!(
        "# kubeadm config for Kubernetes {}, kube-proxy in {} mode. Written by kpx-prep.\n\
         # Use: kubeadm init --config FILE{}\n{}",
        options.version,
        cluster.mode.mode,
        if cluster.mode.mode.traits().is_prepared {
            format!(", on nodes prepared with {}.", cluster.mode.mode.install_command())
        } else {
            String::new()
        },
        body.map().to_block()
    )
}

fn local_endpoint(options: &KubeadmOptions) -> Value {
    Fields::default().text("advertiseAddress", options.advertise_address.as_deref()).map()
}

fn node_registration(options: &KubeadmOptions) -> Value {
    Fields::default().text("name", options.node_name.as_deref()).text("criSocket", options.cri_socket.as_deref()).map()
}

fn cluster_configuration(options: &KubeadmOptions, cluster: &Cluster, api: &str) -> String {
    let networking = Fields::default()
        .text("podSubnet", cluster.pod_subnet.as_deref())
        .text("serviceSubnet", cluster.service_subnet.as_deref())
        .text("dnsDomain", cluster.dns_domain.as_deref())
        .map();
    let gates = cluster.feature_gates.iter().map(|(name, on)| (name.clone(), Value::Bool(*on))).collect();
    Fields::of_kind(api, "ClusterConfiguration")
        .text("kubernetesVersion", Some(options.version.for_kubeadm()))
        .text("clusterName", cluster.name.as_deref())
        .text("controlPlaneEndpoint", cluster.endpoint.as_deref())
        .text("imageRepository", cluster.image_repository.as_deref())
        .some("networking", networking)
        .some("apiServer", Fields::default().some("certSANs", Value::strings(&cluster.cert_sans)).map())
        .some("featureGates", Value::Map(gates))
        .map()
        .to_block()
}

/// A whole `KubeProxyConfiguration`, with a comment.
pub fn proxy_configuration(settings: &RawSettings, mode: &Mode) -> String {
    let mut fields = Fields::of_kind(proxy::API_VERSION, "KubeProxyConfiguration").0;
    for (path, value) in settings.to_write(mode) {
        insert(&mut fields, &path, value);
    }
    let gate = mode.gate.map_or(String::new(), |gate| {
        format!("# Without the gate {gate}, kube-proxy of this version does not start in {} mode.\n", mode.mode)
    });
    format!(
        "# The mode is always set: an empty mode means iptables before Kubernetes 1.40, and nftables from 1.40 on.\n{gate}{}",
        Value::Map(fields).to_block()
    )
}

fn insert(fields: &mut Vec<(String, Value)>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => fields.push(((*key).to_owned(), value)),
        [key, rest @ ..] => {
            let at = fields.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                fields.push(((*key).to_owned(), Value::Map(Vec::new())));
                fields.len() - 1
            });
            if let Value::Map(inner) = &mut fields[at].1 {
                insert(inner, rest, value);
            }
        }
    }
}

fn kubelet_configuration() -> String {
    let body =
        Fields::of_kind("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration").text("cgroupDriver", Some("systemd"));
    format!("# The container runtime must use the systemd cgroup driver too.\n{}", body.map().to_block())
}

fn join_configuration(options: &KubeadmOptions, join: &Join, api: &str) -> String {
    let discovery = Fields::default()
        .text("apiServerEndpoint", Some(&join.endpoint))
        .text("token", options.token.as_ref().map(super::secret::Secret::reveal))
        .some("caCertHashes", Value::strings(&join.ca_cert_hashes))
        .with("unsafeSkipCAVerification", join.skip_ca_verification.then_some(Value::Bool(true)));
    let control_plane = Fields::default()
        .some("localAPIEndpoint", local_endpoint(options))
        .text("certificateKey", options.certificate_key.as_ref().map(super::secret::Secret::reveal));
    // An empty mapping matters: it makes the node a control-plane node.
    let body = Fields::of_kind(api, "JoinConfiguration")
        .some("discovery", Fields::default().some("bootstrapToken", discovery.map()).map())
        .some("nodeRegistration", node_registration(options))
        .with("controlPlane", join.control_plane.then(|| control_plane.map()));
    format!(
        "# kubeadm config to join a {} node to a Kubernetes {} cluster. Written by kpx-prep.\n\
         # Use: kubeadm join --config FILE, on a node prepared with kpx-prep node install.\n\
         # kube-proxy's mode is not set here but per cluster (ConfigMap kube-proxy in kube-system).\n{}",
        if join.control_plane { "control-plane" } else { "worker" },
        options.version,
        body.map().to_block()
    )
}
