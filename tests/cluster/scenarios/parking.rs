//! kube-proxy goes altogether, because another data plane serves: `--mode none`, and the way back.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::Api;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cluster::before::Before;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::kpx_prep::Outcome;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::scenarios::rights::{ACCOUNT, OF_REMEDIATE, kubectl_with_manifest};
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("parking::there_and_back", there_and_back),
        trial("parking::not_without_another_data_plane", blocked),
        trial("parking::a_node_that_is_not_served_brings_kube_proxy_back", rolled_back),
        trial("parking::killed_it_goes_on", killed),
        trial("parking::stops_after_the_canary", paused),
        trial("parking::a_node_that_is_down_is_skipped", down),
        trial("parking::what_cannot_be_removed_is_told", unclean),
        trial("parking::no_kube_proxy_that_stays", stays),
        trial("parking::another_change_of_the_daemon_set", edited),
        trial("parking::two_daemon_sets", two_sets),
        trial("parking::the_manifest_is_enough", manifest_is_enough),
    ]
}

/// The stand-ins have no Cilium.
const NONE: [&str; 4] = ["--mode", "none", "--ignore-preflight-errors", "unknown-data-plane"];

async fn none(cluster: &Cluster, more: &[&str]) -> Outcome {
    cluster.whole(&[&NONE[..], more].concat()).await
}

async fn set(cluster: &Cluster) -> DaemonSet {
    Api::<DaemonSet>::namespaced(cluster.client.clone(), &cluster.namespace).get(&cluster.daemon_set).await.expect("it")
}

/// Its nodeSelector, and whether kpx-prep's annotation is there.
async fn selector(cluster: &Cluster) -> (Value, bool) {
    let set = json!(set(cluster).await);
    let annotated = set["metadata"]["annotations"]["kpx-prep/parked-at"].is_string();
    (set["spec"]["template"]["spec"]["nodeSelector"].clone(), annotated)
}

/// It was `before`, and every node runs the configured mode.
async fn is_back(cluster: &Cluster, before: &Before, selected: &Value, nodes: usize) {
    assert_eq!(selector(cluster).await, (selected.clone(), false));
    assert_eq!(cluster.map().await.data.as_ref(), Some(&before.data));
    cluster.all_ready(nodes).await;
    cluster.status(&[]).await.exits(0);
    assert_eq!(cluster.lock_holder().await, None);
}

/// No kube-proxy runs, and nothing of it is left.
async fn is_parked(cluster: &Cluster, nodes: &[&str]) {
    let (selected, annotated) = selector(cluster).await;
    assert_eq!((&selected["kpx-prep/parked"], annotated), (&json!("true"), true));
    assert!(cluster.pods().await.is_empty(), "{:?}", cluster.pods().await);
    let left: Vec<usize> = nodes.iter().map(|node| cluster.nodes.hosts.leftovers(node, "")).collect();
    assert!(left.iter().all(|left| *left == 0), "{left:?}");
    assert_eq!(cluster.lock_holder().await, None);
}

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

async fn there_and_back(world: &World) {
    let cluster = world.nodes(3).start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    let dry = none(&cluster, &["--dry-run", "--nodes"]).await.exits(0).says("/outcome", "dry-run");
    assert!(dry.json["parking"]["apiService"].as_str().is_some_and(|service| service.ends_with(":443")), "{dry}");
    none(&cluster, &["--dry-run"]).await.exits(0).says("/outcome", "dry-run");
    before.untouched(&cluster).await;
    assert_eq!(selector(&cluster).await, (selected.clone(), false));

    let done = none(&cluster, &["--canary", "node-3"]).await.exits(0).says("/outcome", "done");
    assert_eq!(done.json["plan"]["canary"], "node-3", "{done}");
    assert_eq!(done.json["parking"]["alreadyParked"], false, "{done}");
    is_parked(&cluster, &NODES).await;
    assert_eq!(cluster.events().await.last().map(String::as_str), Some("RemediationDone"));
    cluster.status(&[]).await.exits(3).finds("warning", "parked");
    none(&cluster, &[]).await.exits(0).says("/outcome", "nothing-to-do");
    let other = cluster.whole(&["--mode", "ipvs"]).await.exits(3).finds("error", "parked");
    assert!(other.has_finding("error", "parked"), "{other}");
    is_parked(&cluster, &NODES).await;

    cluster.whole(&["--rollback", "--dry-run"]).await.exits(0).says("/outcome", "dry-run");
    is_parked(&cluster, &NODES).await;
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    is_back(&cluster, &before, &selected, 3).await;
    // There is nothing to roll back any more, and no backup.
    cluster.whole(&["--rollback"]).await.exits(3);
    cluster.whole(&["--mode", "ipvs"]).await.exits(0).says("/outcome", "done");
}

async fn blocked(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::NoOtherDataPlane).start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    cluster.whole(&["--mode", "none"]).await.exits(3).finds("error", "unknown-data-plane");
    none(&cluster, &[]).await.exits(3).finds("error", "unverified-data-plane").says("/outcome", "blocked");
    before.untouched(&cluster).await;
    // Who ignores it gets kube-proxy back.
    let both = "unknown-data-plane,unverified-data-plane";
    let ignoring = ["--mode", "none", "--ignore-preflight-errors", both, "--canary", "node-2"];
    cluster.whole(&ignoring).await.exits(5).says("/outcome", "rolled-back");
    is_back(&cluster, &before, &selected, 3).await;
    assert_eq!(cluster.nodes.hosts.leftovers("node-3", ""), 1, "it was not reached");
}

async fn rolled_back(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::LeansOnKubeProxy).start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    let outcome = none(&cluster, &["--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
    let outcome = outcome.mentions("node-3: the host says no-data-plane");
    assert_eq!(outcome.node("node-3")["outcome"], "rolled-back", "{outcome}");
    is_back(&cluster, &before, &selected, 3).await;
    assert_eq!(cluster.events().await.last().map(String::as_str), Some("RolledBack"));
    none(&cluster, &["--canary", "node-2", "--no-rollback"]).await.exits(4).says("/outcome", "left");
    assert!(selector(&cluster).await.1);
    cluster.nodes.set("node-3", &[]).await;
    none(&cluster, &[]).await.exits(0).says("/outcome", "done");
    is_parked(&cluster, &NODES).await;
}

async fn killed(world: &World) {
    let cluster = world.nodes(3).start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    for word in ["parking kube-proxy", "kube-proxy: parked", "node-2: 10."] {
        let run = cluster.whole_remediation(&[&NONE[..], &["--canary", "node-2"]].concat());
        let said = run.killed_when_it_says(word).await;
        assert!(said.contains(word), "it never said {word:?}:\n{said}");
        none(&cluster, &[]).await.exits(0).says("/outcome", "done");
        is_parked(&cluster, &NODES).await;
        let run = cluster.whole_remediation(&["--rollback"]);
        run.killed_when_it_says("no longer parked").await;
        cluster.all_ready(3).await;
        cluster.whole(&["--mode", "ipvs"]).await.exits(3).finds("error", "parked");
        cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
        is_back(&cluster, &before, &selected, 3).await;
    }
}

async fn paused(world: &World) {
    let cluster = world.nodes(3).start().await;
    let paused = none(&cluster, &["--canary", "node-2", "--pause-after-canary"]).await.exits(0);
    let paused = paused.says("/outcome", "paused");
    assert_eq!(paused.node("node-1")["outcome"], "not-reached", "{paused}");
    let left = NODES.map(|node| cluster.nodes.hosts.leftovers(node, ""));
    assert_eq!(left, [1, 0, 1]);
    let rest = none(&cluster, &[]).await.exits(0).says("/outcome", "done");
    assert_eq!(rest.node("node-2")["outcome"], "already", "{rest}");
    is_parked(&cluster, &NODES).await;
}

async fn down(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::Down).start().await;
    cluster.nodes.set("node-3", &[Misbehaviour::Down]).await;
    let outcome = none(&cluster, &[]).await.exits(0).says("/outcome", "done").finds("warning", "nodes-not-ready");
    assert_eq!(outcome.node("node-3")["outcome"], "not-ready", "{outcome}");
    assert_eq!(["node-1", "node-2"].map(|node| cluster.nodes.hosts.leftovers(node, "")), [0, 0]);
}

async fn unclean(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CannotBeCleaned).start().await;
    let outcome = none(&cluster, &["--canary", "node-2"]).await.exits(4).says("/outcome", "leftovers-remain");
    assert_eq!(outcome.node("node-3")["cleaned"]["remaining"], 1, "{outcome}");
    cluster.nodes.set("node-3", &[]).await;
    none(&cluster, &[]).await.exits(0).says("/outcome", "done");
    is_parked(&cluster, &NODES).await;
}

async fn stays(world: &World) {
    let cluster = world.nodes(2).start().await;
    cluster.whole(&["--mode", "none", "--scheduler", "lc"]).await.exits(2);
    cluster.whole(&["--mode", "none", "--exclude-nodes", "node-2"]).await.exits(2);
    cluster.add_other_kube_proxy("node-2").await;
    none(&cluster, &[]).await.exits(3).finds("error", "other-kube-proxy");
}

/// Others' selectors stay.
async fn edited(world: &World) {
    let selecting = json!({"spec": {"template": {"spec": {"nodeSelector": {"example.org/pool": "a"}}}}});
    let cluster = world.nodes(2).label("node-1", "example.org/pool", "a").label("node-2", "example.org/pool", "a");
    let cluster = cluster.daemon_set(|set| {
        set["spec"]["template"]["spec"]["nodeSelector"]["example.org/pool"] =
            selecting["spec"]["template"]["spec"]["nodeSelector"]["example.org/pool"].clone();
    });
    let cluster = cluster.start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    assert_eq!(selected["example.org/pool"], "a");
    none(&cluster, &[]).await.exits(0).says("/outcome", "done");
    assert_eq!(selector(&cluster).await.0["example.org/pool"], "a");
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    is_back(&cluster, &before, &selected, 2).await;
}

async fn two_sets(world: &World) {
    let cluster = world.nodes(3).two_pools(&["node-1", "node-2"], &["node-3"]).start().await;
    none(&cluster, &[]).await.exits(0).says("/outcome", "done");
    assert!(cluster.pods().await.is_empty());
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    cluster.all_ready(3).await;
    cluster.status(&[]).await.exits(0);
}

async fn manifest_is_enough(world: &World) {
    let cluster = world.nodes(2).start().await;
    let (before, (selected, _)) = (cluster.before().await, selector(&cluster).await);
    kubectl_with_manifest(&cluster, &["apply"], OF_REMEDIATE);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    none(&cluster, &[&ACCOUNT[..], &["--dry-run"]].concat()).await.exits(0);
    none(&cluster, &ACCOUNT).await.exits(0).says("/outcome", "done");
    cluster.whole(&[&ACCOUNT[..], &["--rollback"]].concat()).await.exits(0).says("/outcome", "done");
    is_back(&cluster, &before, &selected, 2).await;
    kubectl_with_manifest(&cluster, &["delete", "--wait=false"], OF_REMEDIATE);
}
