//! The kind of cluster, if it affects how kube-proxy is configured.

use serde::Serialize;

use super::neighbours::Neighbour;

/// Another `DaemonSet`.
#[derive(Clone, Debug)]
pub struct OtherSet {
    /// namespace/name
    pub name: String,
    /// The known software in its pods.
    pub runs: Vec<Neighbour>,
}

/// The kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Created by kubeadm.
    Kubeadm,
    /// k3s: kube-proxy runs inside the k3s process.
    K3s,
    /// RKE2: kube-proxy runs as a static pod.
    Rke2,
    /// Amazon EKS.
    Eks,
    /// Azure AKS.
    Aks,
    /// Google GKE.
    Gke,
    /// Something else.
    Other,
}

impl Flavour {
    /// Recognises a cluster by the API server's version, node labels, and kubeadm's `ConfigMap`.
    pub fn recognise(version: &str, node_labels: &[String], has_kubeadm_config: bool) -> Self {
        let labelled = |prefix: &str| node_labels.iter().any(|label| label.starts_with(prefix));
        if version.contains("+k3s") {
            Self::K3s
        } else if version.contains("+rke2") {
            Self::Rke2
        } else if version.contains("-eks-") || labelled("eks.amazonaws.com/") {
            Self::Eks
        } else if version.contains("-gke.") || labelled("cloud.google.com/gke-") {
            Self::Gke
        } else if labelled("kubernetes.azure.com/") {
            Self::Aks
        } else if has_kubeadm_config {
            Self::Kubeadm
        } else {
            Self::Other
        }
    }

    /// How to configure kube-proxy there; `None` if kpx-prep can do it.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::Kubeadm => None,
            Self::K3s => Some(
                "k3s runs kube-proxy in its own process; set `kube-proxy-arg: [proxy-mode=MODE]` in /etc/rancher/k3s/config.yaml on every node and restart k3s",
            ),
            Self::Rke2 => Some(
                "RKE2 runs kube-proxy as a static pod; set `kube-proxy-arg: [proxy-mode=MODE]` in /etc/rancher/rke2/config.yaml on every node and restart RKE2",
            ),
            Self::Eks => Some(
                "EKS manages kube-proxy; set the mode in the configuration values of the kube-proxy add-on (aws eks update-addon --configuration-values), otherwise an update reverts it",
            ),
            Self::Aks => Some(
                "AKS manages kube-proxy; set the mode with az aks update --kube-proxy-config, otherwise the edit is reverted",
            ),
            Self::Gke => {
                Some("GKE manages kube-proxy and does not support ipvs mode; its Dataplane V2 replaces kube-proxy")
            }
            Self::Other => Some(
                "no ConfigMap kubeadm-config in kube-system, so this cluster was not created by kubeadm; the tool that manages it may revert the edit",
            ),
        }
    }

    /// A link to the documentation.
    pub fn link(self) -> &'static str {
        match self {
            Self::K3s => "https://docs.k3s.io/cli/server",
            Self::Rke2 => "https://docs.rke2.io/reference/server_config",
            Self::Eks => "https://docs.aws.amazon.com/eks/latest/userguide/managing-kube-proxy.html",
            Self::Aks => "https://learn.microsoft.com/azure/aks/configure-kube-proxy",
            Self::Gke => "https://cloud.google.com/kubernetes-engine/docs/concepts/dataplane-v2",
            Self::Kubeadm | Self::Other => "https://kubernetes.io/docs/reference/setup-tools/kubeadm/",
        }
    }

    /// Whether kube-proxy is managed by the distribution.
    pub fn is_managed(self) -> bool {
        matches!(self, Self::Eks | Self::Aks | Self::Gke | Self::K3s | Self::Rke2)
    }
}

/// The software that replaces kube-proxy, if there is no kube-proxy.
pub fn replacement(daemon_sets: &[OtherSet]) -> Option<String> {
    for (who, text) in [
        (Neighbour::Cilium, "Cilium replaces kube-proxy (kubeProxyReplacement)"),
        (Neighbour::KubeRouter, "kube-router serves Services itself with IPVS (--run-service-proxy)"),
        (Neighbour::Antrea, "Antrea's AntreaProxy (proxyAll) replaces kube-proxy"),
        (Neighbour::OvnKubernetes, "OVN-Kubernetes serves Services itself"),
        (Neighbour::Calico, "Calico's eBPF data plane can replace kube-proxy"),
    ] {
        if let Some(set) = daemon_sets.iter().find(|set| set.runs.contains(&who)) {
            return Some(format!("{text}: DaemonSet {}", set.name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_recognised() {
        for (version, label, kubeadm, expected) in [
            ("v1.36.3", "", true, Flavour::Kubeadm),
            ("v1.30.4+k3s1", "", false, Flavour::K3s),
            ("v1.30.4+rke2r1", "", false, Flavour::Rke2),
            ("v1.30.4-eks-a737599", "", false, Flavour::Eks),
            ("v1.30.5-gke.1014001", "", false, Flavour::Gke),
            ("v1.30.4", "kubernetes.azure.com/cluster", false, Flavour::Aks),
            ("v1.30.4", "", false, Flavour::Other),
        ] {
            assert_eq!(Flavour::recognise(version, &[label.to_owned()], kubeadm), expected, "{version} {label}");
        }
    }
}
