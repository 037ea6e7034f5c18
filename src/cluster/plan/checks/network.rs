//! Checks of other software in the nodes' network, and of Services that modes treat differently.

use serde_json::Value;

use super::question::Question;
use crate::cluster::observe::facts::NodeFacts;
use crate::cluster::observe::neighbours::{Neighbour, SeenPod};
use crate::cluster::observe::surroundings::Surroundings;
use crate::mode::ProxyMode;
use crate::proxy_config::{PRIMARY_FROM, ProxyConfig};
use crate::report::foreign::foreign;
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
        ProxyMode::Nftables => nftables(question, config, findings),
        ProxyMode::Iptables => {}
    }
    node_ports(question, config, findings);
    if target.mode != ProxyMode::Ipvs {
        strict_arp_may_go(question, findings);
    }
    super::cni::check(surroundings, target.mode, findings);
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
    surroundings
        .pods_of(Neighbour::KubeVip)
        .filter(by_arp)
        .chain(others.into_iter().flat_map(|who| surroundings.pods_of(who)))
}

fn ipvs(surroundings: &Surroundings, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    if let Some(cache) = surroundings.pods_of(Neighbour::NodeLocalDns).find(|cache| !listens_on_link_local_only(cache))
    {
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
    if let Some(antrea) = surroundings.pods_of(Neighbour::Antrea).next().filter(|_| config.strict_arp) {
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
    if config.tcp_timeout.is_none() {
        // kube-proxy sets the timeout in every mode: 24 h if none is configured (defaults.go of its configuration).
        let conntrack = config.value("conntrack.tcpEstablishedTimeout").and_then(Value::as_str);
        let message = format!(
            "idle TCP connections through Services will time out after 900 s (IPVS default) instead of {} (conntrack)",
            conntrack.map_or_else(|| "24h".to_owned(), foreign)
        );
        let hint = "use TCP keepalive, or set ipvs.tcpTimeout; https://github.com/kubernetes/kubernetes/issues/84041";
        findings.push(finding(Level::Warning, "idle-timeout", message, hint));
    }
}

/// `externalTrafficPolicy: Local`: nftables mode drops what pods send to the external addresses of such Services, on nodes
/// without an endpoint, up to 1.33 (kubernetes#131765; fixed by #132456 in 1.34, and by #133969 in later patch releases of 1.33).
const LOCAL_FIXED_IN: u32 = 34;

fn nftables(question: Question, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    let Question { facts, surroundings, .. } = question;
    for pod in ipvs_users(surroundings) {
        let message = format!(
            "{} ({}) has its own IPVS virtual servers; in nftables mode kube-proxy flushes IPVS at every start",
            pod.name, pod.image
        );
        let hint = "they cannot run on the same node; https://github.com/kubernetes/kubernetes/issues/55857";
        findings.push(finding(Level::Error, "foreign-ipvs", message, hint));
    }
    if let Some(cache) = surroundings.pods_of(Neighbour::NodeLocalDns).find(|cache| !listens_on_link_local_only(cache))
    {
        let message = format!(
            "NodeLocal DNSCache ({}) binds the address of the DNS Service and keeps kube-proxy from it by iptables rules only; its documentation does not cover nftables mode",
            cache.name
        );
        let hint = "check after the canary that pods there resolve names through the cache, or let it listen on 169.254.20.10 only and set that as clusterDNS of the kubelets; https://github.com/kubernetes/dns/issues/682";
        findings.push(finding(Level::Warning, "node-local-dns", message, hint));
    }
    if !surroundings.local_services.is_empty() && facts.minor() < LOCAL_FIXED_IN {
        let message = format!(
            "Services with externalTrafficPolicy: Local and external addresses: {}; nftables mode of kube-proxy 1.33 and older drops what pods send to these addresses on nodes without an endpoint",
            few(&surroundings.local_services)
        );
        let hint = "use kube-proxy 1.34 or newer, or a patch release of 1.33 with the fix; https://github.com/kubernetes/kubernetes/pull/133969";
        findings.push(finding(Level::Warning, "traffic-policy-local", message, hint));
    }
    // In 1.29 it serves all addresses (kubernetes#122724).
    let primary = facts.minor() >= PRIMARY_FROM && config.is_empty("nodePortAddresses");
    if primary && surroundings.node_ports > 0 && facts.target() != Ok(ProxyMode::Nftables) {
        let more = |node: &NodeFacts| {
            let more = node.more_addresses.join(", ");
            (!more.is_empty()).then(|| format!("{} ({more})", node.name))
        };
        let lost: Vec<_> = facts.proxy_nodes().filter_map(more).collect();
        let lost = if lost.is_empty() { String::new() } else { format!(", and no longer on: {}", few(&lost)) };
        let message = format!(
            "{} Service(s) with node ports; nftables mode serves them only on the nodes' primary addresses{lost}",
            surroundings.node_ports
        );
        let hint = "to serve every address, add --node-port-addresses 0.0.0.0/0,::/0; https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables";
        findings.push(finding(Level::Warning, "node-port", message, hint));
    }
}

/// Node ports on 127.0.0.1, which only iptables mode serves by default, and on every address, which nftables mode does not
/// serve by default.
fn node_ports(question: Question, config: &ProxyConfig, findings: &mut Vec<Finding>) {
    let Question { facts, surroundings, target, .. } = question;
    if surroundings.node_ports == 0 {
        return;
    }
    let number = surroundings.node_ports;
    let from = facts.target().ok();
    let localhost = facts.config.as_ref().and_then(|config| config.parsed.as_ref().ok());
    let localhost = localhost.and_then(|live| live.value("iptables.localhostNodePorts")).and_then(Value::as_bool);
    if from == Some(ProxyMode::Iptables) && target.mode != ProxyMode::Iptables && localhost != Some(false) {
        let message =
            format!("{number} Service(s) with node ports; 127.0.0.1:<nodePort> does not work in {} mode", target.mode);
        let hint = match target.mode {
            ProxyMode::Ipvs | ProxyMode::Iptables => "https://github.com/kubernetes/kubernetes/issues/67730",
            ProxyMode::Nftables => {
                "whether it is used: kubeproxy_iptables_localhost_nodeports_accepted_packets_total of kube-proxy; https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables"
            }
        };
        findings.push(finding(Level::Info, "node-port", message, hint));
    }
    let primary = from == Some(ProxyMode::Nftables) && facts.minor() >= PRIMARY_FROM;
    if primary && target.mode != ProxyMode::Nftables && config.is_empty("nodePortAddresses") {
        let message = format!(
            "{number} Service(s) with node ports; {} mode serves them on every address of a node, not only on the primary one",
            target.mode
        );
        let hint = "to keep them to the primary addresses, add --node-port-addresses primary; https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables";
        findings.push(finding(Level::Warning, "node-port", message, hint));
    }
}

/// strictARP keeps nodes from answering for the addresses on `kube-ipvs0`, which no other mode has.
fn strict_arp_may_go(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, surroundings, target, .. } = question;
    let live = facts.config.as_ref().and_then(|config| config.parsed.as_ref().ok());
    if facts.target() != Ok(ProxyMode::Ipvs) || live.is_none_or(|live| !live.strict_arp) {
        return;
    }
    let names: Vec<_> = announcers(surroundings).map(|pod| pod.name.clone()).collect();
    if !names.is_empty() {
        let message = format!("{}: strictARP has no effect and is not needed in {} mode", few(&names), target.mode);
        let hint = "the field may stay; arp_ignore and arp_announce keep their values until the nodes boot again; https://metallb.io/installation/#preparation";
        findings.push(finding(Level::Info, "strict-arp", message, hint));
    }
}

/// Pods with their own IPVS virtual servers: kube-vip only if enabled, kube-router unless disabled.
fn ipvs_users(surroundings: &Surroundings) -> impl Iterator<Item = &SeenPod> {
    let says = |pod: &SeenPod, words: &[&str]| pod.words.iter().any(|word| words.contains(&word.as_str()));
    let balances =
        move |pod: &&SeenPod| says(pod, &["lb_enable=true", "--enableLoadBalancer", "--enableLoadBalancer=true"]);
    let serves = move |pod: &&SeenPod| !says(pod, &["--run-service-proxy=false"]);
    let others = [Neighbour::Keepalived, Neighbour::LvsCare];
    surroundings
        .pods_of(Neighbour::KubeVip)
        .filter(balances)
        .chain(surroundings.pods_of(Neighbour::KubeRouter).filter(serves))
        .chain(others.into_iter().flat_map(|who| surroundings.pods_of(who)))
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
