//! The default of `--timeout`.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::patience::default_timeout;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::ServicePort;
use kpx_prep::sync_health::SyncHealth;

use crate::cluster_facts::{CHANGED, SYNCED, cluster, request};

fn with(ports: usize, endpoints: usize) -> Surroundings {
    let port = ServicePort {
        name: "default/web:80".to_owned(),
        protocol: "TCP".to_owned(),
        port: 80,
        addresses: Vec::new(),
        node_port: None,
        must_answer: false,
    };
    let mut surroundings = Surroundings { endpoints, ..crate::surroundings() };
    surroundings.services.ports = vec![port; ports];
    surroundings
}

#[test]
fn it_grows_with_the_cluster() {
    for (ports, endpoints, minutes) in [
        (0, 0, 5),
        (20, 100, 5),
        (1_000, 5_000, 6),
        // The public reports, with time to spare.
        (5_006, 250_011, 35),
        (44_125, 100_000, 49),
    ] {
        let timeout = default_timeout(&cluster("", ProxyMode::Iptables), &with(ports, endpoints));
        assert_eq!(timeout, Duration::from_secs(minutes * 60), "{ports} ports, {endpoints} endpoints");
    }
}

#[test]
fn it_grows_with_what_syncs_take_now() {
    for (seconds, ports, minutes) in [
        (Some(0.25), 0, 5),
        (Some(90.0), 0, 8),
        // Less than what the reports mean for the size.
        (Some(90.0), 44_125, 38),
        // Whatever the metrics say.
        (Some(1e300), 0, 125),
        (None, 0, 5),
    ] {
        let mut facts = cluster("", ProxyMode::Iptables);
        facts.nodes[0].proof.sync = Some(SyncHealth { full_sync_seconds: seconds, ..SYNCED });
        let timeout = default_timeout(&facts, &with(ports, 0));
        assert_eq!(timeout, Duration::from_secs(minutes * 60), "{seconds:?} s, {ports} ports");
    }
}

#[test]
fn the_operator_decides() {
    let facts = cluster("", ProxyMode::Iptables);
    let (large, asked) = (with(44_125, 0), request("ipvs"));
    assert_eq!(plan(&facts, &large, &asked).timeout, asked.timeout.unwrap());
    let made = plan(&facts, &large, &Request { timeout: None, ..asked });
    assert_eq!(made.timeout, default_timeout(&facts, &large));
    assert_eq!(serde_json::to_value(&made).unwrap()["timeoutSeconds"], made.timeout.as_secs());
}

#[test]
fn how_long_replacing_takes() {
    let mut facts = cluster("", ProxyMode::Iptables);
    let asked = Request { settle: Duration::from_secs(30), ..request("ipvs") };
    // None of these pods says when it was started.
    assert_eq!(plan(&facts, &with(0, 0), &asked).estimate, None);
    // The last one was started when its container was restarted.
    for (node, (took, restarts)) in facts.nodes.iter_mut().zip([(14, 0), (6, 0), (10, 0), (4000, 1)]) {
        let pod = node.pod.as_mut().unwrap();
        (pod.started, pod.restarts) = (Some(pod.created + took), restarts);
        node.proof.sync = Some(SyncHealth { full_sync_seconds: Some(2.5), ..SYNCED });
    }
    for (nodes_at_a_time, pause, seconds) in [(1, 0.0, 80.0), (1, 60.0, 260.0), (2, 0.0, 67.5), (9, 0.0, 55.0)] {
        let batch_pause = Duration::from_secs_f64(pause);
        let asked = Request { max_unavailable: Some(IntOrString::Int(nodes_at_a_time)), batch_pause, ..asked.clone() };
        let made = plan(&facts, &with(0, 0), &asked);
        assert_eq!(made.estimate, Some(Duration::from_secs_f64(seconds)), "{nodes_at_a_time} at a time");
    }
    // Clocks that differ.
    for node in &mut facts.nodes {
        node.pod.as_mut().unwrap().started = Some(0);
    }
    assert_eq!(plan(&facts, &with(0, 0), &asked).estimate, None);
    // Nothing to replace.
    let mut done = cluster("ipvs", ProxyMode::Ipvs);
    for node in &mut done.nodes {
        let pod = node.pod.as_mut().unwrap();
        (pod.created, pod.started) = (CHANGED + 10, Some(CHANGED + 20));
    }
    assert_eq!(plan(&done, &with(0, 0), &request("ipvs")).estimate, None);
}
