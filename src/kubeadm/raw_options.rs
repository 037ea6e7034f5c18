//! The options of `kubeadm-config` and `cloud-init` as they are given: texts, nothing checked.

use std::path::PathBuf;

use clap::Args;

use super::secret::Unchecked;

/// Options as given. The names are kubeadm's own where they mean the same.
#[derive(Args, Clone, Debug, Default)]
pub struct RawOptions {
    /// Kubernetes version: 1.36, v1.36.3 or stable-1.36 [default: the local kubeadm's, else the newest known]
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,

    /// Proxy mode: ipvs, iptables or nftables [default: ipvs]
    #[arg(long, help_heading = "kube-proxy")]
    pub mode: Option<String>,
    /// IPVS scheduler, such as rr, lc or sh [default: kube-proxy's, rr]
    #[arg(long, value_name = "NAME", help_heading = "kube-proxy")]
    pub scheduler: Option<String>,
    /// Answer ARP only for addresses of the receiving interface; kube-vip and metallb need it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "kube-proxy")]
    pub strict_arp: Option<bool>,
    /// Virtual servers in these ranges are left alone by kube-proxy
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',', help_heading = "kube-proxy")]
    pub exclude_cidrs: Vec<String>,
    /// Idle timeout of IPVS TCP sessions, such as 15m
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub tcp_timeout: Option<String>,
    /// Timeout of IPVS TCP sessions after a FIN
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub tcp_fin_timeout: Option<String>,
    /// Timeout of IPVS UDP sessions
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub udp_timeout: Option<String>,
    /// How often kube-proxy refreshes its rules
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub sync_period: Option<String>,
    /// How long kube-proxy waits at least between two refreshes
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub min_sync_period: Option<String>,

    /// A stable name or address for the control plane, with or without port
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Cluster")]
    pub control_plane_endpoint: Option<String>,
    /// Further names and addresses for the API server's certificate
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Cluster")]
    pub apiserver_cert_extra_sans: Vec<String>,
    /// The pods' addresses: one range, or one IPv4 and one IPv6 range
    #[arg(long, value_name = "CIDR[,CIDR]", help_heading = "Cluster")]
    pub pod_network_cidr: Option<String>,
    /// The services' addresses, in the order of the pods' [kubeadm's default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR[,CIDR]", help_heading = "Cluster")]
    pub service_cidr: Option<String>,
    /// DNS domain of the services [kubeadm's default: cluster.local]
    #[arg(long, value_name = "DOMAIN", help_heading = "Cluster")]
    pub service_dns_domain: Option<String>,
    /// Registry and path to pull control-plane images from
    #[arg(long, value_name = "REPOSITORY", help_heading = "Cluster")]
    pub image_repository: Option<String>,
    /// The cluster's name [kubeadm's default: kubernetes]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub cluster_name: Option<String>,
    /// kubeadm's feature gates
    #[arg(long, value_name = "NAME=BOOL,…", help_heading = "Cluster")]
    pub feature_gates: Option<String>,

    /// The address that this node's API server announces
    #[arg(long, value_name = "IP", help_heading = "Node")]
    pub apiserver_advertise_address: Option<String>,
    /// This node's name [kubeadm's default: the host name]
    #[arg(long, value_name = "NAME", help_heading = "Node")]
    pub node_name: Option<String>,
    /// The container runtime's socket
    #[arg(long, value_name = "SOCKET", help_heading = "Node")]
    pub cri_socket: Option<String>,

    /// Bootstrap token; better by --token-file or the environment: `KPX_PREP_TOKEN`
    #[arg(long, help_heading = "Secrets")]
    pub token: Option<Unchecked>,
    /// File that holds the bootstrap token
    #[arg(long, value_name = "FILE", conflicts_with = "token", help_heading = "Secrets")]
    pub token_file: Option<PathBuf>,
    /// How long the token is valid; 0 for ever [kubeadm's default: 24h]
    #[arg(long, value_name = "DURATION", help_heading = "Secrets")]
    pub token_ttl: Option<String>,
    /// Key that control-plane certificates are shared with; better by --certificate-key-file or
    /// the environment: `KPX_PREP_CERTIFICATE_KEY`
    #[arg(long, value_name = "KEY", help_heading = "Secrets")]
    pub certificate_key: Option<Unchecked>,
    /// File that holds the certificate key
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_key", help_heading = "Secrets")]
    pub certificate_key_file: Option<PathBuf>,

    /// Hash of the cluster's CA certificate, to join by: sha256:…; may be repeated
    #[arg(long, value_name = "HASH", value_delimiter = ',', help_heading = "Joining")]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Join without checking the cluster's CA certificate: whoever answers is believed
    #[arg(long, help_heading = "Joining")]
    pub discovery_token_unsafe_skip_ca_verification: bool,
}
