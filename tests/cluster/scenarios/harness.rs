//! The stand-ins themselves: what is proved with them is worth what they are.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cluster::cluster_state::Cluster;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::processes::Process;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("harness::a_pod_keeps_its_mode_until_it_is_replaced", keeps_its_mode),
        trial("harness::port_forward_and_logs_go_through_the_api_server", port_forward),
        trial("harness::a_bogus_mode_crash_loops", bogus_mode),
        trial("harness::nothing_ends_on_a_node_that_is_down", node_down),
        trial("harness::fifty_nodes", fifty_nodes),
        Trial::test("harness::a_program_outlives_the_thread_that_started_it", outlives),
    ]
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

async fn pod_on(cluster: &Cluster, node: &str) -> Pod {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    pods(cluster).list(&on_node).await.expect("a list").items.pop().expect("a pod")
}

async fn keeps_its_mode(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.pods().await;
    let text = cluster.config().await.replace("mode: \"\"", "mode: ipvs");
    cluster.edit_map(json!({"data": {"config.conf": text}})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 iptables\n");
    let pod = pod_on(&cluster, "node-2").await.name_any();
    pods(&cluster).delete(&pod, &DeleteParams::default()).await.expect("deleted");
    cluster.wait_for("ipvs", |modes| modes.get("node-2").is_some_and(|mode| mode == "ipvs")).await;
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 ipvs\n");
    assert_eq!(cluster.replaced(&before).await, ["node-2"]);
}

async fn mode_by_port_forward(cluster: &Cluster, pod: &str, port: u16) -> Result<String, String> {
    let mut forwarder = pods(cluster).portforward(pod, &[port]).await.map_err(|error| error.to_string())?;
    let refused = forwarder.take_error(port).expect("an error channel");
    let mut stream = forwarder.take_stream(port).expect("a stream");
    stream.write_all(b"GET /proxyMode HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    tokio::select! {
        biased;
        Some(error) = refused => Err(error),
        _ = stream.read_to_string(&mut answer) => Ok(answer),
    }
}

async fn port_forward(world: &World) {
    let cluster = world.nodes(2).replace("metricsBindAddress: \"\"", "metricsBindAddress: 0.0.0.0:9999").start().await;
    let pod = pod_on(&cluster, "node-2").await.name_any();
    let answer = mode_by_port_forward(&cluster, &pod, 9999).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\niptables"), "{answer}");
    let refused = mode_by_port_forward(&cluster, &pod, 10249).await.expect_err("nobody listens there");
    assert!(refused.contains("connection refused"), "{refused}");
    let log = pods(&cluster).logs(&pod, &LogParams::default()).await.expect("a log");
    assert!(log.contains("Using iptables "), "{log}");
    cluster.nodes.set("node-2", &[Misbehaviour::RefusesPortForward]).await;
    let refused = mode_by_port_forward(&cluster, &pod, 9999).await.expect_err("it is refused");
    assert!(!refused.is_empty());
}

async fn bogus_mode(world: &World) {
    let cluster = world.nodes(2).start().await;
    let text = cluster.config().await.replace("mode: \"\"", "mode: bogus");
    cluster.edit_map(json!({"data": {"config.conf": text}})).await;
    let pod = pod_on(&cluster, "node-2").await.name_any();
    pods(&cluster).delete(&pod, &DeleteParams::default()).await.expect("deleted");
    let restarts = async || {
        let on_node = ListParams::default().fields("spec.nodeName=node-2");
        let pod = pods(&cluster).list(&on_node).await.expect("a list").items.pop()?;
        Some(pod.status?.container_statuses?.first()?.restart_count)
    };
    while restarts().await.is_none_or(|restarts| restarts < 2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cluster.modes(), "node-1 iptables\n");
}

async fn node_down(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::Down).start().await;
    let pod = pod_on(&cluster, "node-2").await;
    pods(&cluster).delete(&pod.name_any(), &DeleteParams::default()).await.expect("asked for");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let still = pod_on(&cluster, "node-2").await;
    assert!(still.uid() == pod.uid() && still.metadata.deletion_timestamp.is_some());
    cluster.nodes.set("node-2", &[]).await;
    let uid = pod.uid();
    while cluster.pods().await.get("node-2").is_none_or(|now| Some(now) == uid.as_ref()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn fifty_nodes(world: &World) {
    let cluster = world.nodes(50).start().await;
    assert_eq!(cluster.pods().await.len(), 50);
    assert!(cluster.lock_holder().await.is_none() && cluster.backups().await.is_empty());
    assert!(cluster.events().await.is_empty() && !cluster.data().await.is_empty());
}

/// The runner's threads end one after the other, and the last scenario may use a control plane that another one started.
fn outlives() -> Result<(), Failed> {
    let logs = tempfile::tempdir()?;
    let folder = logs.path().to_owned();
    let started = std::thread::spawn(move || {
        let program = Process::start("sleep".as_ref(), &["60".to_owned()], &folder);
        // Until it has asked to be ended with its parent.
        std::thread::sleep(Duration::from_secs(1));
        program
    });
    let mut program = started.join().expect("it was started");
    std::thread::sleep(Duration::from_millis(500));
    if program.ended() { Err("it ended with the thread that started it".into()) } else { Ok(()) }
}
