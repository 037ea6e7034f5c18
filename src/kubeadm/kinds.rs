//! The kinds of the documents of a kubeadm file, by kubeadm's own rules: `kubeadm init` refuses a document without
//! apiVersion and kind, one of the core group (`v1`), a duplicate kind, and a component config in another version; it ignores
//! every other unknown document (`cmd/kubeadm/app/util/marshal.go`, `util/config/initconfiguration.go`,
//! `componentconfigs/configset.go`).

use super::api_version::ApiVersion;
use super::findings::{Findings, place};
use super::proxy;
use crate::report::foreign::foreign;
use crate::yaml::Node;

/// kubeadm's API group.
const KUBEADM: &str = "kubeadm.k8s.io/";
/// The kinds in it.
const KUBEADM_KINDS: [&str; 5] =
    ["InitConfiguration", "ClusterConfiguration", "JoinConfiguration", "ResetConfiguration", "UpgradeConfiguration"];
/// The component configs, each with its version.
const COMPONENTS: [(&str, &str); 2] =
    [("KubeProxyConfiguration", proxy::API_VERSION), ("KubeletConfiguration", "kubelet.config.k8s.io/v1beta1")];

/// The kind of each document; documents are numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) proxy: Option<usize>,
    pub(super) cluster: Option<usize>,
    pub(super) init: Option<usize>,
    /// Kind, document and the API version of those of kubeadm's own group.
    pub(super) kubeadm: Vec<(&'static str, usize, ApiVersion)>,
    /// Whether one that `kubeadm init` needs exists in an unknown version.
    unknown_version: bool,
}

impl Kinds {
    /// Identifies the documents; what kubeadm would refuse is a problem, what it would ignore a warning.
    pub(super) fn find(name: &str, roots: &[&Node], findings: &mut Findings) -> Self {
        let mut found = Self::default();
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for (index, root) in roots.iter().enumerate().filter(|(_, root)| !root.is_null()) {
            let text = |key: &str| root.get(&[key]).and_then(|node| Some((node, node.text()?)));
            let (Some((kind_node, kind)), Some((api_node, api))) = (text("kind"), text("apiVersion")) else {
                findings.problem(place(name, root, "kind"), "every document must have apiVersion and kind");
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(seen, _)| *seen == kind) {
                findings.problem(
                    place(name, kind_node, "kind"),
                    format!("a second {} (the first is at line {first}); kubeadm accepts one", foreign(kind)),
                );
                continue;
            }
            seen.push((kind, kind_node.line));
            if let Some((component, version)) =
                COMPONENTS.into_iter().find(|(known, version)| *known == kind || group(version) == group(api))
            {
                if (kind, api) == (component, version) {
                    found.proxy = if component == "KubeProxyConfiguration" { Some(index) } else { found.proxy };
                } else if kind == component {
                    findings.problem(
                        place(name, api_node, "apiVersion"),
                        format!("{:?} has no {kind}; expected {version}", foreign(api)),
                    );
                } else {
                    let meant = if kind.eq_ignore_ascii_case(component) {
                        format!("did you mean {component}?")
                    } else {
                        format!("in that group it reads only {component}")
                    };
                    findings.problem(
                        place(name, kind_node, "kind"),
                        format!("kubeadm does not read {:?}; {meant}", foreign(kind)),
                    );
                }
            } else if api.starts_with(KUBEADM) {
                found.add_of_kubeadm(name, index, (kind_node, kind), (api_node, api), findings);
            } else if api.contains('/') {
                let meant =
                    KUBEADM_KINDS.contains(&kind).then(|| format!(" ({kind} belongs to the group kubeadm.k8s.io)"));
                findings.warn(
                    "ignored-document",
                    format!(
                        "{}: kubeadm ignores {} of {}{}",
                        place(name, kind_node, "kind"),
                        foreign(kind),
                        foreign(api),
                        meant.unwrap_or_default()
                    ),
                );
            } else {
                findings.problem(
                    place(name, api_node, "apiVersion"),
                    format!(
                        "kubeadm refuses a file with a document of {:?} ({}); move it to a separate file",
                        foreign(api),
                        foreign(kind)
                    ),
                );
            }
        }
        if found.cluster.is_none() && found.init.is_none() {
            found.check_alone(name, roots, &seen, findings);
        }
        found
    }

    /// Checks for a file without the documents that `kubeadm init` needs. Component configs alone may be part of one.
    fn check_alone(&self, name: &str, roots: &[&Node], seen: &[(&str, usize)], findings: &mut Findings) {
        if let Some((kind, index, _)) = self.kubeadm.iter().find(|(kind, ..)| *kind == "JoinConfiguration") {
            findings.problem(
                place(name, roots[*index], "kind"),
                format!(
                    "the file has only a {kind}: kubeadm join does not read a KubeProxyConfiguration; the mode is set per cluster"
                ),
            );
        } else if !self.unknown_version
            && seen.iter().any(|(kind, _)| COMPONENTS.iter().all(|(known, _)| known != kind))
        {
            findings.problem(
                name,
                "kubeadm init refuses a file without a ClusterConfiguration or InitConfiguration that it can read",
            );
        }
    }

    fn add_of_kubeadm(
        &mut self,
        name: &str,
        index: usize,
        (kind_node, kind): (&Node, &str),
        (api_node, api): (&Node, &str),
        findings: &mut Findings,
    ) {
        let Some(known) = KUBEADM_KINDS.into_iter().find(|known| *known == kind) else {
            let meant = KUBEADM_KINDS.into_iter().find(|known| known.eq_ignore_ascii_case(kind));
            let meant = meant.map_or(String::new(), |known| format!("; did you mean {known}?"));
            let place = place(name, kind_node, "kind");
            findings.warn(
                "ignored-document",
                format!("{place}: kubeadm does not have the kind {:?} and ignores it{meant}", foreign(kind)),
            );
            return;
        };
        let place = place(name, api_node, "apiVersion");
        match ApiVersion::from_group_version(api) {
            Some(version) => {
                self.kubeadm.push((known, index, version));
                match known {
                    "ClusterConfiguration" => self.cluster = Some(index),
                    "InitConfiguration" => self.init = Some(index),
                    _ => {}
                }
            }
            None if api.contains("/v1alpha") => findings.problem(
                place,
                format!(
                    "{:?} is older than Kubernetes 1.15; convert it with kubeadm config migrate of a kubeadm that reads it",
                    foreign(api)
                ),
            ),
            None if matches!(known, "ClusterConfiguration" | "InitConfiguration") => {
                self.unknown_version = true;
                findings.problem(
                    place,
                    format!(
                        "{:?} ({known}) is unknown to kpx-prep, which supports kubeadm.k8s.io/v1beta1 to v1beta4; kubeadm config print init-defaults shows the version that your kubeadm reads",
                        foreign(api)
                    ),
                );
            }
            None => findings.warn("ignored-document", format!(
                "{place}: {:?} ({known}) is unknown to kpx-prep; kubeadm init does not read it",
                foreign(api)
            )),
        }
    }
}

/// Whether this is one of the documents of which `kubeadm init` needs one.
pub(super) fn is_for_init(root: &Node) -> bool {
    let text = |key: &str| root.get(&[key]).and_then(Node::text).unwrap_or_default();
    text("apiVersion").starts_with(KUBEADM) && matches!(text("kind"), "ClusterConfiguration" | "InitConfiguration")
}

/// `kubeproxy.config.k8s.io` of `kubeproxy.config.k8s.io/v1alpha1`.
fn group(api: &str) -> &str {
    api.split_once('/').map_or("", |(group, _)| group)
}
