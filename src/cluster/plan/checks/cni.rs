//! Checks of CNI plugins that depend on kube-proxy's mode, or replace kube-proxy.

use crate::cluster::observe::data_plane;
use crate::cluster::observe::neighbours::Neighbour;
use crate::cluster::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, finding};

/// The first Calico 3.x with an nftables data plane; older ones panic beside kube-proxy in nftables mode (calico#8025).
const CALICO_NFTABLES: u32 = 29;
/// The first Calico 3.x whose `nftablesMode: Auto` follows kube-proxy on each node (release notes of 3.32.0, calico#11629; so
/// does the operator, tigera/operator#4389).
const CALICO_FOLLOWS: u32 = 32;

pub(super) fn check(surroundings: &Surroundings, mode: ProxyMode, findings: &mut Vec<Finding>) {
    calico(surroundings, mode, findings);
    if let Some(flannel) = surroundings.pods_of(Neighbour::Flannel).next().filter(|_| mode == ProxyMode::Nftables) {
        let message = format!(
            "flannel ({}) masquerades by iptables unless EnableNFTables is set in its configuration; nodes without iptables need that",
            flannel.name
        );
        let hint = "set EnableNFTables in net-conf.json together with this change; https://github.com/flannel-io/flannel/blob/master/Documentation/configuration.md#nftables-mode";
        findings.push(finding(Level::Info, "cni-mode", message, hint));
    }
    if let Some(cilium) = surroundings.pods_of(Neighbour::Cilium).next() {
        let message = format!(
            "Cilium ({}) may serve Services itself (kubeProxyReplacement); kube-proxy's mode then has little effect",
            cilium.name
        );
        let hint = "check with: cilium status | grep KubeProxyReplacement; https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/";
        findings.push(finding(Level::Warning, "cni-mode", message, hint));
    }
}

fn calico(surroundings: &Surroundings, mode: ProxyMode, findings: &mut Vec<Finding>) {
    let pods = || surroundings.pods_of(Neighbour::Calico);
    let Some(first) = pods().next() else { return };
    if let Some(pod) = data_plane::calico(surroundings) {
        let message =
            format!("Calico ({}) uses its eBPF data plane, which serves Services without kube-proxy", pod.name);
        let hint =
            "kube-proxy's mode has no effect there; https://docs.tigera.io/calico/latest/operations/ebpf/enabling-ebpf";
        findings.push(finding(Level::Error, "cni-mode", message, hint));
        return;
    }
    let is = |value: &str| {
        let setting = format!("FELIX_NFTABLESMODE={value}");
        pods().any(|pod| pod.words.iter().any(|word| word.eq_ignore_ascii_case(&setting)))
    };
    let (enabled, disabled) =
        (surroundings.calico.nftables || is("Enabled"), surroundings.calico.no_nftables || is("Disabled"));
    let oldest = pods().filter_map(|pod| minor_of(&pod.image)).min();
    let (name, image) = (&first.name, &first.image);
    let (level, message, hint) = match mode {
        ProxyMode::Nftables if oldest.is_some_and(|minor| minor < CALICO_NFTABLES) => (
            Level::Error,
            format!("Calico ({name}, {image}) does not run beside kube-proxy in nftables mode; it needs 3.29 or newer"),
            "upgrade Calico first; https://github.com/projectcalico/calico/issues/8025",
        ),
        // It is switched already, or before this change.
        ProxyMode::Nftables if enabled => return,
        ProxyMode::Nftables if disabled => (
            Level::Warning,
            format!(
                "Calico ({name}, {image}) is configured to stay in iptables mode (nftablesMode: Disabled), which does not work beside kube-proxy in nftables mode"
            ),
            "set nftablesMode together with this change: Auto from Calico 3.32 on, Enabled before; https://docs.tigera.io/calico/latest/getting-started/kubernetes/nftables",
        ),
        ProxyMode::Nftables if oldest.is_some_and(|minor| minor >= CALICO_FOLLOWS) => (
            Level::Info,
            format!("Calico ({name}, {image}) follows kube-proxy's mode on each node, where its nftablesMode is Auto"),
            "check nftablesMode in FelixConfiguration default; https://github.com/projectcalico/calico/pull/11629",
        ),
        ProxyMode::Nftables => (
            Level::Warning,
            format!(
                "Calico ({name}, {image}) must be switched to nftables mode in the same maintenance window; from 3.32 on it follows kube-proxy by itself"
            ),
            "set linuxDataplane: Nftables in the operator's Installation, or nftablesMode: Enabled in FelixConfiguration default; https://docs.tigera.io/calico/latest/getting-started/kubernetes/nftables",
        ),
        ProxyMode::Iptables | ProxyMode::Ipvs if enabled => (
            Level::Warning,
            format!(
                "Calico ({name}) runs in nftables mode (FELIX_NFTABLESMODE), which requires kube-proxy in nftables mode"
            ),
            "set nftablesMode to Auto or Disabled together with this change; https://docs.tigera.io/calico/latest/getting-started/kubernetes/nftables",
        ),
        ProxyMode::Iptables | ProxyMode::Ipvs => (
            Level::Info,
            format!(
                "Calico ({name}) detects ipvs mode by the link kube-ipvs0; restart calico-node if it does not notice the change"
            ),
            "https://github.com/projectcalico/calico/issues/8929",
        ),
    };
    findings.push(finding(level, "cni-mode", message, hint));
}

/// The minor version of a Calico 3.x, from its image's tag: 32 of `quay.io/calico/node:v3.32.1`. `None` where the tag is no
/// such version (Calico Enterprise has versions of its own, such as `v3.22.0-2.0`: its images are `cnx-node`).
fn minor_of(image: &str) -> Option<u32> {
    let path = image.split('@').next()?;
    let (name, tag) = path.rsplit('/').next()?.split_once(':')?;
    let numbers = tag.strip_prefix('v').unwrap_or(tag).strip_prefix("3.")?;
    let minor: String = numbers.chars().take_while(char::is_ascii_digit).collect();
    (!name.contains("cnx")).then(|| minor.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_calico() {
        for (image, minor) in [
            ("quay.io/calico/node:v3.32.1", Some(32)),
            ("docker.io/calico/node:v3.9.0@sha256:00", Some(9)),
            ("mirror:5000/rancher/mirrored-calico-node:v3.28.2-build20240101", Some(28)),
            ("calico/node:3.30", Some(30)),
            ("calico/node:master", None),
            ("calico/node", None),
            ("mirror:5000/calico/node", None),
            ("calico/node@sha256:00", None),
            ("calico/node:v4.0.0", None),
            ("quay.io/tigera/cnx-node:v3.22.0", None),
        ] {
            assert_eq!(minor_of(image), minor, "{image}");
        }
    }
}
