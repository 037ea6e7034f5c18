//! The options of `kubeadm-config` and of the commands around it as given: unchecked texts.

use std::path::PathBuf;

use clap::Args;

use super::secret::Unchecked;

/// Options as given. They have kubeadm's names where they mean the same.
#[derive(Args, Clone, Debug, Default)]
pub struct RawOptions {
    /// Kubernetes version: 1.36, v1.36.3 or stable-1.36 [default: that of the local kubeadm, else the newest known]
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,

    /// kube-proxy's settings.
    #[command(flatten)]
    pub proxy: RawProxyOptions,

    /// Stable name or address of the control plane, with or without port
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Cluster")]
    pub control_plane_endpoint: Option<String>,
    /// Additional names and addresses for the API server's certificate
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = "Cluster")]
    pub apiserver_cert_extra_sans: Vec<String>,
    /// Pod address range, or one IPv4 and one IPv6 range
    #[arg(long, value_name = "CIDR[,CIDR]", help_heading = "Cluster")]
    pub pod_network_cidr: Option<String>,
    /// Service address range(s), in the order of the pod ranges [kubeadm's default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR[,CIDR]", help_heading = "Cluster")]
    pub service_cidr: Option<String>,
    /// DNS domain of Services [kubeadm's default: cluster.local]
    #[arg(long, value_name = "DOMAIN", help_heading = "Cluster")]
    pub service_dns_domain: Option<String>,
    /// Registry and path of the control-plane images
    #[arg(long, value_name = "REPOSITORY", help_heading = "Cluster")]
    pub image_repository: Option<String>,
    /// Name of the cluster [kubeadm's default: kubernetes]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub cluster_name: Option<String>,
    /// Feature gates of kubeadm
    #[arg(long, value_name = "NAME=BOOL,...", help_heading = "Cluster")]
    pub feature_gates: Option<String>,

    /// Address that this node's API server advertises
    #[arg(long, value_name = "IP", help_heading = "Node")]
    pub apiserver_advertise_address: Option<String>,
    /// Name of this node [kubeadm's default: the host name]
    #[arg(long, value_name = "NAME", help_heading = "Node")]
    pub node_name: Option<String>,
    /// Socket of the container runtime
    #[arg(long, value_name = "SOCKET", help_heading = "Node")]
    pub cri_socket: Option<String>,

    /// Bootstrap token; prefer --token-file or the environment variable `KPX_PREP_TOKEN`
    #[arg(long, help_heading = "Secrets")]
    pub token: Option<Unchecked>,
    /// File with the bootstrap token
    #[arg(long, value_name = "FILE", conflicts_with = "token", help_heading = "Secrets")]
    pub token_file: Option<PathBuf>,
    /// Lifetime of the token; 0 for no expiry [kubeadm's default: 24h]
    #[arg(long, value_name = "DURATION", help_heading = "Secrets")]
    pub token_ttl: Option<String>,
    /// Key that encrypts the uploaded control-plane certificates; prefer --certificate-key-file or the
    /// environment variable `KPX_PREP_CERTIFICATE_KEY`
    #[arg(long, value_name = "KEY", help_heading = "Secrets")]
    pub certificate_key: Option<Unchecked>,
    /// File with the certificate key
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_key", help_heading = "Secrets")]
    pub certificate_key_file: Option<PathBuf>,

    /// Hash of the cluster's CA certificate: sha256:HASH; repeatable
    #[arg(long, value_name = "HASH", value_delimiter = ',', help_heading = "Joining")]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Join without verifying the cluster CA (insecure: vulnerable to man-in-the-middle)
    #[arg(long, help_heading = "Joining")]
    pub discovery_token_unsafe_skip_ca_verification: bool,
}

/// kube-proxy's settings as given.
#[derive(Args, Clone, Debug, Default)]
pub struct RawProxyOptions {
    /// Proxy mode: ipvs, iptables or nftables [default: ipvs]
    #[arg(long, help_heading = "kube-proxy")]
    pub mode: Option<String>,
    /// IPVS scheduler, such as rr, lc or sh [kube-proxy's default: rr]
    #[arg(long, value_name = "NAME", help_heading = "kube-proxy")]
    pub scheduler: Option<String>,
    /// Enable strict ARP (required by kube-vip and MetalLB)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "kube-proxy")]
    pub strict_arp: Option<bool>,
    /// Ranges whose IPVS virtual servers kube-proxy does not remove
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', help_heading = "kube-proxy")]
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
    /// Interval at which kube-proxy refreshes its rules
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub sync_period: Option<String>,
    /// Minimum interval between two refreshes
    #[arg(long, value_name = "DURATION", help_heading = "kube-proxy")]
    pub min_sync_period: Option<String>,
    /// Node addresses that node ports answer on: ranges, or primary [kube-proxy's default: every address; primary in
    /// nftables mode]
    #[arg(
        long,
        alias = "nodeport-addresses",
        value_name = "CIDR,...",
        value_delimiter = ',',
        help_heading = "kube-proxy"
    )]
    pub node_port_addresses: Vec<String>,
    /// Masquerade all traffic to cluster IPs (required by some CNI plugins)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "kube-proxy")]
    pub masquerade_all: Option<bool>,
    /// Let conntrack accept TCP packets outside of the window
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "kube-proxy")]
    pub conntrack_tcp_be_liberal: Option<bool>,
}
