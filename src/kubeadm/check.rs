//! Checks the options as given; reports all problems together.

use std::net::IpAddr;
use std::path::Path;

use super::endpoint::{Endpoint, check_alternative_name, check_dns_name};
use super::findings::Findings;
use super::formats::{check_ca_cert_hash, check_cri_socket, check_image_repository, feature_gates};
use super::given_options::Scope;
use super::options::{Cluster, Config, Join, KubeadmOptions, Purpose};
use super::proxy::RawSettings;
use super::ranges::Ranges;
use super::raw_options::RawOptions;
use super::secret::{
    CERTIFICATE_KEY_VARIABLE, EXAMPLE_TOKEN, Kind, Secret, TOKEN_VARIABLE, Unchecked, from_environment,
};
use crate::go_duration::duration;
use crate::kubernetes_version::KubernetesVersion;

/// Which secrets are in files on the node and are inserted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnNode {
    /// The bootstrap token.
    pub token: bool,
    /// The certificate key.
    pub certificate_key: bool,
}

impl OnNode {
    /// Whether any secret is in a file on the node.
    pub fn any(self) -> bool {
        self.token || self.certificate_key
    }
}

/// Checks all options together. Returns `None` if there are problems, which are then in `findings`.
///
/// If any secret is on the node, the environment here is not searched for others.
pub fn check(
    raw: &RawOptions,
    purpose: Purpose,
    version: Option<KubernetesVersion>,
    on_node: OnNode,
    findings: &mut Findings,
) -> Option<KubeadmOptions> {
    refuse_misplaced(raw, purpose, findings);
    check_node(raw, findings);
    let token = secret(
        Kind::Token,
        "--token",
        raw.token.as_ref(),
        raw.token_file.as_deref(),
        (!on_node.any()).then_some(TOKEN_VARIABLE),
        findings,
    );
    if token.as_ref().is_some_and(|token| token.reveal() == EXAMPLE_TOKEN) {
        findings.warn(
            "placeholder",
            "the bootstrap token is the example in kubeadm's documentation; anyone can join the cluster with it",
        );
    }
    let certificate_key = if purpose.allows(Scope::CertificateKey) {
        let (given, file) = (raw.certificate_key.as_ref(), raw.certificate_key_file.as_deref());
        secret(
            Kind::CertificateKey,
            "--certificate-key",
            given,
            file,
            (!on_node.any()).then_some(CERTIFICATE_KEY_VARIABLE),
            findings,
        )
    } else {
        None
    };
    let kind = if purpose == Purpose::Init {
        check_cluster(raw, version.as_ref(), findings).map(|cluster| Config::Init(Box::new(cluster)))
    } else {
        if token.is_none() && !on_node.token && raw.token.is_none() && raw.token_file.is_none() {
            findings.problem(
                "--token-file",
                format!("joining requires a bootstrap token: set --token-file, {TOKEN_VARIABLE} or --token (cloud-init and ignition also: --node-token-file)"),
            );
        }
        check_join(raw, purpose, findings).map(Config::Join)
    };
    if purpose == Purpose::JoinControlPlane && certificate_key.is_none() && !on_node.certificate_key {
        findings.warn(
            "certificate-key",
            "no certificate key given; the control-plane certificates must be on the node before it joins",
        );
    }
    let (version, kind) = (version?, kind?);
    findings.problems.is_empty().then(|| KubeadmOptions {
        version,
        node_name: raw.node_name.clone(),
        cri_socket: raw.cri_socket.clone(),
        advertise_address: raw.apiserver_advertise_address.clone(),
        token,
        certificate_key,
        kind,
    })
}

fn refuse_misplaced(raw: &RawOptions, purpose: Purpose, findings: &mut Findings) {
    for option in raw.given().into_iter().filter(|option| !purpose.allows(option.scope)) {
        let why = match option.scope {
            Scope::Proxy => {
                "kube-proxy is configured per cluster (ConfigMap kube-proxy in kube-system), not in a joining node's config"
            }
            Scope::Discovery => "is for joining only; add --join",
            Scope::LocalEndpoint | Scope::CertificateKey => "is for control-plane nodes only; add --control-plane",
            _ => "is set when the cluster is created; a joining node cannot change it",
        };
        findings.problem(option.flag, why);
    }
}

fn secret(
    kind: Kind,
    flag: &str,
    given: Option<&Unchecked>,
    file: Option<&Path>,
    variable: Option<&str>,
    findings: &mut Findings,
) -> Option<Secret> {
    let from_environment = variable.and_then(|name| Some((name, from_environment(name)?)));
    match (given, file, from_environment) {
        (Some(given), ..) => findings.accept(flag, kind.parse(&given.0)),
        (None, Some(file), _) => findings.accept(&format!("{flag}-file"), kind.read(file)),
        (None, None, Some((variable, text))) if !text.is_empty() => findings.accept(variable, kind.parse(&text)),
        _ => None,
    }
}

fn check_node(raw: &RawOptions, findings: &mut Findings) {
    if let Some(name) = &raw.node_name {
        findings.accept("--node-name", check_dns_name(name));
    }
    if let Some(socket) = &raw.cri_socket {
        findings.accept("--cri-socket", check_cri_socket(socket));
    }
    if let Some(address) = &raw.apiserver_advertise_address {
        if address == "1.2.3.4" {
            findings.warn(
                "placeholder",
                "--apiserver-advertise-address: 1.2.3.4 is the placeholder from kubeadm config print init-defaults",
            );
        }
        match address.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
                findings.problem("--apiserver-advertise-address", format!("other nodes cannot reach {address}"));
            }
            Ok(_) => {}
            Err(_) => findings.problem("--apiserver-advertise-address", format!("{address:?} is not an IP address")),
        }
    }
}

fn check_cluster(raw: &RawOptions, version: Option<&KubernetesVersion>, findings: &mut Findings) -> Option<Cluster> {
    let proxy = RawSettings::from_options(&raw.proxy);
    // Without a version, the rest is checked for the newest version that runs every mode.
    let mode = proxy.check(version.map_or(34, KubernetesVersion::minor), findings);
    if let Some(mode) = &mode {
        proxy.refuse_ipvs_only(mode, findings);
    }
    if let Some(endpoint) = &raw.control_plane_endpoint {
        findings.accept("--control-plane-endpoint", endpoint.parse::<Endpoint>());
    }
    for name in &raw.apiserver_cert_extra_sans {
        findings.accept("--apiserver-cert-extra-sans", check_alternative_name(name));
    }
    if let Some(domain) = &raw.service_dns_domain {
        findings.accept("--service-dns-domain", check_dns_name(domain));
    }
    if let Some(repository) = &raw.image_repository {
        findings.accept("--image-repository", check_image_repository(repository));
    }
    if let Some(name) = &raw.cluster_name
        && (name.is_empty() || name.contains(|c: char| c.is_control()))
    {
        findings.problem("--cluster-name", format!("{name:?} is not a name"));
    }
    if let Some(ttl) = &raw.token_ttl
        && findings.accept("--token-ttl", duration(ttl)).is_some_and(|ttl| ttl < 0)
    {
        findings.problem("--token-ttl", format!("{ttl:?}: a duration cannot be negative"));
    }
    let gates = raw.feature_gates.as_deref().map(feature_gates).map(|gates| findings.accept("--feature-gates", gates));
    let gates = gates.unwrap_or_else(|| Some(Vec::new())).unwrap_or_default();
    let ranges = Ranges {
        pods: raw.pod_network_cidr.as_deref().map(|text| ("--pod-network-cidr".to_owned(), text)),
        services: raw.service_cidr.as_deref().map(|text| ("--service-cidr".to_owned(), text)),
    };
    let dual_stack = ranges.check(raw.apiserver_advertise_address.as_deref(), findings);
    // kubeadm's own gate: off by default until 1.20.
    let gate_is_on = gates.iter().any(|(name, on)| name == "IPv6DualStack" && *on);
    if let (Some(place), Some(version)) = (dual_stack, version)
        && version.minor() < 21
        && !gate_is_on
    {
        findings.problem(
            place,
            format!("kubeadm {version} accepts two ranges only with --feature-gates IPv6DualStack=true"),
        );
    }
    Some(Cluster {
        proxy,
        mode: mode?,
        endpoint: raw.control_plane_endpoint.clone(),
        cert_sans: raw.apiserver_cert_extra_sans.clone(),
        pod_subnet: raw.pod_network_cidr.clone(),
        service_subnet: raw.service_cidr.clone(),
        dns_domain: raw.service_dns_domain.clone(),
        image_repository: raw.image_repository.clone(),
        name: raw.cluster_name.clone(),
        feature_gates: gates,
        token_ttl: raw.token_ttl.clone(),
    })
}

fn check_join(raw: &RawOptions, purpose: Purpose, findings: &mut Findings) -> Option<Join> {
    for hash in &raw.discovery_token_ca_cert_hash {
        findings.accept("--discovery-token-ca-cert-hash", check_ca_cert_hash(hash));
    }
    let skip = raw.discovery_token_unsafe_skip_ca_verification;
    match (raw.discovery_token_ca_cert_hash.is_empty(), skip) {
        (true, false) => findings.problem(
            "--discovery-token-ca-cert-hash",
            "joining requires the hash of the cluster's CA certificate (kubeadm token create --print-join-command prints it), \
             or --discovery-token-unsafe-skip-ca-verification",
        ),
        (false, true) => findings.problem(
            "--discovery-token-unsafe-skip-ca-verification",
            "contradicts --discovery-token-ca-cert-hash; remove one of them",
        ),
        (true, true) => findings.warn("unverified-ca", "the cluster's CA certificate is not verified (insecure: vulnerable to man-in-the-middle)"),
        (false, false) => {}
    }
    let Some(endpoint) = &raw.control_plane_endpoint else {
        findings.problem("--control-plane-endpoint", "joining requires the cluster's endpoint");
        return None;
    };
    let endpoint: Endpoint = findings.accept("--control-plane-endpoint", endpoint.parse())?;
    Some(Join {
        endpoint: endpoint.with_port(),
        ca_cert_hashes: raw.discovery_token_ca_cert_hash.clone(),
        skip_ca_verification: skip,
        control_plane: purpose == Purpose::JoinControlPlane,
    })
}
