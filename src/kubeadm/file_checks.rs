//! Checks of an existing kubeadm file: API versions, placeholders, gates, settings in the wrong place.

use super::api_version::ApiVersion;
use super::cluster_document;
use super::findings::{Findings, place};
use super::kinds::Kinds;
use super::proxy::IPVS_FIELDS;
use super::secret::EXAMPLE_TOKEN;
use crate::feature_gates::{READ_UP_TO, Verdict, in_config, verdict};
use crate::kubernetes_version::KubernetesVersion;
use crate::report::foreign::foreign;
use crate::yaml::Node;

/// Checks the documents that are not edited.
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
        check_api_version(&place(name, node, "apiVersion"), kind, *api, version, findings);
    }
    if let Some(index) = kinds.cluster {
        cluster_document::check(name, roots[index], version.map_or(34, KubernetesVersion::minor), findings);
    }
    if let Some(index) = kinds.init {
        warn_of_placeholders(name, roots[index], findings);
    }
    warn_of_no_kube_proxy(name, kinds, roots, findings);
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

/// kube-proxy's settings in one of kubeadm's documents, where they have no effect: a cluster meant to run ipvs
/// then has `mode: ""` (kubernetes/kubeadm issue 1182, kubernetes/kubernetes issues 70096 and 105534).
fn find_misplaced(name: &str, root: &Node, findings: &mut Findings) {
    for field in ["mode", "ipvs", "kubeProxy"] {
        if let Some(node) = root.get(&[field]) {
            findings.warn(
                "no-effect",
                format!(
                    "{}: has no effect here; move kube-proxy's settings to a KubeProxyConfiguration document",
                    place(name, node, field)
                ),
            );
        }
    }
    for gate in ["KubeProxyIPVS", "NFTablesProxyMode", "SupportIPVSProxyMode"] {
        if let Some(node) = root.get(&["featureGates", gate]) {
            findings.problem(
                place(name, node, &format!("featureGates.{gate}")),
                "is a gate of kube-proxy, and kubeadm refuses it here; remove it (kpx-prep sets it in the KubeProxyConfiguration if the version needs it)",
            );
        }
    }
}

/// With `proxy.disabled` (v1beta4), or without its phase, kubeadm installs no kube-proxy
/// (<https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/>).
fn warn_of_no_kube_proxy(name: &str, kinds: &Kinds, roots: &[&Node], findings: &mut Findings) {
    let is_true = |node: &&Node| node.text().is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let disabled = kinds.cluster.and_then(|index| roots[index].get(&["proxy", "disabled"])).filter(is_true);
    let phases = kinds.init.and_then(|index| roots[index].get(&["skipPhases"])).map(Node::items).unwrap_or_default();
    let is_its_phase = |node: &&Node| matches!(node.text(), Some("addon" | "addon/kube-proxy"));
    let found = disabled.map(|node| (node, "proxy.disabled")).into_iter();
    for (node, field) in found.chain(phases.iter().filter(is_its_phase).map(|node| (node, "skipPhases"))) {
        findings.warn("kube-proxy-not-installed", format!(
            "{}: because of this entry kubeadm does not install kube-proxy, so the mode has no effect; remove it if kube-proxy should run",
            place(name, node, field)
        ));
    }
}

fn warn_of_proxy_fields(name: &str, root: &Node, findings: &mut Findings) {
    for (key, _) in root.get(&["ipvs"]).map(Node::entries).unwrap_or_default() {
        let field = key.text().unwrap_or_default();
        if !IPVS_FIELDS.contains(&field) {
            let meant = IPVS_FIELDS.into_iter().find(|known| known.eq_ignore_ascii_case(field));
            let meant = meant.map_or(String::new(), |known| format!("; did you mean {known}?"));
            findings.warn(
                "config-unknown-field",
                format!("{}: unknown field, ignored by kube-proxy{meant}", place(name, key, &format!("ipvs.{field}"))),
            );
        }
    }
}

/// Gates with which kube-proxy of this version does not start: the nodes would have no kube-proxy.
fn check_gates(name: &str, root: &Node, version: &KubernetesVersion, findings: &mut Findings) {
    for gate in in_config::written(root) {
        let place = place(name, gate.node, &format!("featureGates.{}", foreign(gate.name)));
        let Some(value) = gate.value else {
            findings.problem(place, "must be true or false, without quotes");
            continue;
        };
        match verdict(gate.name, value, version.minor()) {
            Verdict::Taken => {}
            Verdict::Refused(why) if why.is_certain(version.minor()) => {
                findings.problem(place, format!("kube-proxy {version} exits with this gate, which {why}; remove it"));
            }
            Verdict::Refused(why) => {
                findings.warn("feature-gates", format!("{place}: kube-proxy {version} exits with this gate, which {why} (some builds only log it); remove it"));
            }
            Verdict::Unknown => findings.warn("feature-gates", format!(
                "{place}: cannot check whether kube-proxy {version} has this gate (known up to 1.{READ_UP_TO}); it exits with an unknown gate"
            )),
        }
    }
}

/// kubeadm refuses a version that is too old for every kind, and one that is too new only for kinds that `init` reads.
fn check_api_version(place: &str, kind: &str, api: ApiVersion, version: &KubernetesVersion, findings: &mut Findings) {
    let (first, last) = api.read_by();
    let (old, use_it) = (api.group_version(), ApiVersion::for_minor(version.minor()).group_version());
    if let Some(last) = last.filter(|last| version.minor() > *last) {
        findings.problem(
            place,
            format!(
                "kubeadm {version} does not read {old} ({kind}); it reads {use_it} (convert with kubeadm config migrate of kubeadm 1.{} to 1.{last})",
                api.converted_from().unwrap_or(first)
            ),
        );
    } else if version.minor() < first {
        let message = format!("kubeadm {version} does not read {old} ({kind}); it reads {use_it}");
        if matches!(kind, "InitConfiguration" | "ClusterConfiguration") {
            findings.problem(place, message);
        } else {
            findings.warn("api-version", format!("{place}: {message}"));
        }
    }
}

/// `kubeadm config print init-defaults` contains placeholders with which a cluster does not work or is not safe.
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
            findings.warn(
                "placeholder",
                format!("{}: is the placeholder from kubeadm config print init-defaults", place(name, node, field)),
            );
        }
    }
}
