//! Checked options. A function with a parameter of this type cannot get invalid input.

use super::given_options::Scope;
use super::proxy::{Mode, RawSettings};
use super::secret::Secret;
use crate::kubernetes_version::KubernetesVersion;

/// The purpose of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `kubeadm init`: a new cluster's first control-plane node.
    Init,
    /// `kubeadm join` of a worker.
    JoinWorker,
    /// `kubeadm join` of an additional control-plane node.
    JoinControlPlane,
}

impl Purpose {
    pub(super) fn allows(self, scope: Scope) -> bool {
        match scope {
            Scope::Version | Scope::Endpoint | Scope::Node | Scope::Token => true,
            Scope::Proxy | Scope::Cluster | Scope::TokenTtl => self == Self::Init,
            Scope::LocalEndpoint | Scope::CertificateKey => self != Self::JoinWorker,
            Scope::Discovery => self != Self::Init,
        }
    }
}

/// A checked set of options.
#[derive(Clone, Debug)]
pub struct KubeadmOptions {
    /// The Kubernetes version.
    pub version: KubernetesVersion,
    /// The node's name.
    pub node_name: Option<String>,
    /// The container runtime's socket.
    pub cri_socket: Option<String>,
    /// The address of the node's own API server.
    pub advertise_address: Option<String>,
    /// The bootstrap token.
    pub token: Option<Secret>,
    /// The certificate key.
    pub certificate_key: Option<Secret>,
    /// The part that only `init` or only `join` has.
    pub kind: Config,
}

/// The part of the config that does not concern the node itself.
#[derive(Clone, Debug)]
pub enum Config {
    /// A new cluster.
    Init(Box<Cluster>),
    /// An existing one.
    Join(Join),
}

/// A new cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// kube-proxy's settings.
    pub proxy: RawSettings,
    /// kube-proxy's mode and gate.
    pub mode: Mode,
    /// `controlPlaneEndpoint`
    pub endpoint: Option<String>,
    /// `apiServer.certSANs`
    pub cert_sans: Vec<String>,
    /// `networking.podSubnet`
    pub pod_subnet: Option<String>,
    /// `networking.serviceSubnet`
    pub service_subnet: Option<String>,
    /// `networking.dnsDomain`
    pub dns_domain: Option<String>,
    /// `imageRepository`
    pub image_repository: Option<String>,
    /// `clusterName`
    pub name: Option<String>,
    /// `featureGates` of kubeadm
    pub feature_gates: Vec<(String, bool)>,
    /// Lifetime of the bootstrap token.
    pub token_ttl: Option<String>,
}

/// How a node joins.
#[derive(Clone, Debug)]
pub struct Join {
    /// `host:port` of the API server.
    pub endpoint: String,
    /// Hashes of the CA certificate.
    pub ca_cert_hashes: Vec<String>,
    /// Join without verifying the CA certificate.
    pub skip_ca_verification: bool,
    /// Whether it joins as a control-plane node.
    pub control_plane: bool,
}
