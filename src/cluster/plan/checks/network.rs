//! Checks of other software in the nodes' network, and of Services that modes treat differently.

use super::question::Question;
use crate::cluster::observe::neighbours::{Neighbour, SeenPod};
use crate::cluster::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::proxy_config::ProxyConfig;
use crate::report::{Finding, Level, few, finding};

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, surroundings, target, .. } = question;
    // The current mode needs no warnings.
    if !question.edits
        || facts.target() == Ok(target.mode) && facts.proxy_nodes().all(|n| n.proof.mode == Some(target.mode))
    {
        return;
    }
    let Some(config) = &target.config else { return };
    match target.mode {
        ProxyMode::Ipvs => ipvs(surroundings, config, findings),
        ProxyMode::Nftables => nftables(surroundings, findings),
        ProxyMode::Iptables => {}
    }
    cni(surroundings, target.mode, findings);
}

/// The pods of one kind of neighbour.
fn seen(surroundings: &Surroundings, who: Neighbour) -> impl Iterator<Item = &SeenPod> {
    surroundings.neighbours.get(&who).into_iter().flatten()
}

/// Pods that announce addresses by ARP, so that other nodes must not answer for them. `MetalLB`, `PureLB` and `OpenELB`
/// require strictARP in their installation guides, kube-vip if it uses ARP.
fn announcers(surroundings: &Surroundings) -> impl Iterator<Item = &SeenPod> {
    // kube-vip announces by ARP only if configured; if no setting is visible, it may be configured elsewhere.
    let by_arp = |pod: &&SeenPod| {
        let says = |words: &[&str]| pod.words.iter().any(|word| words.iter().any(|w| word.eq_ignore_ascii_case(w)));
        says(&["vip_arp=true", "--arp", "--arp=true"])
            || !says(&["vip_arp=false", "--arp=false", "bgp_enable=true", "--bgp", "--bgp=true"])
    };
    let others = [Neighbour::MetalLb, Neighbour::PureLb, Neighbour::OpenElb];
    seen(surroundings, Neighbour::KubeVip)
        .filter(by_arp)
        .chain(others.into_iter().flat_map(|who| seen(surroundings, who)))
}

fn ipvs(surroundings: &Surroundings, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    if let Some(cache) = seen(surroundings, Neighbour::NodeLocalDns).find(|cache| !listens_on_link_local_only(cache)) {
        let message = format!(
            "NodeLocal DNSCache ({}) binds the address of the DNS Service, which ipvs mode also uses",
            cache.name
        );
        let hint = "configure it to listen on 169.254.20.10 only and set that as clusterDNS of the kubelets; \
                    https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/";
        findings.push(finding(Level::Error, "node-local-dns", message, hint));
    }
    for pod in announcers(surroundings).filter(|_| !config.strict_arp) {
        let message = format!(
            "{} ({}) requires ipvs.strictARP: true; without it every node answers ARP requests for its addresses",
            pod.name, pod.image
        );
        let hint = "add --strict-arp; https://metallb.io/installation/#preparation";
        findings.push(finding(Level::Error, "strict-arp", message, hint));
    }
    if let Some(antrea) = seen(surroundings, Neighbour::Antrea).next().filter(|_| config.strict_arp) {
        let message = format!("Antrea ({}): Egress does not work with strictARP", antrea.name);
        let hint = "disable it with --strict-arp=false; https://github.com/antrea-io/antrea/pull/3816";
        findings.push(finding(Level::Warning, "strict-arp", message, hint));
    }
    for pod in ipvs_users(surroundings) {
        let protected = !config.exclude_cidrs.is_empty();
        let level = if protected { Level::Warning } else { Level::Error };
        let message = format!(
            "{} ({}) has its own IPVS virtual servers; in ipvs mode kube-proxy deletes those outside excludeCIDRs ({})",
            pod.name,
            pod.image,
            if protected { config.exclude_cidrs.join(", ") } else { "none set".to_owned() }
        );
        let hint = "protect its addresses with --exclude-cidrs; https://github.com/kubernetes/kubernetes/issues/59507";
        findings.push(finding(level, "foreign-ipvs", message, hint));
    }
    if !surroundings.load_balancers.is_empty() {
        let message = format!(
            "Services with a load balancer IP: {}; every node binds that address, so health checks and PROXY protocol from inside the cluster end at the node",
            few(&surroundings.load_balancers)
        );
        let hint = "check that no pod must reach the load balancer itself; https://github.com/kubernetes/kubernetes/issues/66607";
        findings.push(finding(Level::Warning, "load-balancer-ip", message, hint));
    }
    let clashes: Vec<_> = surroundings
        .host_ports
        .iter()
        .filter(|(port, _)| surroundings.service_ports.contains(port))
        .map(|((port, protocol), pod)| format!("{pod} ({port}/{protocol})"))
        .collect();
    if !clashes.is_empty() {
        let message = format!(
            "pods with a hostPort that is also a Service port: {}; traffic for such a Service may reach that pod instead",
            few(&clashes)
        );
        let hint = "use another hostPort; https://github.com/kubernetes/kubernetes/issues/66103";
        findings.push(finding(Level::Warning, "host-port", message, hint));
    }
    if surroundings.node_ports > 0 {
        let message = format!(
            "{} Service(s) with node ports; 127.0.0.1:<nodePort> does not work in ipvs mode",
            surroundings.node_ports
        );
        findings.push(finding(
            Level::Info,
            "node-port",
            message,
            "https://github.com/kubernetes/kubernetes/issues/67730",
        ));
    }
    if config.tcp_timeout.is_none() {
        let message = "idle TCP connections through Services will time out after 900 s (IPVS default) instead of 5 days (conntrack)";
        let hint = "use TCP keepalive, or set ipvs.tcpTimeout; https://github.com/kubernetes/kubernetes/issues/84041";
        findings.push(finding(Level::Warning, "idle-timeout", message, hint));
    }
}

fn nftables(surroundings: &Surroundings, findings: &mut Vec<Finding>) {
    for pod in ipvs_users(surroundings) {
        let message = format!(
            "{} ({}) has its own IPVS virtual servers; in nftables mode kube-proxy flushes IPVS at every start",
            pod.name, pod.image
        );
        let hint = "they cannot run on the same node; https://github.com/kubernetes/kubernetes/issues/55857";
        findings.push(finding(Level::Error, "foreign-ipvs", message, hint));
    }
    if surroundings.node_ports > 0 {
        let message = format!(
            "{} Service(s) with node ports; nftables mode serves them only on the nodes' primary addresses",
            surroundings.node_ports
        );
        let hint = "to serve other addresses, set nodePortAddresses; https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables";
        findings.push(finding(Level::Warning, "node-port", message, hint));
    }
}

/// Pods with their own IPVS virtual servers: kube-vip only if enabled, kube-router unless disabled.
fn ipvs_users(surroundings: &Surroundings) -> impl Iterator<Item = &SeenPod> {
    let says = |pod: &SeenPod, words: &[&str]| pod.words.iter().any(|word| words.contains(&word.as_str()));
    let balances =
        move |pod: &&SeenPod| says(pod, &["lb_enable=true", "--enableLoadBalancer", "--enableLoadBalancer=true"]);
    let serves = move |pod: &&SeenPod| !says(pod, &["--run-service-proxy=false"]);
    let others = [Neighbour::Keepalived, Neighbour::LvsCare];
    seen(surroundings, Neighbour::KubeVip)
        .filter(balances)
        .chain(seen(surroundings, Neighbour::KubeRouter).filter(serves))
        .chain(others.into_iter().flat_map(|who| seen(surroundings, who)))
}

/// Whether Felix reads a setting's text as true (`BoolParam` in `felix/config/param_types.go`).
fn felix_says(pod: &SeenPod, name: &str) -> bool {
    let value =
        pod.words.iter().find_map(|word| word.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    value.is_some_and(|(_, value)| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "y" | "t"))
}

fn cni(surroundings: &Surroundings, mode: ProxyMode, findings: &mut Vec<Finding>) {
    let calico = || seen(surroundings, Neighbour::Calico);
    let runs_bpf = |pod: &&SeenPod| surroundings.calico.bpf || felix_says(pod, "FELIX_BPFENABLED");
    if let Some(calico) = calico().find(runs_bpf) {
        let message =
            format!("Calico ({}) uses its eBPF data plane, which serves Services without kube-proxy", calico.name);
        let hint =
            "kube-proxy's mode has no effect there; https://docs.tigera.io/calico/latest/operations/ebpf/enabling-ebpf";
        findings.push(finding(Level::Error, "cni-mode", message, hint));
    } else if let Some(first) = calico().next() {
        let enabled =
            |pod: &&SeenPod| pod.words.iter().any(|word| word.eq_ignore_ascii_case("FELIX_NFTABLESMODE=Enabled"));
        let (level, message, hint) = match mode {
            ProxyMode::Nftables => (
                Level::Warning,
                format!(
                    "Calico ({}, {}) must also run in nftables mode, which needs Calico 3.29 or newer",
                    first.name, first.image
                ),
                "https://github.com/projectcalico/calico/issues/8025",
            ),
            ProxyMode::Iptables | ProxyMode::Ipvs
                if surroundings.calico.nftables || calico().any(|pod| enabled(&pod)) =>
            {
                (
                    Level::Warning,
                    format!(
                        "Calico ({}) runs in nftables mode (FELIX_NFTABLESMODE), which requires kube-proxy in nftables mode",
                        first.name
                    ),
                    "set nftablesMode to Auto or Disabled together with this change; https://docs.tigera.io/calico/latest/getting-started/kubernetes/nftables",
                )
            }
            ProxyMode::Iptables | ProxyMode::Ipvs => (
                Level::Info,
                format!(
                    "Calico ({}) detects ipvs mode by the link kube-ipvs0; restart calico-node if it does not notice the change",
                    first.name
                ),
                "https://github.com/projectcalico/calico/issues/8929",
            ),
        };
        findings.push(finding(level, "cni-mode", message, hint));
    }
    if let Some(cilium) = seen(surroundings, Neighbour::Cilium).next() {
        let message = format!(
            "Cilium ({}) may serve Services itself (kubeProxyReplacement); kube-proxy's mode then has little effect",
            cilium.name
        );
        let hint = "check with: cilium status | grep KubeProxyReplacement; https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/";
        findings.push(finding(Level::Warning, "cni-mode", message, hint));
    }
}

/// Whether all addresses of `-localip` are link-local.
fn listens_on_link_local_only(cache: &SeenPod) -> bool {
    let mut words = cache.words.iter();
    let mut addresses = None;
    while let Some(word) = words.next() {
        let bare = word.trim_start_matches('-');
        if bare == "localip" {
            addresses = words.next().cloned();
        } else if let Some(value) = bare.strip_prefix("localip=") {
            addresses = Some(value.to_owned());
        }
    }
    addresses.is_some_and(|list| {
        let mut all = list.split(',').map(str::trim).filter(|address| !address.is_empty()).peekable();
        all.peek().is_some()
            && all.all(|address| address.starts_with("169.254.") || address.to_lowercase().starts_with("fe80:"))
    })
}
