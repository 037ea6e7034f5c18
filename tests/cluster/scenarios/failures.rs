//! `kpx-prep remediate` where nodes do not do as they should.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("failures::canary_crash_loops", canary_crashes),
        trial("failures::silent_fallback_on_one_node", fallback),
        trial("failures::third_batch_fails", third_batch),
        trial("failures::canary_loses_ipvs_while_settling", loses_ipvs),
        trial("failures::new_pod_never_becomes_ready", never_ready),
        trial("failures::slow_start_is_waited_for", slow_start),
        trial("failures::no_rollback_leaves_it", no_rollback),
        trial("failures::a_log_alone_is_no_proof_of_a_switch", port_forward_refused),
        trial("failures::a_kube_proxy_that_answers_and_never_syncs", never_syncs),
        trial("failures::a_first_sync_that_takes_its_time", slow_first_sync),
        trial("failures::a_kube_proxy_that_calls_itself_unhealthy", unhealthy),
        trial("failures::health_port_on_another_address", health_port_elsewhere),
        trial("failures::no_port_forward_and_a_rotated_log_is_no_proof", unprovable),
        trial("failures::node_down_is_left_and_picked_up_later", node_down),
        trial("failures::node_goes_down_during_the_roll", goes_down),
        trial("failures::pods_pending", pods_pending),
    ]
}

async fn canary_crashes(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::CrashesInIpvs).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.replaced(&before.pods).await, ["node-2"], "the other pods have not been touched");
    assert_eq!(outcome.node("node-3")["outcome"], "not-reached", "{outcome}");
    before.backed_up(&cluster).await;
    let events = cluster.events().await;
    assert!(events.iter().any(|event| event == "RolledBack"), "{events:?}");
    cluster.status(&[]).await.exits(0).says("/totals/right", 3);
}

async fn fallback(world: &World) {
    let cluster = world.nodes(4).misbehave("node-4", Misbehaviour::LacksIpvs).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back").mentions("node-4");
    before.rolled_back(&cluster).await;
}

async fn third_batch(world: &World) {
    let cluster = world.nodes(5).start().await;
    let before = cluster.before().await;
    let plan = cluster.remediate(&["--dry-run"]).await.exits(0);
    let third =
        plan.json.pointer("/plan/batches/2/0").and_then(|node| node.as_str()).expect("a third batch").to_owned();
    let fourth = plan.json.pointer("/plan/batches/3/0").and_then(|node| node.as_str()).expect("a fourth batch");
    cluster.nodes.set(&third, &[Misbehaviour::CrashesInIpvs]).await;
    let outcome = cluster.remediate(&[]).await.exits(5).says("/outcome", "rolled-back");
    before.rolled_back(&cluster).await;
    assert!(!cluster.replaced(&before.pods).await.contains(&fourth.to_owned()), "{fourth} was not to be touched");
    let rolled_back = outcome.json["nodes"].as_array().expect("nodes").iter();
    assert!(rolled_back.filter(|node| node["outcome"] == "rolled-back").count() >= 2, "{outcome}");
}

async fn loses_ipvs(world: &World) {
    let wrong = Misbehaviour::LosesIpvsAfter(Duration::from_millis(700));
    let cluster = world.nodes(3).misbehave("node-2", wrong).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2", "--settle-time", "2s"]).await.exits(5);
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.replaced(&before.pods).await, ["node-2"]);
}

/// Nothing starts there any more, so nothing can be proved after the way back either: that is no exit 5.
async fn never_ready(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::NeverReady).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2"]).await.exits(1).says("/outcome", "failed").mentions("node-3");
    assert_eq!(cluster.data().await, before.data);
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 iptables\n");
    assert_eq!(cluster.lock_holder().await, None);
}

async fn slow_start(world: &World) {
    let wrong = Misbehaviour::SlowStart(Duration::from_secs(2));
    let cluster = world.nodes(2).misbehave("node-2", wrong).start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn no_rollback(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CrashesInIpvs).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2", "--no-rollback"]).await.exits(4).says("/outcome", "left");
    before.only_mode_changed(&cluster, "ipvs").await;
    assert_eq!(cluster.nodes.modes().get("node-2").map(String::as_str), Some("ipvs"));
    assert_eq!(cluster.lock_holder().await, None);
    // Once the cause is gone, the same command goes on: the pod that still crashes is the first to be replaced.
    cluster.nodes.set("node-3", &[]).await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn port_forward_refused(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::RefusesPortForward).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2"]).await.exits(5).mentions("only its log says that it runs ipvs");
    before.rolled_back(&cluster).await;
    // The node helper asks the process itself.
    cluster.whole(&["--canary", "node-2"]).await.exits(0);
    before.switched(&cluster).await;
    // A report may go by it, and says so.
    assert_eq!(cluster.status(&[]).await.exits(0).node("node-2")["proof"], "log");
}

/// Its log, which tells the mode early, is not taken for the end of a canary's watch.
async fn slow_first_sync(world: &World) {
    let slow = Misbehaviour::SlowFirstSync(Duration::from_secs(9));
    let cluster = world.nodes(2).misbehave("node-2", slow).start().await;
    let before = cluster.before().await;
    let started = std::time::Instant::now();
    let outcome = cluster.whole(&["--canary", "node-2", "--timeout", "40s", "--settle-time", "3s"]).await.exits(0);
    assert!(started.elapsed() >= Duration::from_secs(9), "{outcome}");
    before.switched(&cluster).await;
}

/// It answers with the right mode, and its metrics say that it has not written a rule since it started.
async fn never_syncs(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::FailsToSync).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
    outcome.mentions("has not synced its rules since it started; 3 syncs failed");
    before.rolled_back(&cluster).await;
    let outcome = cluster.remediate(&["--canary", "node-2", "--no-rollback"]).await.exits(4);
    drop(outcome);
    let status = cluster.status(&[]).await.exits(3).finds("warning", "not-syncing").says("/totals/notSyncing", 1);
    let node = status.node("node-3");
    assert_eq!((&node["state"], &node["effectiveMode"]), (&"not-syncing".into(), &"ipvs".into()), "{node}");
    assert_eq!((&node["sync"]["state"], &node["sync"]["failures"]), (&"never".into(), &3.into()), "{node}");
    assert_eq!(status.node("node-2")["sync"]["state"], "synced");
    // It is one of the nodes that are not as desired.
    cluster.nodes.set("node-3", &[]).await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    cluster.status(&[]).await.exits(0).says("/totals/notSyncing", 0);
}

/// Its metrics are good, but load balancers that ask its health port send the node no traffic.
async fn unhealthy(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CallsItselfUnhealthy).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--canary", "node-2", "--timeout", "5s"]).await.exits(5);
    outcome.mentions("answers on its health port that it is not healthy");
    before.rolled_back(&cluster).await;
    let outcome = cluster.remediate(&["--canary", "node-2", "--timeout", "5s", "--no-rollback"]).await.exits(4);
    drop(outcome);
    let status = cluster.status(&[]).await.exits(3).finds("warning", "not-syncing").says("/totals/notSyncing", 1);
    let sync = &status.node("node-3")["sync"];
    assert_eq!((&sync["state"], &sync["healthy"]), (&"synced".into(), &false.into()), "{sync}");
    assert_eq!(status.node("node-2")["sync"]["healthy"], true);
}

/// The kubelet hangs up when it cannot connect to one of the ports.
async fn health_port_elsewhere(world: &World) {
    let cluster =
        world.nodes(2).replace("healthzBindAddress: \"\"", "healthzBindAddress: 192.0.2.1:10256").start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    let status = cluster.status(&[]).await.exits(0);
    let node = status.node("node-1");
    assert_eq!((&node["proof"], &node["sync"]["state"]), (&"proxyMode".into(), &"synced".into()), "{node}");
    assert_eq!(node["sync"].get("healthy"), None);
}

async fn unprovable(world: &World) {
    let refuses = world.nodes(3).misbehave("node-3", Misbehaviour::RefusesPortForward);
    let cluster = refuses.misbehave("node-3", Misbehaviour::LogRotated).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--canary", "node-2"]).await;
    // Neither there nor back can be proved on that node; the others go back, and nobody claims success.
    assert!(matches!(outcome.exit, Some(1 | 5)), "{outcome}");
    before.rolled_back(&cluster).await;
}

async fn node_down(world: &World) {
    let cluster = world.nodes(4).misbehave("node-3", Misbehaviour::Down).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&[]).await.exits(0);
    assert_eq!(outcome.node("node-3")["outcome"], "not-ready", "{outcome}");
    before.only_mode_changed(&cluster, "ipvs").await;
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 iptables\nnode-4 ipvs\n");
    let pods = cluster.pods().await;
    assert_eq!(pods["node-3"], before.pods["node-3"]);
    cluster.nodes.set("node-3", &[]).await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    assert_eq!(cluster.replaced(&pods).await, ["node-3"], "the others run ipvs already");
}

async fn goes_down(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--canary", "node-2", "--settle-time", "2s"]);
    cluster
        .wait_for("the canary switched", |modes| {
            modes["node-1"] == "iptables" && modes.get("node-2").is_some_and(|mode| mode == "ipvs")
        })
        .await;
    cluster.nodes.set("node-4", &[Misbehaviour::Down]).await;
    run.end().await.exits(0);
    before.only_mode_changed(&cluster, "ipvs").await;
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\nnode-4 iptables\n");
    cluster.nodes.set("node-4", &[]).await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn pods_pending(world: &World) {
    let cluster = world.nodes(3).never_starts("node-3", Misbehaviour::Unschedulable).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&[]).await.exits(3).says("/outcome", "blocked").finds("error", "unhealthy-pods");
    before.untouched(&cluster).await;
    drop(outcome);
    cluster.status(&[]).await.exits(3);
}
