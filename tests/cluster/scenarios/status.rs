//! `kpx-prep status`.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cluster::fault_proxy::Fault;
use crate::cluster::kpx_prep::start;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::request::Asked;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("status::iptables_everywhere_is_right", right),
        trial("status::metrics_replace_a_file_as_a_whole", metrics),
        trial("status::ipvs_configured_and_not_running_is_drift", drift),
        trial("status::silent_fallback_is_named", fallback),
        trial("status::second_change_by_the_same_hand_is_no_fallback", changed_twice),
        trial("status::log_where_port_forward_is_refused", by_log),
        trial("status::rotated_log_is_no_proof", log_rotated),
        trial("status::node_that_is_down", down),
        trial("status::custom_names_are_found", custom_names),
        trial("status::windows_and_other_nodes_are_counted_apart", other_nodes),
        trial("status::no_kube_proxy", no_kube_proxy),
        trial("status::expired_continue_token_starts_the_list_anew", expired_continue),
        trial("status::requests_per_node", requests),
        trial("status::says_what_kubectl_says", super::kubectl::judge),
    ]
}

async fn right(world: &World) {
    let cluster = world.nodes(3).start().await;
    let outcome = cluster.status(&[]).await.exits(0);
    let outcome = outcome.says("/kind", "ClusterStatus").says("/cluster/flavour", "kubeadm");
    let outcome = outcome.says("/kubeProxy/configMap", "kube-proxy").says("/kubeProxy/configuredMode", "");
    let outcome =
        outcome.says("/totals/nodes", 3).says("/totals/right", 3).says("/kubeProxy/hashAnnotation", "matches");
    for (name, role) in [("node-1", "control-plane"), ("node-2", "worker"), ("node-3", "worker")] {
        let node = outcome.node(name);
        assert!(
            node["effectiveMode"] == "iptables" && node["proof"] == "proxyMode" && node["role"] == role,
            "{outcome}"
        );
    }
}

async fn metrics(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::Down).start().await;
    let file = world.folder.join("kpx-prep.prom");
    let path = file.to_str().expect("UTF-8");
    let status =
        async |more: &[&str]| start(&cluster.kubeconfig, "status", &[&["-o", "prometheus"], more].concat()).end().await;
    std::fs::write(&file, "old").expect("written");
    let outcome = status(&["--output-file", path]).await.exits(3);
    assert_eq!(outcome.stdout, "");
    let text = std::fs::read_to_string(&file).expect("a file");
    for line in [
        "kpx_proxy_mode{node=\"node-1\",mode=\"iptables\",verified=\"proxyMode\"} 1",
        "kpx_proxy_mode{node=\"node-2\",mode=\"unknown\",verified=\"no\"} 1",
        "kpx_drift 1",
    ] {
        assert!(text.lines().any(|there| there == line), "no {line} in\n{text}");
    }
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "others read it");
    // What it cannot write, and what makes no sense: the file stays.
    let folder = world.folder.to_str().expect("UTF-8");
    status(&["--output-file", folder]).await.exits(1).mentions("the existing file was not changed");
    status(&["--watch"]).await.exits(2).mentions("in a timer");
    status(&["--watch", "--output-file", path]).await.exits(2);
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), text);
    assert_eq!(status(&[]).await.exits(3).stdout.lines().filter(|line| line.starts_with("kpx_drift ")).count(), 1);
}

async fn drift(world: &World) {
    let cluster = world.nodes(2).start().await;
    // The API's times know no less than seconds.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let text = cluster.config().await.replace("mode: \"\"", "mode: ipvs");
    cluster.edit_map(json!({"data": {"config.conf": text}})).await;
    let outcome = cluster.status(&[]).await.exits(3).says("/totals/wrong", 2);
    let node = outcome.node("node-2");
    assert!(node["state"] == "wrong" && node["effectiveMode"] == "iptables" && node["stale"] == true, "{outcome}");
}

async fn fallback(world: &World) {
    let ipvs = world.nodes(3).replace("mode: \"\"", "mode: ipvs");
    let cluster = ipvs.never_starts("node-2", Misbehaviour::LacksIpvs).start().await;
    cluster.wait_for("running", |modes| modes.contains_key("node-3")).await;
    // Pods that are surely younger than the configuration, by times in seconds.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    cluster.delete_pods().await;
    let falls_back = !world.plane.exits_without_ipvs();
    cluster.wait_for("running again", |modes| modes.len() == if falls_back { 3 } else { 2 }).await;
    let outcome = cluster.status(&[]).await.exits(3);
    assert_eq!(outcome.node("node-3")["effectiveMode"], "ipvs", "{outcome}");
    let node = outcome.node("node-2");
    if !falls_back {
        assert!(node["effectiveMode"].is_null() && node["fallback"] == false && node["podReady"] == false, "{outcome}");
        return;
    }
    assert!(
        node["effectiveMode"] == "iptables" && node["fallback"] == true && node["state"] == "fallback",
        "{outcome}"
    );
}

/// The API server's record of who wrote when is not always about the last write.
async fn changed_twice(world: &World) {
    let cluster = world.nodes(3).start().await;
    cluster.remediate(&[]).await.exits(0);
    cluster.remediate(&["--rollback"]).await.exits(0);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    cluster.remediate(&["--pause-after-canary", "--canary", "node-2"]).await.exits(0);
    let outcome = cluster.status(&[]).await.exits(3);
    for node in ["node-1", "node-3"] {
        let node = outcome.node(node);
        assert!(node["state"] == "wrong" && node["fallback"] == false, "{outcome}");
    }
    cluster.remediate(&[]).await.exits(0);
}

async fn by_log(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::RefusesPortForward).start().await;
    let outcome = cluster.status(&[]).await.exits(0);
    let node = outcome.node("node-2");
    assert!(node["proof"] == "log" && node["effectiveMode"] == "iptables", "{outcome}");
    assert_eq!(outcome.node("node-1")["proof"], "proxyMode", "{outcome}");
}

async fn log_rotated(world: &World) {
    let refuses = world.nodes(2).never_starts("node-2", Misbehaviour::LogRotated);
    let cluster = refuses.misbehave("node-2", Misbehaviour::RefusesPortForward).start().await;
    cluster.wait_for("running", |modes| modes.len() == 2).await;
    let outcome = cluster.status(&[]).await.exits(3).says("/totals/unproved", 1);
    let node = outcome.node("node-2");
    assert!(node["effectiveMode"].is_null() && node["state"] == "unproved" && node["reason"].is_string(), "{outcome}");
}

async fn down(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::Down).start().await;
    let outcome = cluster.status(&[]).await.exits(3);
    let node = outcome.node("node-3");
    assert!(node["ready"] == false && node["state"] == "unproved" && node["effectiveMode"].is_null(), "{outcome}");
}

async fn custom_names(world: &World) {
    let cluster = world.nodes(2).named("net-system", "proxy").start().await;
    let outcome = cluster.status(&[]).await.exits(0);
    outcome.says("/kubeProxy/namespace", "net-system").says("/kubeProxy/daemonSet", "proxy").says("/totals/right", 2);
}

async fn other_nodes(world: &World) {
    let cluster = world.nodes(4).with_other_kinds_of_nodes().start().await;
    let outcome = cluster.status(&[]).await.exits(0);
    outcome.says("/totals/right", 2).says("/totals/windows", 1).says("/totals/withoutKubeProxy", 1);
}

async fn no_kube_proxy(world: &World) {
    world.reset().await;
    let cluster = world.nodes(0).start().await;
    world.reset().await;
    world.nodes.add("node-1", &[], &[]).await;
    cluster.status(&[]).await.exits(3).says("/kubeProxy", Value::Null).finds("error", "no-kube-proxy");
}

async fn expired_continue(world: &World) {
    let cluster = world.nodes(5).start().await;
    let expired = std::sync::atomic::AtomicBool::new(false);
    let proxy = cluster.paging_proxy(Some(2), move |_, asked| {
        let first =
            asked.continues && asked.resource == "nodes" && !expired.swap(true, std::sync::atomic::Ordering::SeqCst);
        if first { Fault::Answer(410) } else { Fault::None }
    });
    let proxy = proxy.await;
    proxy.cluster(&cluster).status(&[]).await.exits(0).says("/totals/nodes", 5).says("/totals/right", 5);
    assert!(proxy.seen().iter().filter(|asked| asked.continues).count() >= 3, "{:?}", proxy.counts());
}

async fn requests(world: &World) {
    let cluster = world.nodes(50).start().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).status(&[]).await.exits(0).says("/totals/right", 50);
    let counts = proxy.counts();
    let proofs = counts["get pods/portforward"];
    assert_eq!(proofs, 50, "{counts:?}");
    let lists = proxy.seen().into_iter().filter(|asked| asked.verb == "list").map(|asked| asked.resource);
    let mut lists: Vec<_> = lists.collect();
    lists.sort();
    let all = lists.len();
    lists.dedup();
    // Backups are ConfigMaps, and looked for beside the one that is read by name.
    assert_eq!(lists.len(), all, "a kind is listed twice: {counts:?}");
    assert!(!proxy.seen().iter().any(Asked::writes), "{counts:?}");
    println!("status on 50 nodes: {counts:?}");
}
