//! Checks of other software in the nodes' network, from the node helper's survey.

use super::question::{Question, surveys};
use crate::cluster::observe::facts::NodeFacts;
use crate::cluster::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::mode::nftables::is_old_nft;
use crate::node_protocol::Survey;
use crate::report::{Finding, Level, few, finding};

/// The API server's default `--service-node-port-range`.
const NODE_PORTS: (u16, u16) = (30000, 32767);
/// The kernel version in which the `conn_reuse_mode` bug is fixed (k/k#93297); from there on kube-proxy does not set it.
const CONN_REUSE_FIXED_IN: (u32, u32) = (5, 9);

/// The nodes that are asked, and what is said of them.
struct Warnings<'a> {
    nodes: &'a [&'a NodeFacts],
    findings: &'a mut Vec<Finding>,
}

impl Warnings<'_> {
    /// The nodes whose survey is so.
    fn which(&self, wanted: impl Fn(&Survey) -> bool) -> Vec<String> {
        let nodes = surveys(self.nodes.iter().copied());
        nodes.filter(|(_, survey)| wanted(survey)).map(|(name, _)| name.to_owned()).collect()
    }

    fn warn(&mut self, id: &'static str, wanted: impl Fn(&Survey) -> bool, what: &str, hint: &str) {
        let names = self.which(wanted);
        if !names.is_empty() {
            self.findings.push(finding(Level::Warning, id, format!("{}: {what}", few(&names)), hint));
        }
    }
}

pub(super) fn check(question: Question, nodes: &[&NodeFacts], findings: &mut Vec<Finding>) {
    let Question { surroundings, request, target, .. } = question;
    let mut warnings = Warnings { nodes, findings };
    let ports = NODE_PORTS.0..=NODE_PORTS.1;
    warnings.warn(
        "local-port-range",
        |survey| {
            survey.local_ports.is_some_and(|(low, high)| {
                low <= *ports.end() && high >= *ports.start()
                    || surroundings.services.node_ports.iter().any(|port| (low..=high).contains(port))
            })
        },
        "net.ipv4.ip_local_port_range overlaps the node port range; outgoing connections may use a node port",
        "use separate ranges, such as sysctl net.ipv4.ip_local_port_range=\"32768 60999\"; https://github.com/kubernetes/kubernetes/issues/132068",
    );
    warnings.warn(
        "iptables-variant",
        |survey| survey.both_iptables,
        "kube-proxy rules exist in both iptables variants, legacy and nft; only one is kept up to date",
        "this run cleans both unless --no-clean is set; https://github.com/kubernetes-sigs/iptables-wrappers",
    );
    let others = warnings.which(|survey| !survey.other_kube_proxies.is_empty());
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
        warnings.findings.push(finding(Level::Error, "other-kube-proxy", message, &hint));
    }
    match target.mode {
        ProxyMode::Ipvs => {
            let drops = !surroundings.services.node_ports.is_empty();
            warnings.warn(
                "input-policy",
                |survey| drops && !survey.input_drops.is_empty(),
                "the INPUT chain drops by default; in ipvs mode, traffic to node ports and load balancer addresses passes through it",
                "accept the node ports in INPUT; https://github.com/kubernetes/kubernetes/issues/98465",
            );
            warnings.warn(
                "conn-reuse-mode",
                |survey| version(&survey.kernel).is_some_and(|kernel| kernel < CONN_REUSE_FIXED_IN),
                "kernel older than 5.9: kube-proxy sets net.ipv4.vs.conn_reuse_mode to 0, which can send new connections to terminated pods for a short time",
                "use kernel 5.9 or newer; https://github.com/kubernetes/kubernetes/issues/81775",
            );
            warnings.warn(
                "network-manager",
                |survey| request.nodes_are_prepared && survey.network_manager_interferes,
                "NetworkManager may set kube-ipvs0 down",
                "run kpx-prep node install, which configures it as unmanaged; https://github.com/kubernetes-sigs/kubespray/pull/7315",
            );
        }
        ProxyMode::Nftables => of_nftables(surroundings, &mut warnings),
        ProxyMode::Iptables => {}
    }
}

/// What only nftables mode changes.
fn of_nftables(surroundings: &Surroundings, warnings: &mut Warnings) {
    // pkg/proxy/iptables/proxier.go (healthCheckNodePorts) and pkg/proxy/ipvs/proxier.go accept them in INPUT; what
    // nftables mode accepts in a table of its own, another table still drops.
    let asked = !surroundings.health_check_ports.is_empty();
    warnings.warn(
        "input-policy",
        |survey| asked && !survey.input_drops.is_empty(),
        "the INPUT chain drops by default; nftables mode does not accept the health check node ports of Services with externalTrafficPolicy: Local there, as the other modes do, so load balancers would take the nodes for unhealthy",
        "accept these ports in INPUT (healthCheckNodePort in the Services); https://github.com/kubernetes/kubernetes/pull/124383",
    );
    // KUBE-FORWARD accepts them in the other modes. What another table of nftables drops, it drops in every mode.
    warnings.warn(
        "forward-policy",
        |survey| !survey.forward_drops.is_empty(),
        "the FORWARD chain of iptables drops by default; nftables mode does not accept there what kube-proxy masquerades or what is established, as the other modes do, so connections through node ports and from other networks would be dropped",
        "accept the pods' addresses in FORWARD, as source and as destination (ufw: DEFAULT_FORWARD_POLICY in /etc/default/ufw, or ufw route allow); https://github.com/kubernetes/kubernetes/blob/master/pkg/proxy/iptables/proxier.go",
    );
    warnings.warn(
        "portmap-mark-chain",
        |survey| !survey.mark_chains.is_empty(),
        "the portmap plugin in a CNI configuration marks packets in a chain of kube-proxy (externalSetMarkChain) that is removed with iptables mode; host ports of pods would lose masquerading",
        "remove externalSetMarkChain from the files in /etc/cni/net.d first; https://www.cni.dev/plugins/current/meta/portmap/",
    );
    warnings.warn(
        "nft-mismatch",
        |survey| survey.modules.findings.iter().any(|note| note.id == "nft-mismatch"),
        "the host's nft and that of kube-proxy's image may crash on sets that the other wrote",
        "compare their versions with the matrix in https://github.com/kubernetes/kubernetes/issues/136786",
    );
    warnings.warn(
        "nft-version",
        |survey| survey.nft.as_deref().is_some_and(is_old_nft),
        "nft on the host is older than 1.0.1 and can damage kube-proxy's rules when it is used",
        "install nftables 1.0.1 or newer; https://github.com/kubernetes/enhancements/blob/master/keps/sig-network/3866-nftables-proxy/README.md",
    );
}

/// The first two numbers of a version.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
