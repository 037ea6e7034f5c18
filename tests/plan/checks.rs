//! Every check of a plan, on a cluster that is sound but for one thing.

use kpx_prep::checks::check as check_table;
use kpx_prep::cluster::kube_proxy::daemon_set::ConfigSource;
use kpx_prep::cluster::kube_proxy::parking::Parked;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::flavour::Flavour;
use kpx_prep::cluster::observe::neighbours::{Neighbour, SeenPod};
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{Preparation, PreparationOutcome, Survey};
use kpx_prep::report::Level;

use crate::cluster_facts::{CHANGED, cluster, request, text};
use crate::{set_config, set_image, surroundings};

/// What is changed in an otherwise sound cluster, and the check that must notice.
type Case = (&'static str, &'static str, Level, fn(&mut ClusterFacts, &mut Surroundings, &mut Request));

const CASES: &[Case] = &[
    ("by-way-of-iptables", "nftables", Level::Error, |facts, _, request| {
        facts.nodes[2].proof.mode = Some(ProxyMode::Ipvs);
        request.clean = false;
        "v1.33.0".clone_into(&mut facts.version);
        "kube-proxy:v1.33.0".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    }),
    ("no-bridge", "nftables", Level::Error, |facts, _, request| {
        request.nodes_are_prepared = false;
        "v1.33.0".clone_into(&mut facts.version);
        set_image(facts, "kube-proxy:v1.33.0");
        let modules = Preparation { outcome: PreparationOutcome::AlreadyPrepared, ..Preparation::default() };
        let survey = Survey { lacks_time_match: true, modules, ..Survey::default() };
        facts.nodes[2].host = Some(Ok(survey));
    }),
    ("service-gap", "ipvs", Level::Warning, |facts, _, request| {
        facts.nodes[2].proof.mode = Some(ProxyMode::Nftables);
        request.direct = true;
    }),
    ("service-gap", "iptables", Level::Warning, |facts, _, request| {
        facts.nodes[2].proof.mode = Some(ProxyMode::Nftables);
        request.clean = false;
    }),
    ("parked", "ipvs", Level::Error, |facts, _, _| {
        facts.kube_proxy.as_mut().unwrap().parked = Some(Parked { selects: true, ..Parked::default() });
        facts.nodes.iter_mut().for_each(|node| node.pod = None);
    }),
    ("nodes-prepared", "ipvs", Level::Warning, |_, _, request| request.nodes_are_prepared = false),
    ("nodes-not-ready", "ipvs", Level::Warning, |facts, _, _| facts.nodes[2].ready = false),
    ("unhealthy-pods", "ipvs", Level::Error, |facts, _, _| facts.nodes[2].pod.as_mut().unwrap().ready = false),
    ("unhealthy-pods", "ipvs", Level::Error, |facts, _, _| facts.nodes[2].pod = None),
    ("pending-revision", "ipvs", Level::Error, |_, surroundings, _| {
        surroundings.newest_revisions = [("uid".to_owned(), "rev-2".to_owned())].into();
    }),
    ("pending-revision", "ipvs", Level::Error, |facts, _, _| facts.kube_proxy.as_mut().unwrap().generation = 2),
    ("image-skew", "ipvs", Level::Warning, |facts, _, _| {
        "kube-proxy:v1.29.0".clone_into(&mut facts.nodes[2].pod.as_mut().unwrap().image);
    }),
    ("image-skew", "ipvs", Level::Warning, |facts, _, _| "v1.29.0".clone_into(&mut facts.version)),
    ("immutable-config", "ipvs", Level::Error, |facts, _, _| facts.config.as_mut().unwrap().immutable = true),
    ("foreign-owner", "ipvs", Level::Error, |facts, _, _| {
        facts.config.as_mut().unwrap().owner = Some("Argo CD".to_owned());
    }),
    ("feature-gates", "ipvs", Level::Error, |facts, _, _| {
        set_config(facts, &(text("") + "featureGates: {SupportIPVSProxyMode: true}\n"));
    }),
    ("feature-gates", "ipvs", Level::Error, |facts, _, _| {
        set_config(
            facts,
            &(text("") + "featureGates: {KubeProxyDrainingTerminatingNodes: true, NFTablesProxyMod: true}\n"),
        );
    }),
    // Builds of 1.32 and newer were seen that only log it.
    ("feature-gates", "ipvs", Level::Warning, |facts, _, _| {
        set_config(facts, &(text("") + "featureGates: {SupportIPVSProxyMode: true}\n"));
        "kube-proxy:v1.36.2".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    }),
    // None was seen that takes another value than a gate is locked to.
    ("feature-gates", "ipvs", Level::Error, |facts, _, _| {
        set_config(facts, &(text("") + "featureGates: {NFTablesProxyMode: false}\n"));
        "kube-proxy:v1.36.2".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    }),
    // A pod that started with it shows that this build takes it.
    ("feature-gates", "ipvs", Level::Warning, |facts, _, _| {
        set_config(facts, &(text("") + "featureGates: {SupportIPVSProxyMode: true}\n"));
        facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 1;
    }),
    ("managed-cluster", "ipvs", Level::Error, |facts, _, _| facts.flavour = Flavour::Eks),
    ("managed-cluster", "ipvs", Level::Error, |facts, _, _| facts.flavour = Flavour::K3s),
    ("not-kubeadm", "ipvs", Level::Info, |facts, _, _| facts.flavour = Flavour::Other),
    ("mode-flag", "ipvs", Level::Warning, |facts, _, _| {
        facts.kube_proxy.as_mut().unwrap().mode_flag = Some("iptables".to_owned());
    }),
    ("flag-only-config", "ipvs", Level::Error, |facts, _, _| {
        facts.kube_proxy.as_mut().unwrap().config = ConfigSource::Flags;
        facts.config = None;
    }),
    ("no-kube-proxy", "ipvs", Level::Error, |facts, _, _| {
        facts.kube_proxy = None;
        facts.config = None;
    }),
    ("config-unreadable", "ipvs", Level::Error, |facts, _, _| set_config(facts, "mode: \"\"\n")),
    ("config-unreadable", "ipvs", Level::Error, |facts, _, _| set_config(facts, &(text("") + "mode: ipvs\n"))),
    ("config-unreadable", "ipvs", Level::Error, |facts, _, _| {
        set_config(facts, &format!("apiVersion: v1\nkind: Other\n---\n{}", text("")));
    }),
    ("config-field", "ipvs", Level::Error, |facts, _, _| {
        set_config(facts, &(text("") + "metricsBindAddress: 0.0.0.0:1O249\n"));
    }),
    ("metrics-port", "ipvs", Level::Warning, |_, surroundings, _| {
        surroundings.host_network_ports.insert(10249, "monitoring/exporter".to_owned());
    }),
    ("metrics-port", "ipvs", Level::Warning, |facts, _, _| {
        set_config(facts, &(text("") + "metricsBindAddress: 0.0.0.0:10256\n"));
    }),
    ("node-local-dns", "ipvs", Level::Error, |_, surroundings, _| {
        seen(
            surroundings,
            Neighbour::NodeLocalDns,
            "x/k8s-dns-node-cache:1",
            &["-localip", "169.254.20.10,10.96.0.10"],
        );
    }),
    ("strict-arp", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::MetalLb, "quay.io/metallb/speaker:v0.14", &[]);
    }),
    ("strict-arp", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::KubeVip, "ghcr.io/kube-vip/kube-vip:v0.8", &[]);
    }),
    ("foreign-ipvs", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::Keepalived, "osixia/keepalived:2", &[]);
    }),
    ("foreign-ipvs", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::KubeRouter, "x/kube-router:2", &[]);
    }),
    ("foreign-ipvs", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::LvsCare, "labring/lvscare:v4", &[]);
    }),
    ("foreign-ipvs", "ipvs", Level::Error, |facts, surroundings, _| {
        seen(surroundings, Neighbour::KubeVip, "x/kube-vip:1", &["lb_enable=true"]);
        set_config(facts, &text("").replace("strictARP: false", "strictARP: true"));
    }),
    ("foreign-ipvs", "ipvs", Level::Warning, |facts, surroundings, _| {
        seen(surroundings, Neighbour::LvsCare, "labring/lvscare:v4", &[]);
        set_config(facts, &text("").replace("strictARP: false", "excludeCIDRs: [10.103.97.2/32]"));
    }),
    ("foreign-ipvs", "nftables", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::LvsCare, "labring/lvscare:v4", &[]);
    }),
    ("load-balancer-ip", "ipvs", Level::Warning, |_, surroundings, _| {
        surroundings.load_balancers.push("default/web".to_owned());
    }),
    ("host-port", "ipvs", Level::Warning, |_, surroundings, _| {
        surroundings.service_ports.insert((80, "TCP".to_owned()));
        surroundings.host_ports.insert((80, "TCP".to_owned()), "default/ingress".to_owned());
    }),
    ("node-port", "ipvs", Level::Info, |_, surroundings, _| surroundings.node_ports = 1),
    ("node-port", "nftables", Level::Warning, |_, surroundings, _| surroundings.node_ports = 1),
    ("node-port", "nftables", Level::Info, |_, surroundings, _| surroundings.node_ports = 1),
    ("node-port", "ipvs", Level::Warning, |facts, surroundings, request| {
        *facts = cluster("nftables", ProxyMode::Nftables);
        surroundings.node_ports = 1;
        request.direct = true;
    }),
    ("traffic-policy-local", "nftables", Level::Warning, |_, surroundings, _| {
        surroundings.local_services.push("default/web".to_owned());
    }),
    ("node-local-dns", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::NodeLocalDns, "x/k8s-dns-node-cache:1", &["-localip", "10.96.0.10"]);
    }),
    ("strict-arp", "nftables", Level::Info, |facts, surroundings, request| {
        request.direct = true;
        *facts = cluster("ipvs", ProxyMode::Ipvs);
        set_config(facts, &text("ipvs").replace("strictARP: false", "strictARP: true"));
        seen(surroundings, Neighbour::MetalLb, "quay.io/metallb/speaker:v0.14", &[]);
    }),
    ("strict-arp", "iptables", Level::Info, |facts, surroundings, _| {
        *facts = cluster("ipvs", ProxyMode::Ipvs);
        set_config(facts, &text("ipvs").replace("strictARP: false", "strictARP: true"));
        seen(surroundings, Neighbour::KubeVip, "ghcr.io/kube-vip/kube-vip:v0.8", &[]);
    }),
    ("cni-mode", "nftables", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.28.2", &[]);
    }),
    ("cni-mode", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.31.5", &[]);
    }),
    ("cni-mode", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "mirror/calico-node@sha256:00", &[]);
    }),
    ("cni-mode", "nftables", Level::Info, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.32.0", &[]);
    }),
    // One of an older version remains.
    ("cni-mode", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.32.0", &[]);
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.30.1", &[]);
    }),
    ("cni-mode", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.32.0", &["FELIX_NFTABLESMODE=Disabled"]);
    }),
    ("cni-mode", "nftables", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.32.0", &[]);
        surroundings.calico.no_nftables = true;
    }),
    ("cni-mode", "nftables", Level::Info, |_, surroundings, _| {
        seen(surroundings, Neighbour::Flannel, "ghcr.io/flannel-io/flannel:v0.27.0", &[]);
    }),
    ("cni-mode", "ipvs", Level::Info, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.28", &[]);
    }),
    ("cni-mode", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "docker.io/calico/node:v3.28", &["FELIX_BPFENABLED=true"]);
    }),
    ("cni-mode", "ipvs", Level::Warning, |_, surroundings, _| {
        seen(surroundings, Neighbour::Cilium, "quay.io/cilium/cilium:v1.15", &[]);
    }),
    // Of several pods, each is looked at.
    ("cni-mode", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "mirror/calico-node:v3.28", &[]);
        seen(surroundings, Neighbour::Calico, "mirror/calico-node:v3.28", &["FELIX_BPFENABLED=1"]);
    }),
    ("cni-mode", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::Calico, "calico/node:v3.30", &[]);
        surroundings.calico.bpf = true;
    }),
    ("cni-mode", "iptables", Level::Warning, |facts, surroundings, _| {
        *facts = cluster("nftables", ProxyMode::Nftables);
        seen(surroundings, Neighbour::Calico, "calico/node:v3.30", &["FELIX_NFTABLESMODE=Enabled"]);
    }),
    ("node-local-dns", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::NodeLocalDns, "x/k8s-dns-node-cache:1", &["-localip", "169.254.20.10"]);
        seen(surroundings, Neighbour::NodeLocalDns, "x/k8s-dns-node-cache:1", &["-localip", "10.96.0.10"]);
    }),
    ("strict-arp", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::PureLb, "x/lbnodeagent:1", &[]);
    }),
    ("strict-arp", "ipvs", Level::Error, |_, surroundings, _| {
        seen(surroundings, Neighbour::OpenElb, "x/openelb:1", &[]);
    }),
    ("other-kube-proxy", "ipvs", Level::Error, |_, surroundings, _| {
        surroundings.other_proxies.insert("edge-1".to_owned(), "edge/kube-proxy-x7k2p".to_owned());
    }),
    ("idle-timeout", "ipvs", Level::Warning, |_, _, _| {}),
];

fn seen(surroundings: &mut Surroundings, who: Neighbour, image: &str, words: &[&str]) {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let pod = SeenPod { name: format!("x/{who:?}"), image: image.to_owned(), words };
    surroundings.neighbours.entry(who).or_default().push(pod);
}

#[test]
fn every_check_notices_its_case_and_can_be_ignored() {
    for (id, mode, level, change) in CASES {
        let (mut facts, mut surroundings, mut request) =
            (cluster("", ProxyMode::Iptables), surroundings(), request(mode));
        change(&mut facts, &mut surroundings, &mut request);
        let planned = plan(&facts, &surroundings, &request);
        let check = planned.checks.iter().find(|check| check.id == *id && check.level == *level);
        let check = check.unwrap_or_else(|| panic!("{id} for {mode}: {:?}", planned.checks));
        assert!(check.hint.as_ref().is_some_and(|hint| hint.contains("https://")), "{id} has no link: {check:?}");
        assert_eq!(planned.is_blocked(), *level == Level::Error, "{id} for {mode}: {:?}", planned.checks);
        if *level == Level::Error {
            request.ignored_checks = vec![(*id).to_owned()];
            let planned = plan(&facts, &surroundings, &request);
            let ignored = planned.checks.iter().any(|check| check.message.ends_with(" (ignored)"));
            let can_be_ignored = check_table(id).unwrap().ignorable;
            assert_eq!((planned.is_blocked(), ignored), (!can_be_ignored, can_be_ignored), "{id} ignored");
        }
    }
}

#[test]
fn a_sound_cluster_has_no_findings() {
    let (mut surroundings, mut facts) = (surroundings(), cluster("", ProxyMode::Iptables));
    seen(&mut surroundings, Neighbour::NodeLocalDns, "x/k8s-dns-node-cache:1", &["-localip", "169.254.20.10"]);
    seen(&mut surroundings, Neighbour::MetalLb, "quay.io/metallb/speaker:v0.14", &[]);
    seen(&mut surroundings, Neighbour::KubeVip, "ghcr.io/kube-vip/kube-vip:v0.8", &[]);
    seen(&mut surroundings, Neighbour::KubeRouter, "x/kube-router:2", &["--run-service-proxy=false"]);
    surroundings.service_ports.insert((80, "TCP".to_owned()));
    surroundings.host_ports.insert((80, "UDP".to_owned()), "default/x".to_owned());
    let strict = text("").replace("strictARP: false", "strictARP: true\n  tcpTimeout: 2h0m0s");
    set_config(&mut facts, &strict);
    let planned = plan(&facts, &surroundings, &request("ipvs"));
    assert_eq!(planned.checks, [], "{:?}", planned.checks);
    // A half-done change may be completed although pods are unhealthy.
    let mut facts = cluster("ipvs", ProxyMode::Iptables);
    facts.nodes[1].pod.as_mut().unwrap().ready = false;
    assert!(!plan(&facts, &surroundings, &request("ipvs")).is_blocked());
    // Nor does a change away from ipvs need prepared nodes.
    let request = Request { nodes_are_prepared: false, ..request("iptables") };
    assert!(!plan(&cluster("ipvs", ProxyMode::Ipvs), &surroundings, &request).is_blocked());
}

/// What changes for this cluster, and nothing else.
#[test]
fn what_stays_the_same_is_not_named() {
    let check = |facts: &ClusterFacts, surroundings: &Surroundings, id: &str| -> Vec<String> {
        let planned = plan(facts, surroundings, &request("nftables"));
        planned.checks.iter().filter(|check| check.id == id).map(|check| check.message.clone()).collect()
    };
    let (mut seen_around, mut facts) = (surroundings(), cluster("iptables", ProxyMode::Iptables));
    seen_around.node_ports = 2;
    seen_around.local_services.push("default/web".to_owned());
    facts.nodes[1].more_addresses = vec!["192.0.2.7".to_owned()];
    let found = check(&facts, &seen_around, "node-port");
    assert!(found[0].ends_with("primary addresses, and no longer on: worker-1 (192.0.2.7)"), "{found:?}");
    assert_eq!(found.len(), 2, "and 127.0.0.1: {found:?}");
    // Addresses that are set stay, and what iptables mode does not serve is not lost.
    set_config(
        &mut facts,
        &(text("iptables") + "nodePortAddresses: [0.0.0.0/0]\niptables: {localhostNodePorts: false}\n"),
    );
    assert_eq!(check(&facts, &seen_around, "node-port"), [""; 0]);
    // ipvs mode never served 127.0.0.1.
    let found = check(&cluster("ipvs", ProxyMode::Ipvs), &seen_around, "node-port");
    assert_eq!(found.len(), 1, "{found:?}");
    // Fixed in 1.34.
    assert_eq!(check(&facts, &seen_around, "traffic-policy-local").len(), 1);
    crate::set_image(&mut facts, "kube-proxy:v1.34.0");
    assert_eq!(check(&facts, &seen_around, "traffic-policy-local"), [""; 0]);
    // Calico that is in nftables mode already.
    seen(&mut seen_around, Neighbour::Calico, "calico/node:v3.30.0", &["FELIX_NFTABLESMODE=enabled"]);
    assert_eq!(check(&facts, &seen_around, "cni-mode"), [""; 0]);
    seen_around.neighbours.clear();
    seen(&mut seen_around, Neighbour::NodeLocalDns, "x/k8s-dns-node-cache:1", &["-localip", "169.254.20.10"]);
    assert_eq!(check(&facts, &seen_around, "node-local-dns"), [""; 0]);
}

#[test]
fn kube_vip_wants_strict_arp_only_where_it_uses_arp() {
    for (words, needed) in [
        (&[][..], true),
        (&["vip_arp=true"][..], true),
        (&["vip_arp=true", "bgp_enable=true"][..], true),
        (&["manager", "--arp", "--services"][..], true),
        (&["vip_arp=false"][..], false),
        (&["bgp_enable=true"][..], false),
        (&["manager", "--bgp"][..], false),
    ] {
        let (mut surroundings, facts) = (surroundings(), cluster("", ProxyMode::Iptables));
        seen(&mut surroundings, Neighbour::KubeVip, "ghcr.io/kube-vip/kube-vip:v0.8", words);
        let planned = plan(&facts, &surroundings, &request("ipvs"));
        assert_eq!(planned.checks.iter().any(|check| check.id == "strict-arp"), needed, "{words:?}");
    }
}
