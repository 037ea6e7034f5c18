//! From ipvs to nftables mode and back: one change in two legs, by way of iptables mode.

use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::before::Before;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::scenarios::blocked::container;
use crate::cluster::scenarios::helper::OF_NFTABLES;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("legs::there_and_back_as_one_change", there_and_back),
        trial("legs::killed_in_either_leg_goes_on", killed),
        trial("legs::a_rollback_killed_in_either_leg_goes_on", rollback_killed),
        trial("legs::a_failure_in_the_second_leg_goes_back_through_both", rolled_back),
        trial("legs::a_failure_in_the_second_leg_after_a_restart", rolled_back_after_a_restart),
        trial("legs::a_change_is_given_up_between_the_legs", given_up),
        trial("legs::stops_after_the_canary_of_each", paused),
        trial("legs::directly_when_asked", directly),
        trial("legs::a_node_that_comes_back_in_the_second_leg", comes_back),
        trial("legs::a_failure_in_the_second_leg_of_a_rollback", rollback_fails),
        trial("legs::a_failure_after_giving_up", giving_up_fails),
        trial("legs::interrupted_between_them", interrupted),
        trial("legs::edited_between_them", edited),
    ]
}

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];

/// A cluster in ipvs mode, and how it was then.
async fn in_ipvs(world: &World) -> (Cluster, Before) {
    let cluster = world.nodes(3).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    cluster.whole(&["--mode", "ipvs"]).await.exits(0);
    let before = cluster.before().await;
    (cluster, before)
}

/// No Service was without rules, and no connection was ended.
fn lossless(cluster: &Cluster, said: &str) {
    let losses = NODES.map(|node| (cluster.nodes.hosts.gaps(node), cluster.nodes.hosts.cuts(node)));
    assert_eq!(losses, [(0, 0); 3], "{said}");
}

/// Every node runs the mode, and what the cluster had before it is kept once, with nothing of the text between.
async fn arrived(cluster: &Cluster, before: &Before, mode: &str) {
    assert!(cluster.nodes.modes().values().all(|runs| runs == mode), "{}", cluster.modes());
    assert!(cluster.map().await.data.unwrap()["config.conf"].contains(&format!("mode: \"{mode}\"")));
    let backups = cluster.backups().await;
    assert!(backups.values().any(|data| *data == before.data), "{:?}", backups.keys());
    let between =
        |data: &&std::collections::BTreeMap<String, String>| data["config.conf"].contains("mode: \"iptables\"");
    assert_eq!(backups.values().filter(between).count(), 0);
    assert_eq!(cluster.lock_holder().await, None);
    assert_eq!(cluster.leftovers(), 0);
    lossless(cluster, mode);
}

/// The cluster is in ipvs mode, with its configuration as it was.
async fn back(cluster: &Cluster, before: &Before) {
    assert_eq!(cluster.map().await.data.as_ref(), Some(&before.data));
    arrived(cluster, before, "ipvs").await;
}

async fn killed_when_it_says(cluster: &Cluster, arguments: &[&str], word: &str) {
    let said = cluster.whole_remediation(arguments).killed_when_it_says(word).await;
    assert!(said.contains(word), "it never said {word:?}:\n{said}");
}

async fn there_and_back(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    cluster.nodes.hosts.forget_commands();
    let dry = cluster.whole(&["--mode", "nftables", "--dry-run"]).await.exits(0);
    let dry = dry.says("/plan/to", "iptables").says("/plan/then/to", "nftables").says("/plan/then/from", "iptables");
    assert!(!dry.has_finding("error", "by-way-of-iptables"), "{dry}");
    let outcome = cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    arrived(&cluster, &before, "nftables").await;
    let commands = cluster.nodes.hosts.commands("node-1");
    let expected = ["survey", "install", "clean", "clean", "survey", "bridge", "clean"];
    let without_install = ["survey", "clean", "clean", "survey", "bridge", "clean"];
    assert!(commands == expected || commands == without_install, "{commands:?}: {outcome}");
    // One rollback leads back to what was there before both legs.
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    back(&cluster, &before).await;
    cluster.whole(&["--mode", "ipvs"]).await.exits(0).says("/outcome", "nothing-to-do");
    // What was rolled back can be done again.
    cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    arrived(&cluster, &before, "nftables").await;
}

async fn killed(world: &World) {
    for word in [
        "mode iptables configured",
        "node-2: iptables verified",
        "draining IPVS connections",
        "leg 1 of 2",
        "mode nftables configured",
        "node-2: nftables verified",
    ] {
        let (cluster, before) = in_ipvs(world).await;
        killed_when_it_says(&cluster, &["--mode", "nftables", "--canary", "node-2"], word).await;
        cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
        arrived(&cluster, &before, "nftables").await;
        cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
        back(&cluster, &before).await;
    }
}

async fn rollback_killed(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    for word in ["mode iptables configured", "leg 1 of 2", "mode ipvs configured", "node-2: ipvs verified"] {
        cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
        killed_when_it_says(&cluster, &["--rollback", "--canary", "node-2"], word).await;
        cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
        back(&cluster, &before).await;
        cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "nothing-to-do");
    }
}

async fn rolled_back(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    cluster.nodes.set("node-3", &[Misbehaviour::NotServingInNftables]).await;
    let outcome = cluster.whole(&["--mode", "nftables", "--canary", "node-2"]).await.exits(5);
    let outcome = outcome.says("/outcome", "rolled-back");
    back(&cluster, &before).await;
    for node in NODES {
        assert_eq!(outcome.node(node)["outcome"], "rolled-back", "{outcome}");
        assert_eq!(outcome.node(node)["mode"], "ipvs", "{outcome}");
    }
}

async fn rolled_back_after_a_restart(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    killed_when_it_says(&cluster, &["--mode", "nftables", "--canary", "node-2"], "node-2: nftables verified").await;
    cluster.nodes.set("node-3", &[Misbehaviour::NotServingInNftables]).await;
    cluster.whole(&["--mode", "nftables"]).await.exits(5).says("/outcome", "rolled-back");
    back(&cluster, &before).await;
}

async fn given_up(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    for word in ["node-2: iptables verified", "leg 1 of 2"] {
        killed_when_it_says(&cluster, &["--mode", "nftables", "--canary", "node-2"], word).await;
        cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
        back(&cluster, &before).await;
    }
    // iptables mode that was asked for is an original of its own.
    cluster.whole(&["--mode", "nftables"]).await.exits(0);
    cluster.whole(&["--mode", "iptables"]).await.exits(0);
    let asked_for = cluster.before().await;
    cluster.whole(&["--mode", "ipvs"]).await.exits(0);
    cluster.whole(&["--rollback"]).await.exits(0);
    assert_eq!(cluster.map().await.data.as_ref(), Some(&asked_for.data));
    assert!(cluster.nodes.modes().values().all(|runs| runs == "iptables"), "{}", cluster.modes());
    lossless(&cluster, "iptables");
}

async fn paused(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    let asked = ["--mode", "nftables", "--canary", "node-2", "--pause-after-canary"];
    cluster.whole(&asked).await.exits(0).says("/outcome", "paused");
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 iptables\nnode-3 ipvs\n");
    // The rest of the first leg, and the canary of the second.
    cluster.whole(&asked).await.exits(0).says("/outcome", "paused");
    assert_eq!(cluster.modes(), "node-1 iptables\nnode-2 nftables\nnode-3 iptables\n");
    cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    arrived(&cluster, &before, "nftables").await;
}

async fn directly(world: &World) {
    let (cluster, _) = in_ipvs(world).await;
    let outcome = cluster.whole(&["--mode", "nftables", "--direct"]).await.exits(0).finds("warning", "service-gap");
    let losses = NODES.map(|node| (cluster.nodes.hosts.gaps(node), cluster.nodes.hosts.cuts(node)));
    assert_eq!(losses, [(1, 1); 3], "{outcome}");
    let (cluster, before) = in_ipvs(world).await;
    let outcome = cluster.whole(&["--mode", "nftables", "--no-clean"]).await.exits(3).says("/outcome", "blocked");
    outcome.finds("error", "by-way-of-iptables").mentions("--no-clean");
    before.untouched(&cluster).await;
}

/// It is left out, and nothing is rolled back for it; the same command takes it through both legs.
async fn comes_back(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    cluster.nodes.set("node-3", &[Misbehaviour::Down]).await;
    let asked = ["--mode", "nftables", "--canary", "node-2", "--settle-time", "4s"];
    let mut run = cluster.whole_remediation(&asked);
    run.until_it_says("node-2: nftables verified; watching").await;
    cluster.nodes.set("node-3", &[]).await;
    let outcome = run.end().await;
    assert_eq!(cluster.nodes.hosts.cuts("node-3"), 0, "{outcome}");
    if cluster.modes().contains("node-3 ipvs") {
        let outcome = outcome.exits(4).says("/outcome", "left");
        assert_eq!(outcome.node("node-3")["outcome"], "not-reached", "{outcome}");
        assert_eq!(outcome.node("node-2")["outcome"], "proved", "{outcome}");
    }
    cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    arrived(&cluster, &before, "nftables").await;
    // What was there before the change is still what a rollback restores.
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    back(&cluster, &before).await;
}

async fn rollback_fails(world: &World) {
    let (cluster, _) = in_ipvs(world).await;
    cluster.whole(&["--mode", "nftables"]).await.exits(0);
    let there = cluster.before().await;
    cluster.nodes.set("node-3", &[Misbehaviour::StopsServing]).await;
    cluster.whole(&["--rollback", "--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
    assert_eq!(cluster.map().await.data.as_ref(), Some(&there.data));
    assert!(cluster.nodes.modes().values().all(|runs| runs == "nftables"), "{}", cluster.modes());
    lossless(&cluster, "drained before nftables mode");
    // The same command tries the same again.
    cluster.nodes.set("node-3", &[]).await;
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    assert!(cluster.nodes.modes().values().all(|runs| runs == "ipvs"), "{}", cluster.modes());
    lossless(&cluster, "ipvs");
}

/// It goes back to the mode between the legs, not through ipvs mode once more.
async fn giving_up_fails(world: &World) {
    let (cluster, _) = in_ipvs(world).await;
    killed_when_it_says(&cluster, &["--mode", "nftables"], "leg 1 of 2").await;
    let between = cluster.before().await;
    cluster.nodes.set("node-3", &[Misbehaviour::StopsServing]).await;
    cluster.whole(&["--rollback", "--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
    assert_eq!(cluster.map().await.data.as_ref(), Some(&between.data));
    assert!(cluster.nodes.modes().values().all(|runs| runs == "iptables"), "{}", cluster.modes());
}

async fn interrupted(world: &World) {
    let (cluster, before) = in_ipvs(world).await;
    let mut run = cluster.whole_remediation(&["--mode", "nftables"]);
    run.until_it_says("leg 1 of 2").await;
    run.signal(nix::sys::signal::Signal::SIGINT);
    let outcome = run.end().await.exits(130).says("/outcome", "interrupted");
    let outcome = outcome.mentions("The first leg is done").says("/firstLeg/to", "iptables");
    assert!(!outcome.json["message"].to_string().contains("nothing was changed"), "{outcome}");
    assert!(outcome.json["backup"].is_string(), "{outcome}");
    cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    arrived(&cluster, &before, "nftables").await;
}

/// What another writer wrote is not overwritten without having been shown.
async fn edited(world: &World) {
    let (cluster, _) = in_ipvs(world).await;
    let mut run = cluster.whole_remediation(&["--mode", "nftables", "--drain", "3s"]);
    run.until_it_says("draining IPVS connections").await;
    let text = cluster.config().await.replace("configSyncPeriod: 0s", "configSyncPeriod: 7m0s");
    cluster.edit_map(json!({"data": {"config.conf": text}})).await;
    let outcome = run.end().await;
    let outcome = outcome.exits(4).says("/outcome", "left").mentions("another writer edited the ConfigMap");
    assert_eq!(cluster.config().await, text, "{outcome}");
}
