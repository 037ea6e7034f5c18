//! What can be wrong with a kubeadm file before kubeadm reads it: kinds, API versions, placeholders, ranges.

use super::api_version::ApiVersion;
use super::endpoint::{Endpoint, check_dns_name};
use super::existing_file::place;
use super::problem::Findings;
use super::proxy::{self, IPVS_FIELDS};
use super::ranges::Ranges;
use super::secret::EXAMPLE_TOKEN;
use crate::feature_gates::{READ_UP_TO, Verdict, in_config, verdict};
use crate::kubernetes_version::KubernetesVersion;
use crate::report::foreign::foreign;
use crate::yaml::Node;

/// The kinds that a kubeadm file can hold, each with its API group.
const KINDS: [(&str, &str); 7] = [
    ("InitConfiguration", "kubeadm.k8s.io/"),
    ("ClusterConfiguration", "kubeadm.k8s.io/"),
    ("JoinConfiguration", "kubeadm.k8s.io/"),
    ("ResetConfiguration", "kubeadm.k8s.io/"),
    ("UpgradeConfiguration", "kubeadm.k8s.io/"),
    ("KubeProxyConfiguration", proxy::API_VERSION),
    ("KubeletConfiguration", "kubelet.config.k8s.io/v1beta1"),
];

/// Which document is what; by their numbers in the file, from 0.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) proxy: Option<usize>,
    pub(super) cluster: Option<usize>,
    init: Option<usize>,
    /// Kind, document and the API version of those of kubeadm's own group.
    kubeadm: Vec<(&'static str, usize, ApiVersion)>,
}

impl Kinds {
    /// Sorts the documents; what kubeadm would not understand is a problem.
    pub(super) fn find(name: &str, roots: &[&Node], findings: &mut Findings) -> Self {
        let mut found = Self::default();
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for (index, root) in roots.iter().enumerate() {
            if root.is_null() {
                findings.warn(format!(
                    "{name}:{}: a document with nothing in it (or comments only), which kubeadm may refuse",
                    root.line
                ));
                continue;
            }
            let text = |key: &str| root.get(&[key]).and_then(|node| Some((node, node.text()?)));
            let (Some((kind_node, kind)), Some((api_node, api))) = (text("kind"), text("apiVersion")) else {
                findings.problem(place(name, root, "kind"), "every document needs apiVersion and kind");
                continue;
            };
            let Some((kind, group)) = KINDS.into_iter().find(|(known, _)| *known == kind) else {
                let meant = KINDS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(kind));
                let meant = meant.map_or(String::new(), |(known, _)| format!("; did you mean {known}?"));
                findings
                    .problem(place(name, kind_node, "kind"), format!("{kind:?} is nothing that kubeadm reads{meant}"));
                continue;
            };
            let kubeadm_api = ApiVersion::from_group_version(api);
            let right = if group.ends_with('/') { kubeadm_api.is_some() } else { api == group };
            if !right {
                let expected = if group.ends_with('/') { "kubeadm.k8s.io/v1beta2, v1beta3 or v1beta4" } else { group };
                findings.problem(
                    place(name, api_node, "apiVersion"),
                    format!("{api:?} has no {kind}; expected {expected}"),
                );
                continue;
            }
            if let Some((_, first)) = seen.iter().find(|(seen, _)| *seen == kind) {
                findings.problem(
                    place(name, kind_node, "kind"),
                    format!("a second {kind} (first in line {first}); kubeadm takes one"),
                );
                continue;
            }
            seen.push((kind, kind_node.line));
            found.kubeadm.extend(kubeadm_api.map(|api| (kind, index, api)));
            match kind {
                "KubeProxyConfiguration" => found.proxy = Some(index),
                "ClusterConfiguration" => found.cluster = Some(index),
                "InitConfiguration" => found.init = Some(index),
                _ => {}
            }
        }
        if found.cluster.is_none() && found.init.is_none() {
            for (kind, index, _) in found.kubeadm.iter().filter(|(kind, ..)| *kind == "JoinConfiguration") {
                findings.problem(
                    place(name, roots[*index], "kind"),
                    format!("a file with {kind} alone: kubeadm join reads no KubeProxyConfiguration, the mode is the cluster's"),
                );
            }
        }
        found
    }
}

/// Checks the documents that stay as they are.
pub(super) fn check_documents(
    name: &str,
    kinds: &Kinds,
    roots: &[&Node],
    version: Option<&KubernetesVersion>,
    findings: &mut Findings,
) {
    for (kind, index, api) in &kinds.kubeadm {
        let (Some(version), Some(node)) = (version, roots[*index].get(&["apiVersion"])) else {
            continue;
        };
        let (first, last) = api.read_by();
        if version.minor() < first || last.is_some_and(|last| version.minor() > last) {
            let use_it = ApiVersion::for_minor(version.minor()).group_version();
            findings.problem(
                place(name, node, "apiVersion"),
                format!(
                    "kubeadm {version} does not read {} ({kind}); it reads {use_it} (kubeadm config migrate converts)",
                    api.group_version()
                ),
            );
        }
    }
    if let Some(index) = kinds.cluster {
        check_cluster(name, roots[index], findings);
    }
    if let Some(index) = kinds.init {
        warn_of_placeholders(name, roots[index], findings);
    }
    for index in kinds.cluster.into_iter().chain(kinds.init) {
        find_misplaced(name, roots[index], findings);
    }
    if let Some(index) = kinds.proxy {
        warn_of_proxy_fields(name, roots[index], findings);
        if let Some(version) = version {
            check_gates(name, roots[index], version, findings);
        }
    }
}

/// kube-proxy's settings in a document of kubeadm's, where they have no effect: how a cluster that was to run ipvs
/// ends up with `mode: ""` (kubernetes/kubeadm issue 1182, kubernetes/kubernetes issues 70096 and 105534).
fn find_misplaced(name: &str, root: &Node, findings: &mut Findings) {
    for field in ["mode", "ipvs", "kubeProxy"] {
        if let Some(node) = root.get(&[field]) {
            findings.warn(format!(
                "{}: has no effect here; kube-proxy's settings belong in a KubeProxyConfiguration document",
                place(name, node, field)
            ));
        }
    }
    for gate in ["KubeProxyIPVS", "NFTablesProxyMode", "SupportIPVSProxyMode"] {
        if let Some(node) = root.get(&["featureGates", gate]) {
            findings.problem(
                place(name, node, &format!("featureGates.{gate}")),
                "is a gate of kube-proxy, and kubeadm refuses it here; remove it (kpx-prep sets in the KubeProxyConfiguration what a version needs)",
            );
        }
    }
}

fn warn_of_proxy_fields(name: &str, root: &Node, findings: &mut Findings) {
    for (key, _) in root.get(&["ipvs"]).map(Node::entries).unwrap_or_default() {
        let field = key.text().unwrap_or_default();
        if !IPVS_FIELDS.contains(&field) {
            let meant = IPVS_FIELDS.into_iter().find(|known| known.eq_ignore_ascii_case(field));
            let meant = meant.map_or(String::new(), |known| format!("; did you mean {known}?"));
            findings.warn(format!(
                "{}: kube-proxy knows no such field and ignores it{meant}",
                place(name, key, &format!("ipvs.{field}"))
            ));
        }
    }
}

/// Gates that kube-proxy of this version does not start with: a cluster whose nodes have no kube-proxy.
fn check_gates(name: &str, root: &Node, version: &KubernetesVersion, findings: &mut Findings) {
    for gate in in_config::written(root) {
        let place = place(name, gate.node, &format!("featureGates.{}", foreign(gate.name)));
        let Some(value) = gate.value else {
            findings.problem(place, "must be true or false, without quotes");
            continue;
        };
        match verdict(gate.name, value, version.minor()) {
            Verdict::Taken => {}
            Verdict::Refused(why) => {
                findings.problem(place, format!("kube-proxy {version} exits with this gate: it {why}"));
            }
            Verdict::Unknown => findings.warn(format!(
                "{place}: whether kube-proxy {version} has this gate is not known (checked up to 1.{READ_UP_TO}); it exits with one that it does not have"
            )),
        }
    }
}

fn check_cluster(name: &str, root: &Node, findings: &mut Findings) {
    let given = |path: &[&str]| {
        let node = root.get(path)?;
        let text = node.text().filter(|text| !text.is_empty() && !node.is_null())?;
        Some((place(name, node, &path.join(".")), text))
    };
    let ranges =
        Ranges { pods: given(&["networking", "podSubnet"]), services: given(&["networking", "serviceSubnet"]) };
    ranges.check(None, findings);
    if let Some((place, domain)) = given(&["networking", "dnsDomain"]) {
        findings.accept(&place, check_dns_name(domain));
    }
    if let Some((place, endpoint)) = given(&["controlPlaneEndpoint"]) {
        findings.accept(&place, endpoint.parse::<Endpoint>());
    }
}

/// `kubeadm config print init-defaults` fills in examples that make a cluster which does not work or is not safe.
fn warn_of_placeholders(name: &str, root: &Node, findings: &mut Findings) {
    let token = |node: &Node| node.get(&["token"]).cloned();
    let tokens: Vec<Node> =
        root.get(&["bootstrapTokens"]).map(Node::items).unwrap_or_default().iter().filter_map(token).collect();
    let nodes = [
        (root.get(&["localAPIEndpoint", "advertiseAddress"]), "localAPIEndpoint.advertiseAddress", "1.2.3.4"),
        (root.get(&["nodeRegistration", "name"]), "nodeRegistration.name", "node"),
        (tokens.iter().find(|token| token.text() == Some(EXAMPLE_TOKEN)), "bootstrapTokens", EXAMPLE_TOKEN),
    ];
    for (node, field, placeholder) in nodes {
        if let Some(node) = node.filter(|node| node.text() == Some(placeholder)) {
            findings.warn(format!(
                "{}: is the placeholder of kubeadm config print init-defaults",
                place(name, node, field)
            ));
        }
    }
}
