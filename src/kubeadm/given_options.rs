//! Which options were given, the scope of each, and which field of a kubeadm config it sets: one table for commands
//! that accept only some of them, and for passing them on.

use super::raw_options::RawOptions;

/// The scope of an option; decides where it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The Kubernetes version.
    Version,
    /// kube-proxy's config.
    Proxy,
    /// `ClusterConfiguration`.
    Cluster,
    /// The control plane's endpoint.
    Endpoint,
    /// A node's registration.
    Node,
    /// A control-plane node's own endpoint.
    LocalEndpoint,
    /// The bootstrap token.
    Token,
    /// The bootstrap token's lifetime.
    TokenTtl,
    /// The certificate key.
    CertificateKey,
    /// How a joining node finds its cluster.
    Discovery,
}

/// An option that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOption {
    /// Its name, with dashes.
    pub flag: &'static str,
    /// Its scope.
    pub scope: Scope,
    /// The field of a kubeadm config that it sets.
    pub field: &'static str,
    /// Its value as one argument; empty for a switch and for a secret or its file.
    pub value: String,
}

type Reader = fn(&RawOptions) -> Option<String>;

/// Every option, in the order of the help: name, scope, field, value if given.
const OPTIONS: &[(&str, Scope, &str, Reader)] = &[
    ("--kubernetes-version", Scope::Version, "kubernetesVersion", |raw| raw.kubernetes_version.clone()),
    ("--mode", Scope::Proxy, "mode", |raw| raw.proxy.mode.clone()),
    ("--scheduler", Scope::Proxy, "ipvs.scheduler", |raw| raw.proxy.scheduler.clone()),
    ("--strict-arp", Scope::Proxy, "ipvs.strictARP", |raw| raw.proxy.strict_arp.map(|value| value.to_string())),
    ("--exclude-cidrs", Scope::Proxy, "ipvs.excludeCIDRs", |raw| list(&raw.proxy.exclude_cidrs)),
    ("--tcp-timeout", Scope::Proxy, "ipvs.tcpTimeout", |raw| raw.proxy.tcp_timeout.clone()),
    ("--tcp-fin-timeout", Scope::Proxy, "ipvs.tcpFinTimeout", |raw| raw.proxy.tcp_fin_timeout.clone()),
    ("--udp-timeout", Scope::Proxy, "ipvs.udpTimeout", |raw| raw.proxy.udp_timeout.clone()),
    ("--sync-period", Scope::Proxy, "syncPeriod", |raw| raw.proxy.sync_period.clone()),
    ("--min-sync-period", Scope::Proxy, "minSyncPeriod", |raw| raw.proxy.min_sync_period.clone()),
    ("--node-port-addresses", Scope::Proxy, "nodePortAddresses", |raw| list(&raw.proxy.node_port_addresses)),
    ("--masquerade-all", Scope::Proxy, "masqueradeAll", |raw| raw.proxy.masquerade_all.map(|value| value.to_string())),
    ("--conntrack-tcp-be-liberal", Scope::Proxy, "conntrack.tcpBeLiberal", |raw| {
        raw.proxy.conntrack_tcp_be_liberal.map(|value| value.to_string())
    }),
    ("--control-plane-endpoint", Scope::Endpoint, "controlPlaneEndpoint", |raw| raw.control_plane_endpoint.clone()),
    ("--apiserver-cert-extra-sans", Scope::Cluster, "apiServer.certSANs", |raw| list(&raw.apiserver_cert_extra_sans)),
    ("--pod-network-cidr", Scope::Cluster, "networking.podSubnet", |raw| raw.pod_network_cidr.clone()),
    ("--service-cidr", Scope::Cluster, "networking.serviceSubnet", |raw| raw.service_cidr.clone()),
    ("--service-dns-domain", Scope::Cluster, "networking.dnsDomain", |raw| raw.service_dns_domain.clone()),
    ("--image-repository", Scope::Cluster, "imageRepository", |raw| raw.image_repository.clone()),
    ("--cluster-name", Scope::Cluster, "clusterName", |raw| raw.cluster_name.clone()),
    ("--feature-gates", Scope::Cluster, "featureGates", |raw| raw.feature_gates.clone()),
    ("--apiserver-advertise-address", Scope::LocalEndpoint, "localAPIEndpoint.advertiseAddress", |raw| {
        raw.apiserver_advertise_address.clone()
    }),
    ("--node-name", Scope::Node, "nodeRegistration.name", |raw| raw.node_name.clone()),
    ("--cri-socket", Scope::Node, "nodeRegistration.criSocket", |raw| raw.cri_socket.clone()),
    ("--token-ttl", Scope::TokenTtl, "bootstrapTokens[0].ttl", |raw| raw.token_ttl.clone()),
    ("--discovery-token-ca-cert-hash", Scope::Discovery, "discovery.bootstrapToken.caCertHashes", |raw| {
        list(&raw.discovery_token_ca_cert_hash)
    }),
    ("--token", Scope::Token, "bootstrapTokens[0].token", |raw| hidden(raw.token.is_some())),
    ("--token-file", Scope::Token, "bootstrapTokens[0].token", |raw| hidden(raw.token_file.is_some())),
    ("--certificate-key", Scope::CertificateKey, "certificateKey", |raw| hidden(raw.certificate_key.is_some())),
    ("--certificate-key-file", Scope::CertificateKey, "certificateKey", |raw| {
        hidden(raw.certificate_key_file.is_some())
    }),
    (
        "--discovery-token-unsafe-skip-ca-verification",
        Scope::Discovery,
        "discovery.bootstrapToken.unsafeSkipCAVerification",
        |raw| hidden(raw.discovery_token_unsafe_skip_ca_verification),
    ),
];

fn list(items: &[String]) -> Option<String> {
    (!items.is_empty()).then(|| items.join(","))
}

fn hidden(given: bool) -> Option<String> {
    given.then(String::new)
}

impl RawOptions {
    /// Every option that was given, in the order of the help.
    pub fn given(&self) -> Vec<GivenOption> {
        OPTIONS
            .iter()
            .filter_map(|(flag, scope, field, read)| {
                Some(GivenOption { flag, scope: *scope, field, value: read(self)? })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn the_table_has_every_option() {
        let command = RawOptions::augment_args(Command::new("x"));
        for argument in command.get_arguments() {
            let flag = format!("--{}", argument.get_long().expect("only long options"));
            assert!(OPTIONS.iter().any(|(known, ..)| *known == flag), "{flag} is missing");
            let value = if argument.get_action().takes_values() { Some("=true") } else { None };
            let argument = format!("{flag}{}", value.unwrap_or_default());
            let matches = command.clone().get_matches_from(["x", &argument]);
            let given = RawOptions::from_arg_matches(&matches).unwrap().given();
            assert_eq!(given.len(), 1, "{flag}");
            assert_eq!(given[0].flag, flag);
        }
    }
}
