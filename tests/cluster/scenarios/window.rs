//! How a roll keeps its pace: a window of nodes in progress, pauses, tolerated failures, and what it says meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::cluster::fault_proxy::Fault;
use crate::cluster::kpx_prep::{Outcome, start};
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("window::a_slow_node_holds_up_no_other", slow_node),
        trial("window::a_pause_between_nodes_and_an_end_to_it", pause),
        trial("window::failures_are_tolerated_as_asked", tolerated),
        trial("window::one_failure_too_many_rolls_back", too_many),
        trial("window::a_failed_canary_is_never_tolerated", canary),
        trial("window::an_interrupt_lets_the_nodes_in_progress_end", interrupt),
        trial("window::a_failure_after_an_interrupt_is_rolled_back", interrupted_and_failed),
        trial("window::a_node_that_joins_and_cannot_be_prepared_keeps_its_pod", not_prepared),
        trial("window::a_kube_proxy_that_ends_before_the_clean_up_is_no_success", ends_early),
        trial("window::progress_as_json", json),
        trial("window::a_node_that_goes_down_after_its_pod_was_replaced_has_failed", down_in_progress),
        trial("window::a_node_that_joined_is_rolled_back_too", joined_and_rolled_back),
        trial("window::a_pod_that_was_replaced_since_the_plan_is_replaced_again", replaced_meanwhile),
    ]
}

/// The events on stderr, which is nothing but JSON.
fn events(outcome: &Outcome) -> Vec<Value> {
    let event = |line: &str| -> Value {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{outcome}"));
        assert_eq!((&event["apiVersion"], &event["kind"]), (&"kpx-prep/v1".into(), &"Progress".into()), "{line}");
        assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        assert!(event["message"].is_string(), "{line}");
        event
    };
    outcome.stderr.lines().map(event).collect()
}

/// The nodes of the events of a kind, in their order.
fn nodes_of<'e>(events: &'e [Value], kind: &str) -> Vec<&'e str> {
    events.iter().filter(|event| event["event"] == kind).filter_map(|event| event["node"].as_str()).collect()
}

async fn slow_node(world: &World) {
    let slow = Misbehaviour::SlowStart(Duration::from_secs(12));
    let cluster = world.nodes(8).misbehave("node-3", slow).start().await;
    let before = cluster.before().await;
    let arguments = ["--canary", "node-2", "--max-unavailable", "2", "--timeout", "60s", "--progress", "json"];
    let outcome = cluster.remediate(&arguments).await.exits(0);
    before.switched(&cluster).await;
    let events = events(&outcome);
    let verified = nodes_of(&events, "verified");
    assert_eq!(verified.len(), 8, "{verified:?}");
    // With batches of two, the slow one would have held up all but one.
    assert_eq!(verified.last(), Some(&"node-3"), "{verified:?}");
    let mut in_progress = BTreeSet::new();
    for event in &events {
        let node = event["node"].as_str().unwrap_or_default();
        if event["event"] == "replacing" {
            in_progress.insert(node);
            assert!(in_progress.len() <= 2, "{in_progress:?} at a time");
        } else if event["event"] == "verified" {
            in_progress.remove(node);
        }
    }
}

async fn pause(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let started = Instant::now();
    cluster.remediate(&["--batch-pause", "1500ms"]).await.exits(0);
    // After the second and the third of four: none after the canary, which is watched, and none after the last.
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    before.switched(&cluster).await;
    let cluster = world.nodes(4).start().await;
    let run = cluster.remediation(&["--batch-pause", "1h"]);
    cluster.wait_for("two nodes switched", |modes| modes.values().filter(|mode| *mode == "ipvs").count() == 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    run.signal(Signal::SIGTERM);
    run.end().await.exits(130).says("/outcome", "interrupted");
}

async fn tolerated(world: &World) {
    let crashes = Misbehaviour::CrashesInIpvs;
    let nodes = world.nodes(6).misbehave("node-3", crashes).misbehave("node-5", Misbehaviour::LacksIpvs);
    let cluster = nodes.start().await;
    let before = cluster.before().await;
    let arguments = ["--canary", "node-2", "--max-failures", "2", "--max-unavailable", "2"];
    let outcome = cluster.remediate(&arguments).await.exits(1).says("/outcome", "nodes-failed");
    let message = outcome.json["message"].as_str().expect("a message");
    assert!(message.contains("node-3: ") && message.contains("node-5: "), "{message}");
    for (node, expected) in [("node-1", "proved"), ("node-3", "failed"), ("node-4", "proved"), ("node-5", "failed")] {
        assert_eq!(outcome.node(node)["outcome"], expected, "{outcome}");
    }
    before.only_mode_changed(&cluster, "ipvs").await;
    let verified = cluster.nodes.modes().into_values().filter(|mode| mode == "ipvs").count();
    assert_eq!(verified, 4, "{}", cluster.modes());
    assert_eq!(cluster.lock_holder().await, None);
    // The same command again tries only those that failed, and the backup is still there.
    cluster.nodes.set("node-3", &[]).await;
    cluster.nodes.set("node-5", &[]).await;
    let pods = cluster.pods().await;
    cluster.remediate(&[]).await.exits(0);
    assert!(cluster.replaced(&pods).await.iter().all(|node| ["node-3", "node-5"].contains(&node.as_str())));
    before.switched(&cluster).await;
    cluster.remediate(&["--rollback"]).await.exits(0);
    before.rolled_back(&cluster).await;
}

async fn too_many(world: &World) {
    let crashes = Misbehaviour::CrashesInIpvs;
    let cluster = world.nodes(5).misbehave("node-3", crashes).misbehave("node-4", crashes).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--canary", "node-2", "--max-failures", "1"]).await.exits(5);
    let outcome = outcome.says("/outcome", "rolled-back").mentions("--max-failures is 1");
    assert_eq!(outcome.node("node-5")["outcome"], "not-reached", "{outcome}");
    before.rolled_back(&cluster).await;
}

async fn canary(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::CrashesInIpvs).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--canary", "node-2", "--max-failures", "3"]).await.exits(5).says("/outcome", "rolled-back");
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.replaced(&before.pods).await, ["node-2"]);
}

async fn interrupt(world: &World) {
    let slow = Misbehaviour::SlowStart(Duration::from_secs(4));
    let cluster = world.nodes(6).misbehave("node-3", slow).misbehave("node-4", slow).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--canary", "node-2", "--max-unavailable", "2", "--timeout", "60s"]);
    // Both are in progress, and neither is verified.
    cluster.wait_for("two nodes in progress", |modes| modes.len() == 4).await;
    run.signal(Signal::SIGINT);
    let outcome = run.end().await.exits(130).says("/outcome", "interrupted");
    for (node, expected) in [("node-3", "proved"), ("node-4", "proved"), ("node-5", "not-reached")] {
        assert_eq!(outcome.node(node)["outcome"], expected, "{outcome}");
    }
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn json(world: &World) {
    let cluster = world.nodes(7).start().await;
    let outcome = cluster.remediate(&["--progress", "json", "-v"]).await.exits(0);
    let all = events(&outcome);
    let kinds: Vec<_> = all.iter().filter_map(|event| event["event"].as_str()).collect();
    let of =
        |kind: &str| all.iter().find(|event| event["event"] == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    assert_eq!((&of("started")["total"], &of("started")["mode"]), (&7.into(), &"ipvs".into()));
    assert_eq!(nodes_of(&all, "replacing").len(), 7, "{kinds:?}");
    assert_eq!(nodes_of(&all, "verified").len(), 7, "{kinds:?}");
    assert_eq!((&of("finished")["outcome"], &of("finished")["exit"]), (&"done".into(), &0.into()));
    assert_eq!(kinds.last(), Some(&"finished"), "{kinds:?}");
    let done: Vec<_> = all.iter().filter(|event| event["event"] == "verified").collect();
    for (number, event) in done.iter().enumerate() {
        assert_eq!((&event["done"], &event["total"]), (&(number + 1).into(), &7.into()), "{event}");
        // The canary is not at the pace of the others.
        assert_eq!(event["secondsLeft"].is_number(), number == 5, "{event}");
    }
    // Errors are events, too, and a prompt is refused.
    let kubeconfig = &cluster.kubeconfig;
    let failed = start(kubeconfig, "remediate", &["--progress", "json", "--yes", "--daemonset", "none"]).end().await;
    let failed = failed.exits(2);
    assert!(nodes_of(&events(&failed), "verified").is_empty());
    assert_eq!(events(&failed).last().expect("an event")["event"], "error", "{failed}");
    start(kubeconfig, "remediate", &["--progress", "json"]).end().await.exits(2).mentions("--yes");
}

/// The new mode may be the reason, so it is no node to skip.
async fn down_in_progress(world: &World) {
    let slow = Misbehaviour::SlowStart(Duration::from_secs(30));
    let cluster = world.nodes(4).misbehave("node-3", slow).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--canary", "node-2"]);
    cluster
        .wait_for("node-3 is in progress", |modes| {
            modes.get("node-2").is_some_and(|mode| mode == "ipvs") && !modes.contains_key("node-3")
        })
        .await;
    cluster.nodes.set("node-3", &[Misbehaviour::Down]).await;
    // It cannot be rolled back either, and nobody says so.
    let outcome = run.end().await.exits(1).says("/outcome", "failed").mentions("became NotReady");
    let outcome = outcome.mentions("node-3: NotReady, so its kube-proxy was not replaced");
    assert_eq!(outcome.node("node-2")["outcome"], "rolled-back", "{outcome}");
    assert_eq!(outcome.node("node-4")["outcome"], "not-reached", "{outcome}");
    assert_eq!(cluster.data().await, before.data);
}

/// Its kube-proxy has read the new configuration, although this run has not touched it.
async fn joined_and_rolled_back(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CrashesInIpvs).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--canary", "node-2", "--settle-time", "8s"]);
    let canary =
        |modes: &std::collections::BTreeMap<String, String>| modes.get("node-2").is_some_and(|mode| mode == "ipvs");
    cluster.wait_for("the canary switched", canary).await;
    cluster.nodes.add("node-9", &[], &[]).await;
    cluster.wait_for("node-9 runs", |modes| modes.contains_key("node-9")).await;
    assert_eq!(cluster.nodes.modes()["node-9"], "ipvs");
    let outcome = run.end().await.exits(5).says("/outcome", "rolled-back");
    assert_eq!(outcome.node("node-9")["outcome"], "rolled-back", "{outcome}");
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 iptables\nnode-3 iptables\nnode-9 iptables\n");
    assert_eq!(cluster.data().await, before.data);
}

/// By something else, before the configuration was written.
async fn replaced_meanwhile(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace);
    let all = pods.list(&ListParams::default().labels("k8s-app=kube-proxy")).await.expect("a list");
    let on_it = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some("node-3"));
    let victim = all.items.into_iter().find(on_it).expect("a pod").name_any();
    let proxy = cluster
        .proxy(move |_, asked| {
            if !asked.is("create configmaps") {
                return Fault::None;
            }
            let (pods, victim) = (pods.clone(), victim.clone());
            Fault::Meanwhile(Box::pin(async move {
                pods.delete(&victim, &DeleteParams::default().grace_period(0)).await.expect("deleted");
                // Until its successor has read the old configuration.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }))
        })
        .await;
    proxy.cluster(&cluster).remediate(&["--canary", "node-2"]).await.exits(0);
    before.switched(&cluster).await;
}

/// The first node to end notices the interrupt; another one fails after that.
async fn interrupted_and_failed(world: &World) {
    let slow = |seconds| Misbehaviour::SlowStart(Duration::from_secs(seconds));
    let nodes = world.nodes(6).misbehave("node-3", slow(6)).misbehave("node-3", Misbehaviour::CrashesInIpvs);
    let cluster = nodes.misbehave("node-4", slow(2)).start().await;
    let before = cluster.before().await;
    let run = cluster.remediation(&["--canary", "node-2", "--max-unavailable", "2", "--timeout", "60s"]);
    cluster.wait_for("two nodes in progress", |modes| modes.len() == 4).await;
    run.signal(Signal::SIGINT);
    let outcome = run.end().await.exits(5).says("/outcome", "rolled-back").mentions("node-3");
    assert_eq!(outcome.node("node-5")["outcome"], "not-reached", "{outcome}");
    before.rolled_back(&cluster).await;
}

/// It becomes ready during the rollout. Without modules, a new kube-proxy could not run.
async fn not_prepared(world: &World) {
    let cluster = world.nodes(4).misbehave("node-4", Misbehaviour::Down).start().await;
    let before = cluster.before().await;
    let run = cluster.whole_remediation(&["--canary", "node-2", "--settle-time", "5s", "--no-rollback"]);
    let canary =
        |modes: &std::collections::BTreeMap<String, String>| modes.get("node-2").is_some_and(|mode| mode == "ipvs");
    cluster.wait_for("the canary switched", canary).await;
    cluster.nodes.set("node-4", &[Misbehaviour::InstallFails]).await;
    run.end().await.exits(4).mentions("node-4: not prepared, so its kube-proxy was not replaced");
    assert_eq!(cluster.replaced(&before.pods).await, ["node-1", "node-2", "node-3"]);
}

/// It answered once. The first command on the node is never answered; by the second, it has restarted in another mode.
async fn ends_early(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let run = cluster.whole_remediation(&["--canary", "node-2", "--settle-time", "3s", "--request-timeout", "2s"]);
    let canary =
        |modes: &std::collections::BTreeMap<String, String>| modes.get("node-2").is_some_and(|mode| mode == "ipvs");
    cluster.wait_for("the canary switched", canary).await;
    let loses = Misbehaviour::LosesIpvsAfter(Duration::from_millis(1500));
    cluster.nodes.set("node-3", &[loses, Misbehaviour::SilentOnce]).await;
    run.end().await.exits(5).says("/outcome", "rolled-back").mentions("node-3");
    before.rolled_back(&cluster).await;
}
