//! An API server that accepts few connections to nodes at a time, or none for a while: that is no node's fault.

use libtest_mimic::Trial;

use crate::cluster::fault_proxy::Fault;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("busy::no_more_than_64_connections_to_nodes_at_a_time", limit),
        trial("busy::refused_connections_fail_no_node", few),
        trial("busy::refused_for_too_long_is_no_reason_to_roll_back", never),
    ]
}

async fn limit(world: &World) {
    let cluster = world.nodes(100).start().await;
    let before = cluster.before().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).whole(&["--max-unavailable", "100%", "--timeout", "60s"]).await.exits(0);
    before.switched(&cluster).await;
    let streams = proxy.streams();
    // The proxy notices the end of a connection later than kpx-prep, which begins the next one; the limit itself is tested
    // where it is (src/cluster/api/streams).
    assert!((32..=2 * 64).contains(&streams.most), "{streams:?}");
    assert_eq!((streams.open, streams.refused), (0, 0), "{streams:?}");
}

async fn few(world: &World) {
    let cluster = world.nodes(40).start().await;
    let before = cluster.before().await;
    let proxy = cluster.proxy(|_, _| Fault::Busy(5)).await;
    let arguments = ["--max-unavailable", "10", "--timeout", "60s", "--lease-duration", "15s"];
    let outcome = proxy.cluster(&cluster).whole(&arguments).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    let streams = proxy.streams();
    // Two requests at the same moment may both be accepted.
    assert!(streams.most < 10 && streams.refused > 0, "{streams:?}");
    println!("40 nodes, 5 connections at a time: {} of them refused", streams.refused);
    assert!(!outcome.stderr.contains("FAILED"), "{outcome}");
    // Observing is as patient: every mode is known.
    let status = proxy.cluster(&cluster).status(&[]).await.exits(0);
    assert!(status.json["nodes"].as_array().expect("nodes").iter().all(|node| node["proof"] == "proxyMode"));
}

/// From the moment the configuration is written, nothing is known about any node.
async fn never(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let written = std::sync::atomic::AtomicBool::new(false);
    let proxy = cluster
        .proxy(move |_, asked| {
            if asked.is("delete pods") {
                written.store(true, std::sync::atomic::Ordering::SeqCst);
            }
            if written.load(std::sync::atomic::Ordering::SeqCst) { Fault::Busy(0) } else { Fault::None }
        })
        .await;
    let arguments = ["--canary", "node-2", "--request-timeout", "500ms", "--timeout", "60s"];
    let nodes = cluster.nodes.clone();
    nodes.set("node-2", &[crate::cluster::misbehaviour::Misbehaviour::LogRotated]).await;
    let outcome = proxy.cluster(&cluster).remediate(&arguments).await.exits(4).says("/outcome", "left");
    outcome.mentions("the API server refused the connection");
    before.only_mode_changed(&cluster, "ipvs").await;
    cluster.nodes.set("node-2", &[]).await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}
