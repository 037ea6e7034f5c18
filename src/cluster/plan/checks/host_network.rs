//! Checks on what else works on the nodes' network, as the node helper saw it.

use super::question::{Question, surveys};
use crate::cluster::observe::facts::NodeFacts;
use crate::messages::Survey;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, few, finding};

/// The API server's default `--service-node-port-range`.
const NODE_PORTS: (u16, u16) = (30000, 32767);
/// The kernel from which on `conn_reuse_mode` does no harm (k/k#93297); kube-proxy leaves it alone from there.
const REUSE_IS_MENDED: (u32, u32) = (5, 9);
/// The first `nft` that leaves kube-proxy's tables alone (KEP-3866).
const NFT_IS_SAFE: (u32, u32) = (1, 0);

pub(super) fn check(question: Question, nodes: &[&NodeFacts], findings: &mut Vec<Finding>) {
    let Question { surroundings, request, target, .. } = question;
    let which = |wanted: &dyn Fn(&Survey) -> bool| -> Vec<String> {
        surveys(nodes.iter().copied()).filter(|(_, survey)| wanted(survey)).map(|(name, _)| name.to_owned()).collect()
    };
    let mut warn = |id, names: Vec<String>, what: &str, hint: &str| {
        if !names.is_empty() {
            findings.push(finding(Level::Warning, id, format!("{}: {what}", few(&names)), hint));
        }
    };
    let ports = NODE_PORTS.0..=NODE_PORTS.1;
    warn(
        "local-port-range",
        which(&|survey| {
            survey.local_ports.is_some_and(|(low, high)| {
                low <= *ports.end() && high >= *ports.start()
                    || surroundings.services.node_ports.iter().any(|port| (low..=high).contains(port))
            })
        }),
        "net.ipv4.ip_local_port_range overlaps the node ports: connections from the node may take one of theirs",
        "keep them apart, such as sysctl net.ipv4.ip_local_port_range=\"32768 60999\"; https://github.com/kubernetes/kubernetes/issues/132068",
    );
    warn(
        "iptables-variant",
        which(&|survey| survey.both_iptables),
        "rules of kube-proxy are in both variants of iptables, legacy and nft; only one is kept up to date",
        "this run cleans both, unless --no-clean; https://github.com/kubernetes-sigs/iptables-wrappers",
    );
    let others = which(&|survey| !survey.other_kube_proxies.is_empty());
    if !others.is_empty() {
        let list = surveys(nodes.iter().copied()).flat_map(|(_, survey)| survey.other_kube_proxies.clone());
        let message = format!(
            "{}: a kube-proxy that is of no pod, with a configuration of its own: {}",
            few(&others),
            few(&list.collect::<Vec<_>>())
        );
        let hint = format!(
            "stop it (systemctl disable --now kube-proxy), or leave its nodes out: --exclude-nodes {}; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
            others.join(",")
        );
        findings.push(finding(Level::Error, "other-kube-proxy", message, &hint));
    }
    let mut warn = |id, names: Vec<String>, what: &str, hint: &str| {
        if !names.is_empty() {
            findings.push(finding(Level::Warning, id, format!("{}: {what}", few(&names)), hint));
        }
    };
    match target.mode {
        ProxyMode::Ipvs => {
            let drops = !surroundings.services.node_ports.is_empty();
            warn(
                "input-policy",
                which(&|survey| drops && !survey.input_drops.is_empty()),
                "INPUT drops what no rule accepts; in ipvs mode node ports and load balancers' addresses pass it",
                "accept the node ports in INPUT; https://github.com/kubernetes/kubernetes/issues/98465",
            );
            warn(
                "conn-reuse-mode",
                which(&|survey| version(&survey.kernel).is_some_and(|kernel| kernel < REUSE_IS_MENDED)),
                "kernel before 5.9: net.ipv4.vs.conn_reuse_mode, which kube-proxy sets to 0, lets connections reach pods that are gone for a while",
                "a newer kernel; https://github.com/kubernetes/kubernetes/issues/81775",
            );
            warn(
                "network-manager",
                which(&|survey| request.nodes_are_prepared && survey.network_manager_interferes),
                "NetworkManager may take kube-ipvs0 down",
                "kpx-prep node install tells it to leave it alone; https://github.com/kubernetes-sigs/kubespray/pull/7315",
            );
        }
        ProxyMode::Nftables => {
            warn(
                "portmap-mark-chain",
                which(&|survey| !survey.mark_chains.is_empty()),
                "a CNI configuration's portmap marks packets by a chain of kube-proxy's (externalSetMarkChain), which goes with iptables mode: pods' host ports lose masquerading",
                "remove externalSetMarkChain from the files in /etc/cni/net.d first; https://www.cni.dev/plugins/current/meta/portmap/",
            );
            warn(
                "nft-version",
                which(&|survey| survey.nft.as_deref().and_then(version).is_some_and(|nft| nft < NFT_IS_SAFE)),
                "the host's own nft is older than 1.0 and disturbs kube-proxy's rules when it is used",
                "a newer nftables package; https://github.com/kubernetes/enhancements/blob/master/keps/sig-network/3866-nftables-proxy/README.md",
            );
        }
        ProxyMode::Iptables => {}
    }
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
