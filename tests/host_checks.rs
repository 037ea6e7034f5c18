//! What preflight makes of the nodes' hosts: tables of surveys, no cluster.

#[path = "support/cluster_facts.rs"]
mod cluster_facts;

use cluster_facts::{CHANGED, cluster, request};
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::checks::hosts::of_status;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{Leftover, LeftoverKind, Preparation, PreparationOutcome, Survey, VirtualServer};
use kpx_prep::report::{Level, finding};

fn survey() -> Survey {
    let modules = Preparation { outcome: PreparationOutcome::AlreadyPrepared, ..Preparation::default() };
    Survey {
        kernel: "6.1.0-18-amd64".to_owned(),
        modules,
        running: Some("iptables".to_owned()),
        local_ports: Some((32768, 60999)),
        iptables: Some("nft".to_owned()),
        nft: Some("1.0.6".to_owned()),
        ..Survey::default()
    }
}

fn leftover(of: &str) -> Leftover {
    let (place, name) = ("ipv4 filter (legacy)".to_owned(), "KUBE-SERVICES".to_owned());
    Leftover { of: of.to_owned(), kind: LeftoverKind::Chain, place, name }
}

fn server(address: &str, claimed: bool) -> VirtualServer {
    VirtualServer {
        protocol: "TCP".to_owned(),
        address: address.parse().unwrap(),
        port: 80,
        scheduler: "wlc".to_owned(),
        claimed,
        connections: 0,
    }
}

fn looked_at(mode: &str, effective: ProxyMode) -> ClusterFacts {
    let mut facts = cluster(mode, effective);
    facts.nodes.iter_mut().for_each(|node| node.host = Some(Ok(survey())));
    facts
}

fn host(facts: &mut ClusterFacts) -> &mut Survey {
    facts.nodes[2].host.as_mut().unwrap().as_mut().unwrap()
}

fn not_prepared(host: &mut Survey) {
    let note = finding(
        Level::Error,
        "module-missing",
        "ip_vs: not in the kernel's modules",
        "install linux-modules-extra-6.1",
    );
    host.modules =
        Preparation { outcome: PreparationOutcome::NotPrepared, summary: "no".to_owned(), findings: vec![note] };
}

fn without_ipv6(host: &mut Survey) {
    host.modules.findings.push(finding(Level::Warning, "ipvs-without-ipv6", "no IPv6", ""));
}

#[test]
fn ipv6_matters_only_where_services_have_it() {
    let mut facts = looked_at("", ProxyMode::Iptables);
    without_ipv6(host(&mut facts));
    let request = Request { nodes_are_prepared: false, ..request("ipvs") };
    let checks = plan(&facts, &Surroundings::default(), &request).checks;
    assert!(checks.iter().all(|check| check.id != "ipvs-without-ipv6"), "{checks:?}");
}

/// The check, the wanted mode, its level, what is changed, and what the check must mention.
type Case = (&'static str, &'static str, Level, fn(&mut ClusterFacts, &mut Surroundings, &mut Request), &'static str);

const CASES: &[Case] = &[
    ("node-modules", "ipvs", Level::Error, |facts, _, _| not_prepared(host(facts)), "worker-2: ip_vs"),
    ("node-modules", "ipvs", Level::Error, |facts, _, _| not_prepared(host(facts)), "linux-modules-extra-6.1"),
    (
        "ipvs-without-ipv6",
        "ipvs",
        Level::Error,
        |facts, surroundings, _| {
            without_ipv6(host(facts));
            surroundings.services.addresses.insert("fd00::1".parse().unwrap());
        },
        "worker-2: the kernel's IPVS does not support IPv6",
    ),
    ("node-helper", "ipvs", Level::Error, |facts, _, _| facts.nodes[1].host = Some(Err("no pod".to_owned())), "no pod"),
    (
        "node-helper",
        "nftables",
        Level::Error,
        |facts, _, _| facts.nodes[1].host = Some(Err("no pod".to_owned())),
        "worker-1",
    ),
    (
        "node-helper",
        "nftables",
        Level::Warning,
        |facts, _, request| {
            request.nodes_are_prepared = true;
            facts.nodes[1].host = Some(Err("no pod".to_owned()));
        },
        "worker-1",
    ),
    ("node-modules", "nftables", Level::Error, |facts, _, _| not_prepared(host(facts)), "proxy-mode-nftables"),
    (
        "nft-mismatch",
        "nftables",
        Level::Warning,
        |facts, _, _| {
            let note = finding(Level::Warning, "nft-mismatch", "kube-proxy's nft 1.0.6 may crash", "");
            host(facts).modules.findings.push(note);
        },
        "136786",
    ),
    (
        "foreign-virtual-servers",
        "ipvs",
        Level::Error,
        |facts, _, _| host(facts).virtual_servers.extend([server("192.0.2.1", false), server("fd00::1", false)]),
        "--exclude-cidrs 192.0.2.1/32,fd00::1/128",
    ),
    (
        "foreign-virtual-servers",
        "nftables",
        Level::Error,
        |facts, _, _| host(facts).virtual_servers.push(server("192.0.2.1", false)),
        "cannot run on the same node",
    ),
    ("leftovers", "ipvs", Level::Info, |facts, _, _| host(facts).leftovers.push(leftover("ipvs")), "worker-2 (1)"),
    (
        "leftovers",
        "ipvs",
        Level::Warning,
        |facts, _, request| {
            host(facts).leftovers.push(leftover("ipvs"));
            request.clean = false;
        },
        "kpx-prep node clean",
    ),
    ("suspicious-rules", "ipvs", Level::Info, |facts, _, _| host(facts).suspicious.push("KUBE-LIKE".to_owned()), "(1)"),
    (
        "input-policy",
        "ipvs",
        Level::Warning,
        |facts, surroundings, _| {
            surroundings.services.node_ports.insert(30080);
            host(facts).input_drops.push("ipv4".to_owned());
        },
        "98465",
    ),
    (
        "input-policy",
        "nftables",
        Level::Warning,
        |facts, surroundings, _| {
            surroundings.health_check_ports.insert(31000);
            host(facts).input_drops.push("ipv4".to_owned());
        },
        "health check node ports",
    ),
    (
        "forward-policy",
        "nftables",
        Level::Warning,
        |facts, _, _| host(facts).forward_drops.push("ipv4".to_owned()),
        "FORWARD chain of iptables",
    ),
    (
        "local-port-range",
        "ipvs",
        Level::Warning,
        |facts, _, _| host(facts).local_ports = Some((1024, 60999)),
        "worker-2",
    ),
    (
        "local-port-range",
        "ipvs",
        Level::Warning,
        |_, surroundings, _| surroundings.services.node_ports.extend([40000]),
        "132068",
    ),
    (
        "conn-reuse-mode",
        "ipvs",
        Level::Warning,
        |facts, _, _| "5.4.0-26-generic".clone_into(&mut host(facts).kernel),
        "5.9",
    ),
    (
        "portmap-mark-chain",
        "nftables",
        Level::Warning,
        |facts, _, _| host(facts).mark_chains.push("/etc/cni/net.d/10-x.conflist: KUBE-MARK-MASQ".to_owned()),
        "externalSetMarkChain",
    ),
    (
        "other-kube-proxy",
        "ipvs",
        Level::Error,
        |facts, _, _| host(facts).other_kube_proxies.push("process 7 (/system.slice/kube-proxy.service)".to_owned()),
        "--exclude-nodes worker-2",
    ),
    ("iptables-variant", "ipvs", Level::Warning, |facts, _, _| host(facts).both_iptables = true, "legacy"),
    (
        "network-manager",
        "ipvs",
        Level::Warning,
        |facts, _, request| {
            host(facts).network_manager_interferes = true;
            request.nodes_are_prepared = true;
        },
        "kube-ipvs0",
    ),
    ("nft-version", "nftables", Level::Warning, |facts, _, _| host(facts).nft = Some("1.0.0".to_owned()), "worker-2"),
    (
        "exclude-nodes",
        "ipvs",
        Level::Error,
        |_, _, request| request.exclude_nodes = vec!["worker-3".to_owned()],
        "worker-3",
    ),
    (
        "exclude-nodes",
        "ipvs",
        Level::Warning,
        |facts, _, request| {
            "kube-proxy:v1.25.1".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
            request.exclude_nodes = vec!["worker-3".to_owned()];
        },
        "falls back to iptables",
    ),
    (
        "exclude-nodes",
        "nftables",
        Level::Warning,
        |_, _, request| request.exclude_nodes = vec!["worker-3".to_owned()],
        "nftables",
    ),
    (
        "exclude-nodes",
        "nftables",
        Level::Error,
        |_, _, request| request.exclude_nodes = vec!["worker-9".to_owned()],
        "worker-9",
    ),
];

#[test]
fn every_check_notices_its_case() {
    for (id, mode, level, change, mention) in CASES {
        let (mut facts, mut surroundings) = (looked_at("", ProxyMode::Iptables), Surroundings::default());
        let mut request = Request { nodes_are_prepared: false, ..request(mode) };
        let planned = plan(&facts, &surroundings, &request);
        assert!(!planned.checks.iter().any(|check| check.id == *id), "{id} complains of what is sound");
        change(&mut facts, &mut surroundings, &mut request);
        let planned = plan(&facts, &surroundings, &request);
        let check = planned.checks.iter().find(|check| check.id == *id && check.level == *level);
        let check = check.unwrap_or_else(|| panic!("{id} for {mode}: {:?}", planned.checks));
        let text = format!("{} {}", check.message, check.hint.as_deref().unwrap_or_default());
        assert!(text.contains(mention), "{mention:?} is not in {text}");
        assert!(text.contains("https://") || *id == "exclude-nodes", "{id} has no link: {text}");
        assert_eq!(planned.is_blocked(), *level == Level::Error, "{id} for {mode}: {:?}", planned.checks);
        if *level == Level::Error {
            request.ignored_checks = vec![(*id).to_owned()];
            assert!(!plan(&facts, &surroundings, &request).is_blocked(), "{id} cannot be ignored");
        }
    }
}

#[test]
fn virtual_servers_of_services_and_protected_ones_are_accepted() {
    let mut facts = looked_at("", ProxyMode::Iptables);
    let servers = [server("10.96.0.5", false), server("10.96.0.9", true), server("192.0.2.1", false)];
    host(&mut facts).virtual_servers.extend(servers);
    let config = facts.config.as_mut().unwrap();
    config.text = config.text.replace("strictARP: false", "excludeCIDRs: [192.0.2.0/24]");
    let mut surroundings = Surroundings::default();
    surroundings.services.addresses.insert("10.96.0.5".parse().unwrap());
    assert!(!plan(&facts, &surroundings, &request("ipvs")).is_blocked());
}

#[test]
fn leftovers_on_nodes_that_are_right_are_work_to_do() {
    let mut facts = looked_at("ipvs", ProxyMode::Ipvs);
    facts.nodes.iter_mut().for_each(|node| node.pod.as_mut().unwrap().created = CHANGED);
    assert!(plan(&facts, &Surroundings::default(), &request("ipvs")).is_empty());
    host(&mut facts).leftovers.push(leftover("iptables"));
    let planned = plan(&facts, &Surroundings::default(), &request("ipvs"));
    assert!(!planned.is_empty() && !planned.is_blocked() && !planned.edits);
    assert_eq!((planned.to_clean, planned.canary), (vec!["worker-2".to_owned()], None));
    let keeps = Request { clean: false, ..request("ipvs") };
    assert!(plan(&facts, &Surroundings::default(), &keeps).is_empty());
}

#[test]
fn only_nodes_that_are_not_prepared_are_prepared() {
    let mut facts = looked_at("", ProxyMode::Iptables);
    let wanted = Request { nodes_are_prepared: false, ..request("ipvs") };
    assert!(plan(&facts, &Surroundings::default(), &wanted).to_prepare.is_empty());
    host(&mut facts).modules.outcome = PreparationOutcome::WouldPrepare;
    assert_eq!(plan(&facts, &Surroundings::default(), &wanted).to_prepare, ["worker-2"]);
    let nftables = Request { nodes_are_prepared: false, ..request("nftables") };
    assert_eq!(plan(&facts, &Surroundings::default(), &nftables).to_prepare, ["worker-2"]);
    let iptables = Request { nodes_are_prepared: false, ..request("iptables") };
    for other in [request("ipvs"), request("nftables"), iptables] {
        assert!(plan(&facts, &Surroundings::default(), &other).to_prepare.is_empty());
    }
}

#[test]
fn status_reports_unprepared_nodes_and_leftovers() {
    let mut facts = looked_at("ipvs", ProxyMode::Ipvs);
    assert_eq!(of_status(&facts), []);
    host(&mut facts).modules.outcome = PreparationOutcome::WouldPrepare;
    host(&mut facts).leftovers.push(leftover("iptables"));
    let found = of_status(&facts);
    let ids: Vec<_> = found.iter().map(|finding| (&*finding.id, finding.level)).collect();
    assert_eq!(ids, [("node-modules", Level::Warning), ("leftovers", Level::Warning)]);
    let mut facts = looked_at("nftables", ProxyMode::Nftables);
    host(&mut facts).modules.outcome = PreparationOutcome::WouldPrepare;
    assert_eq!(of_status(&facts), [], "its modules are loaded on demand");
    not_prepared(host(&mut facts));
    assert_eq!(of_status(&facts).iter().map(|finding| &*finding.id).collect::<Vec<_>>(), ["node-modules"]);
}
