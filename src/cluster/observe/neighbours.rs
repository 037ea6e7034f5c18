//! Detects other software in the nodes' network that depends on kube-proxy's mode.
//!
//! The image name is the weakest sign: mirrors rename images, and other images have the same name. So labels, container
//! names, arguments and environment are checked too, in every pod.

use std::collections::BTreeMap;

use crate::cluster::api::pod_objects::Container;
use crate::cluster::kube_proxy::command::is_program;

/// Software that depends on kube-proxy's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Neighbour {
    /// `MetalLB`'s speaker.
    MetalLb,
    /// kube-vip.
    KubeVip,
    /// `PureLB`'s node agent.
    PureLb,
    /// `OpenELB`'s speaker.
    OpenElb,
    /// keepalived, in any packaging.
    Keepalived,
    /// sealos' lvscare.
    LvsCare,
    /// kube-router.
    KubeRouter,
    /// `NodeLocal` `DNSCache`.
    NodeLocalDns,
    /// Calico's node agent, also in Canal.
    Calico,
    /// flannel, also in Canal.
    Flannel,
    /// Cilium's agent.
    Cilium,
    /// Antrea's agent.
    Antrea,
    /// OVN-Kubernetes.
    OvnKubernetes,
}

/// The signs of one; any of them is sufficient.
struct Signs {
    who: Neighbour,
    /// Alternatives of labels that the pod must have together.
    labels: &'static [&'static [(&'static str, &'static str)]],
    /// Unique container names.
    containers: &'static [&'static str],
    /// Programs: the file name of a word of the command.
    programs: &'static [&'static str],
    /// Unique prefixes of environment variables or arguments.
    words: &'static [&'static str],
    /// Consecutive words at the end of the image path.
    images: &'static [&'static [&'static str]],
}

const SIGNS: [Signs; 13] = [
    // https://github.com/metallb/metallb config/manifests/metallb-native.yaml, charts/metallb; docker.io/bitnami/metallb-speaker
    Signs {
        who: Neighbour::MetalLb,
        labels: &[
            &[("app", "metallb"), ("component", "speaker")],
            &[("app.kubernetes.io/name", "metallb"), ("app.kubernetes.io/component", "speaker")],
        ],
        containers: &["metallb-speaker"],
        programs: &[],
        words: &["METALLB_"],
        images: &[&["metallb", "speaker"]],
    },
    // https://kube-vip.io/docs/installation/daemonset/ (kube-vip manifest daemonset)
    Signs {
        who: Neighbour::KubeVip,
        labels: &[
            &[("app.kubernetes.io/name", "kube-vip")],
            &[("app.kubernetes.io/name", "kube-vip-ds")],
            &[("name", "kube-vip-ds")],
        ],
        containers: &["kube-vip"],
        programs: &["kube-vip"],
        words: &["vip_arp=", "vip_interface=", "lb_enable="],
        images: &[&["kube", "vip"], &["kube", "vip", "iptables"]],
    },
    // https://purelb.gitlab.io/docs/install/ (deployments/default.yaml)
    Signs {
        who: Neighbour::PureLb,
        labels: &[
            &[("app", "purelb"), ("component", "lbnodeagent")],
            &[("app.kubernetes.io/name", "purelb"), ("app.kubernetes.io/component", "lbnodeagent")],
        ],
        containers: &["lbnodeagent"],
        programs: &["lbnodeagent"],
        words: &["PURELB_"],
        images: &[&["lbnodeagent"]],
    },
    // https://openelb.io/docs/getting-started/installation/ (deploy/openelb.yaml)
    Signs {
        who: Neighbour::OpenElb,
        labels: &[
            &[("app", "openelb"), ("component", "speaker")],
            &[("app.kubernetes.io/name", "openelb"), ("app.kubernetes.io/component", "speaker")],
        ],
        containers: &["openelb-speaker", "openelb-manager", "porter-manager"],
        programs: &["openelb-speaker"],
        words: &[],
        images: &[&["openelb"], &["openelb", "speaker"], &["openelb", "manager"], &["porter", "manager"]],
    },
    // https://github.com/osixia/docker-keepalived, https://github.com/aledbf/kube-keepalived-vip
    Signs {
        who: Neighbour::Keepalived,
        labels: &[&[("app.kubernetes.io/name", "keepalived")], &[("k8s-app", "kube-keepalived-vip")]],
        containers: &["keepalived"],
        programs: &["keepalived", "kube-keepalived-vip"],
        words: &["KEEPALIVED_"],
        images: &[&["keepalived"], &["keepalived", "vip"]],
    },
    // https://github.com/labring/sealos lifecycle/staging/src/github.com/labring/lvscare (static pod kube-lvscare)
    Signs {
        who: Neighbour::LvsCare,
        labels: &[],
        containers: &["kube-lvscare", "lvscare", "kube-sealyun-lvscare"],
        programs: &["lvscare"],
        words: &["LVSCARE_"],
        images: &[&["lvscare"]],
    },
    // https://github.com/cloudnativelabs/kube-router daemonset/kubeadm-kuberouter.yaml
    Signs {
        who: Neighbour::KubeRouter,
        labels: &[&[("k8s-app", "kube-router")]],
        containers: &["kube-router"],
        programs: &["kube-router"],
        words: &["--run-service-proxy"],
        images: &[&["kube", "router"]],
    },
    // https://github.com/kubernetes/kubernetes cluster/addons/dns/nodelocaldns/nodelocaldns.yaml; kubespray names it nodelocaldns
    Signs {
        who: Neighbour::NodeLocalDns,
        labels: &[&[("k8s-app", "node-local-dns")], &[("k8s-app", "nodelocaldns")]],
        containers: &["node-cache"],
        programs: &["node-cache"],
        words: &["-localip", "--localip"],
        images: &[&["dns", "node", "cache"]],
    },
    // https://github.com/projectcalico/calico manifests/calico.yaml, canal.yaml; the operator's calico-system
    Signs {
        who: Neighbour::Calico,
        labels: &[&[("k8s-app", "calico-node")], &[("k8s-app", "canal")]],
        containers: &["calico-node"],
        programs: &["calico-node"],
        words: &["FELIX_"],
        images: &[&["calico", "node"]],
    },
    // https://github.com/flannel-io/flannel Documentation/kube-flannel.yml; canal.yaml of Calico
    Signs {
        who: Neighbour::Flannel,
        labels: &[&[("app", "flannel")], &[("k8s-app", "flannel")]],
        containers: &["kube-flannel"],
        programs: &["flanneld"],
        words: &["FLANNELD_"],
        images: &[&["flannel", "io", "flannel"], &["coreos", "flannel"], &["flannel", "flannel"]],
    },
    // https://github.com/cilium/cilium install/kubernetes/cilium/templates/cilium-agent/daemonset.yaml
    Signs {
        who: Neighbour::Cilium,
        labels: &[&[("k8s-app", "cilium")], &[("app.kubernetes.io/name", "cilium-agent")]],
        containers: &["cilium-agent"],
        programs: &["cilium-agent"],
        words: &["CILIUM_K8S_NAMESPACE="],
        images: &[&["cilium"], &["cilium", "agent"], &["cilium", "ci"]],
    },
    // https://github.com/antrea-io/antrea build/yamls/antrea.yml
    Signs {
        who: Neighbour::Antrea,
        labels: &[&[("app", "antrea"), ("component", "antrea-agent")]],
        containers: &["antrea-agent"],
        programs: &["antrea-agent"],
        words: &[],
        images: &[
            &["antrea", "agent", "ubuntu"],
            &["antrea", "agent", "ubi"],
            &["antrea", "ubuntu"],
            &["antrea", "agent"],
        ],
    },
    // https://github.com/ovn-kubernetes/ovn-kubernetes dist/templates/ovnkube-node.yaml.j2
    Signs {
        who: Neighbour::OvnKubernetes,
        labels: &[&[("app", "ovnkube-node")], &[("name", "ovnkube-node")]],
        containers: &["ovnkube-node", "ovnkube-controller", "ovn-controller"],
        programs: &["ovnkube"],
        words: &["OVN_KUBERNETES_"],
        images: &[&["ovn", "kube"], &["ovn", "kube", "u"], &["ovn", "kube", "f"]],
    },
];

/// A pod of such software.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPod {
    /// namespace/name
    pub name: String,
    /// The image.
    pub image: String,
    /// Arguments of all containers, and environment as `NAME=value`.
    pub words: Vec<String>,
}

/// The known software in a pod, each with its image.
pub fn recognise<'c>(labels: &BTreeMap<String, String>, containers: &'c [Container]) -> Vec<(Neighbour, &'c str)> {
    let labelled =
        |all: &&[(&str, &str)]| all.iter().all(|(key, value)| labels.get(*key).is_some_and(|is| is == value));
    let found = SIGNS.iter().filter_map(|signs| {
        let by_itself = containers.iter().find(|container| signs.fit(container));
        let by_label = || containers.first().filter(|_| signs.labels.iter().any(labelled));
        Some((signs.who, by_itself.or_else(by_label)?.image.as_str()))
    });
    found.collect()
}

impl Signs {
    fn fit(&self, container: &Container) -> bool {
        let path = words_of(image_path(&container.image));
        let mut programs = container.command.iter().flat_map(|word| word.split_whitespace());
        let starts = |word: &str| self.words.iter().any(|start| word.starts_with(start));
        self.containers.contains(&container.name.as_str())
            || programs.any(|word| self.programs.iter().any(|name| is_program(word, name)))
            || words(container).any(|word| starts(&word))
            || self.images.iter().any(|sign| path.ends_with(sign))
    }
}

/// A container's command and arguments, and its environment as `NAME=value`.
pub fn words(container: &Container) -> impl Iterator<Item = String> {
    let environment =
        container.env.iter().map(|env| format!("{}={}", env.name, env.value.as_deref().unwrap_or_default()));
    container.command.iter().chain(&container.args).cloned().chain(environment)
}

/// An image without the registry's port, tag and digest.
fn image_path(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or(image);
    let last = path.rfind('/').map_or(0, |slash| slash + 1);
    path[last..].find(':').map_or(path, |colon| &path[..last + colon])
}

/// `[docker, io, bitnami, metallb, speaker]` of `docker.io/bitnami/metallb-speaker`: mirrors include the path in the name.
fn words_of(path: &str) -> Vec<&str> {
    path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests;
