//! The default of `--timeout`.

use std::time::Duration;

use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::patience::default_timeout;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::ServicePort;

use crate::cluster_facts::{cluster, request};

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
        let timeout = default_timeout(&with(ports, endpoints));
        assert_eq!(timeout, Duration::from_secs(minutes * 60), "{ports} ports, {endpoints} endpoints");
    }
}

#[test]
fn the_operator_decides() {
    let facts = cluster("", ProxyMode::Iptables);
    let (large, asked) = (with(44_125, 0), request("ipvs"));
    assert_eq!(plan(&facts, &large, &asked).timeout, asked.timeout.unwrap());
    let made = plan(&facts, &large, &Request { timeout: None, ..asked });
    assert_eq!(made.timeout, default_timeout(&large));
    assert_eq!(serde_json::to_value(&made).unwrap()["timeoutSeconds"], made.timeout.as_secs());
}
