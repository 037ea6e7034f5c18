//! Checks of other software in the nodes' network, from the node helper's survey.

use super::question::{Question, surveys};
use crate::cluster::observe::facts::NodeFacts;
use crate::mode::ProxyMode;
use crate::mode::nftables::is_old_nft;
use crate::node_protocol::Survey;
use crate::report::{Finding, Level, few, finding};

/// The API server's default `--service-node-port-range`.
const NODE_PORTS: (u16, u16) = (30000, 32767);
/// The kernel version in which the `conn_reuse_mode` bug is fixed (k/k#93297); from there on kube-proxy does not set it.
const CONN_REUSE_FIXED_IN: (u32, u32) = (5, 9);

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
        "net.ipv4.ip_local_port_range overlaps the node port range; outgoing connections may use a node port",
        "use separate ranges, such as sysctl net.ipv4.ip_local_port_range=\"32768 60999\"; https://github.com/kubernetes/kubernetes/issues/132068",
    );
    warn(
        "iptables-variant",
        which(&|survey| survey.both_iptables),
        "kube-proxy rules exist in both iptables variants, legacy and nft; only one is kept up to date",
        "this run cleans both unless --no-clean is set; https://github.com/kubernetes-sigs/iptables-wrappers",
    );
    let others = which(&|survey| !survey.other_kube_proxies.is_empty());
    if !others.is_empty() {
        let list = surveys(nodes.iter().copied()).flat_map(|(_, survey)| survey.other_kube_proxies.clone());
        let message = format!(
            "{}: a kube-proxy that does not run in a pod, with a separate configuration: {}",
            few(&others),
            few(&list.collect::<Vec<_>>())
        );
        let hint = format!(
            "stop it (systemctl disable --now kube-proxy), or skip these nodes with --exclude-nodes {}; https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
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
                "the INPUT chain drops by default; in ipvs mode, traffic to node ports and load balancer addresses passes through it",
                "accept the node ports in INPUT; https://github.com/kubernetes/kubernetes/issues/98465",
            );
            warn(
                "conn-reuse-mode",
                which(&|survey| version(&survey.kernel).is_some_and(|kernel| kernel < CONN_REUSE_FIXED_IN)),
                "kernel older than 5.9: kube-proxy sets net.ipv4.vs.conn_reuse_mode to 0, which can send new connections to terminated pods for a short time",
                "use kernel 5.9 or newer; https://github.com/kubernetes/kubernetes/issues/81775",
            );
            warn(
                "network-manager",
                which(&|survey| request.nodes_are_prepared && survey.network_manager_interferes),
                "NetworkManager may set kube-ipvs0 down",
                "run kpx-prep node install, which configures it as unmanaged; https://github.com/kubernetes-sigs/kubespray/pull/7315",
            );
        }
        ProxyMode::Nftables => {
            // pkg/proxy/iptables/proxier.go (healthCheckNodePorts) and pkg/proxy/ipvs/proxier.go accept them in INPUT; what
            // nftables mode accepts in a table of its own, another table still drops.
            let asked = !surroundings.health_check_ports.is_empty();
            warn(
                "input-policy",
                which(&|survey| asked && !survey.input_drops.is_empty()),
                "the INPUT chain drops by default; nftables mode does not accept the health check node ports of Services with externalTrafficPolicy: Local there, as the other modes do, so load balancers would take the nodes for unhealthy",
                "accept these ports in INPUT (healthCheckNodePort in the Services); https://github.com/kubernetes/kubernetes/pull/124383",
            );
            warn(
                "portmap-mark-chain",
                which(&|survey| !survey.mark_chains.is_empty()),
                "the portmap plugin in a CNI configuration marks packets in a chain of kube-proxy (externalSetMarkChain) that is removed with iptables mode; host ports of pods would lose masquerading",
                "remove externalSetMarkChain from the files in /etc/cni/net.d first; https://www.cni.dev/plugins/current/meta/portmap/",
            );
            warn(
                "nft-mismatch",
                which(&|survey| survey.modules.findings.iter().any(|note| note.id == "nft-mismatch")),
                "the host's nft and that of kube-proxy's image may crash on sets that the other wrote",
                "compare their versions with the matrix in https://github.com/kubernetes/kubernetes/issues/136786",
            );
            warn(
                "nft-version",
                which(&|survey| survey.nft.as_deref().is_some_and(is_old_nft)),
                "nft on the host is older than 1.0.1 and can damage kube-proxy's rules when it is used",
                "install nftables 1.0.1 or newer; https://github.com/kubernetes/enhancements/blob/master/keps/sig-network/3866-nftables-proxy/README.md",
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
