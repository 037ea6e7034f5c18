//! The plan of `--mode none`: its checks, each of which fires and is ignored where it can be, and its order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kpx_prep::checks::check as check_table;
use kpx_prep::cluster::kube_proxy::parking::Parked;
use kpx_prep::cluster::observe::data_plane::DataPlane;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::flavour::Flavour;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::Plan;
use kpx_prep::cluster::plan::parking::{Parking, park};
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::cluster::report::parking_text::{parking_text, unparking_text};
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{ServicePort, Survey};
use kpx_prep::report::Level;

use crate::cluster_facts::{cluster, request};
use crate::{ids, order, surroundings};

const SERVICE: &str = "10.96.0.1:443";

fn service() -> SocketAddr {
    SERVICE.parse().unwrap()
}

/// A cluster in which another data plane answers on every node.
fn replaced() -> (ClusterFacts, Surroundings, DataPlane) {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    for node in &mut facts.nodes {
        node.host = Some(Ok(Survey { translated: vec![service()], ..Survey::default() }));
    }
    let mut surroundings = surroundings();
    surroundings.services.ports.push(ServicePort {
        name: "default/kubernetes:https".to_owned(),
        protocol: "TCP".to_owned(),
        port: 443,
        addresses: vec![service().ip()],
        node_port: None,
        must_answer: false,
    });
    (facts, surroundings, Ok("Cilium (kube-system/cilium-x)".to_owned()))
}

fn planned(facts: &ClusterFacts, surroundings: &Surroundings, request: &Request, plane: &DataPlane) -> (Plan, Parking) {
    park(facts, surroundings, request, plane, &BTreeSet::new())
}

/// What is changed, and the check that must notice.
type Case = (&'static str, &'static str, Level, fn(&mut ClusterFacts, &mut Surroundings, &mut DataPlane));

const CASES: &[Case] = &[
    ("unknown-data-plane", "none", Level::Error, |_, _, plane| *plane = Err("none was found".to_owned())),
    ("unverified-data-plane", "none", Level::Error, |facts, _, _| facts.nodes[2].host = Some(Ok(Survey::default()))),
    ("unverified-data-plane", "none", Level::Error, |facts, _, _| {
        let other = vec!["10.96.0.10:53".parse().unwrap()];
        facts.nodes[0].host = Some(Ok(Survey { translated: other, ..Survey::default() }));
    }),
    ("unverified-data-plane", "none", Level::Error, |facts, _, _| {
        facts.nodes[2].host = Some(Err("no answer".to_owned()));
    }),
    ("unverified-data-plane", "none", Level::Error, |_, surroundings, _| surroundings.services.ports.clear()),
    ("other-kube-proxy", "none", Level::Error, |_, surroundings, _| {
        surroundings.other_proxies.insert("worker-1".to_owned(), "edge/kube-proxy-x".to_owned());
    }),
    ("no-kube-proxy", "none", Level::Error, |facts, _, _| facts.kube_proxy = None),
    ("managed-cluster", "none", Level::Error, |facts, _, _| facts.flavour = Flavour::Eks),
    ("nodes-not-ready", "none", Level::Warning, |facts, _, _| facts.nodes[2].ready = false),
    ("unverified-node-ports", "none", Level::Warning, |_, surroundings, _| surroundings.node_ports = 2),
];

#[test]
fn each_check_fires_alone_and_is_ignored_where_it_can_be() {
    let (facts, around, plane) = replaced();
    assert!(planned(&facts, &around, &request("ipvs"), &plane).0.checks.is_empty());
    for (id, _, level, change) in CASES {
        let (mut facts, mut around, mut plane) = replaced();
        change(&mut facts, &mut around, &mut plane);
        let (plan, _) = planned(&facts, &around, &request("ipvs"), &plane);
        assert_eq!(ids(&plan, *level), [*id]);
        assert_eq!(plan.checks.len(), 1, "{id}");
        let ignoring = Request { ignored_checks: vec![(*id).to_owned()], ..request("ipvs") };
        let (plan, _) = planned(&facts, &around, &ignoring, &plane);
        let ignorable = check_table(id).unwrap().ignorable;
        assert_eq!(plan.is_blocked(), *level == Level::Error && !ignorable, "{id}");
    }
}

#[test]
fn workers_first_and_what_is_clean_is_left() {
    let (mut facts, around, plane) = replaced();
    let (plan, parking) = planned(&facts, &around, &request("ipvs"), &plane);
    assert_eq!(order(&plan), "worker-1 | worker-2 worker-3 control-1");
    assert_eq!((parking.api_service, parking.already_parked), (Some(service()), false));
    let text = parking_text(Some(&facts), &plan, &parking);
    for said in
        ["add the nodeSelector kpx-prep/parked", "canary worker-1", SERVICE, "Cilium", "kube-proxy in ipvs mode again"]
    {
        assert!(text.contains(said), "{said} in\n{text}");
    }
    let asked = Request { canary: Some("worker-9".to_owned()), ..request("ipvs") };
    assert_eq!(ids(&planned(&facts, &around, &asked, &plane).0, Level::Error), ["canary"]);
    // Parked, by a run that was killed.
    facts.kube_proxy.as_mut().unwrap().parked =
        Some(Parked { selects: true, since: "2026-11-27T01:00:00Z".to_owned(), ..Parked::default() });
    facts.nodes.iter_mut().for_each(|node| node.pod = None);
    let clean: BTreeSet<String> = ["worker-1".to_owned(), "worker-2".to_owned()].into();
    let (plan, parking) = park(&facts, &around, &request("ipvs"), &plane, &clean);
    assert_eq!((order(&plan).as_str(), parking.already_parked), ("worker-3 | control-1", true));
    assert_eq!(plan.already_right, ["worker-1", "worker-2"]);
    assert!(!parking_text(Some(&facts), &plan, &parking).contains("nodeSelector kpx-prep/parked, which"));
    let all = facts.nodes.iter().map(|node| node.name.clone()).collect();
    assert!(park(&facts, &around, &request("ipvs"), &plane, &all).0.is_empty());
    assert!(unparking_text(&facts).contains("(parked at 2026-11-27T01:00:00Z)"));
}

#[test]
fn a_parked_kube_proxys_image_is_that_of_its_template() {
    let (mut facts, ..) = replaced();
    facts.nodes.iter_mut().for_each(|node| node.pod = None);
    assert!(facts.proxies().is_empty());
    let parked = Parked {
        selects: true,
        pull_policy: "IfNotPresent".to_owned(),
        pull_secrets: vec!["pull".to_owned()],
        ..Parked::default()
    };
    facts.kube_proxy.as_mut().unwrap().parked = Some(parked);
    let proxies = facts.proxies();
    assert_eq!(proxies.len(), facts.nodes.len());
    assert_eq!(proxies[0].image.reference, "kube-proxy:v1.30.1");
    assert_eq!(proxies[0].image.pull_secrets, ["pull"]);
}

/// All kube-proxies start at once when it runs again, each with a first sync.
#[test]
fn the_timeout_grows_with_the_cluster() {
    let (facts, mut surroundings, plane) = replaced();
    let port = surroundings.services.ports[0].clone();
    for (ports, given, seconds) in [(1, None, 300), (44_125, None, 2280), (44_125, Some(60), 60)] {
        surroundings.services.ports = vec![port.clone(); ports];
        let request = Request { timeout: given.map(Duration::from_secs), ..request("ipvs") };
        assert_eq!(planned(&facts, &surroundings, &request, &plane).0.timeout, Duration::from_secs(seconds), "{ports}");
    }
}
