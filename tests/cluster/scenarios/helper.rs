//! The phases of a run that go through the node helper. (`helper_life`: how long it stays.)

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::Api;
use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::scenarios::blocked::container;
use crate::cluster::world::{World, trial};

/// A kube-proxy that has nftables mode.
pub(super) const OF_NFTABLES: &str = "registry.k8s.io/kube-proxy:v1.33.0";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("helper::there_and_back", there_and_back),
        trial("helper::nodes_are_prepared_for_nftables", nftables),
        trial("helper::a_node_that_cannot_run_nftables_blocks", nftables_impossible),
        trial("helper::no_gap_into_and_out_of_nftables", no_gap),
        trial("helper::no_gap_in_a_rollback_out_of_nftables", no_gap_in_a_rollback),
        trial("helper::without_a_bridge_no_kube_proxy_is_replaced", no_bridge),
        trial("helper::a_node_that_goes_down_before_its_bridge", down_before_its_bridge),
        trial("helper::what_a_killed_run_switched_does_not_serve", not_serving_after_a_kill),
        trial("helper::a_node_that_cannot_be_prepared_blocks", cannot_be_prepared),
        trial("helper::modules_that_do_not_load_stop_before_the_config", install_fails),
        trial("helper::without_its_image_nothing_is_changed", no_image),
        trial("helper::a_node_where_it_cannot_look_blocks", no_exec),
        trial("helper::foreign_virtual_servers_need_exclude_cidrs", foreign_server),
        trial("helper::a_node_that_stops_serving_is_rolled_back", stops_serving),
        trial("helper::a_node_that_never_syncs_is_rolled_back", never_syncs),
        trial("helper::leftovers_that_remain_are_told_and_taken_up", cannot_be_cleaned),
        trial("helper::dry_run_looks_only_when_asked", dry_run),
        trial("helper::status_shows_hosts", status),
        trial("helper::excluded_nodes", excluded),
        trial("helper::sixty_four_nodes_at_a_time", many),
    ]
}

impl Cluster {
    pub(crate) async fn helper_is_there(&self) -> bool {
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), &self.namespace);
        sets.get_opt("kpx-prep-node").await.expect("an answer").is_some()
    }

    /// What other modes left, on all nodes together.
    pub(crate) fn leftovers(&self) -> usize {
        self.nodes.modes().iter().map(|(node, mode)| self.nodes.hosts.leftovers(node, mode)).sum()
    }
}

async fn there_and_back(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    assert!(!cluster.helper_is_there().await, "{outcome}");
    assert_eq!(cluster.leftovers(), 0, "{outcome}");
    for node in ["node-1", "node-2", "node-3", "node-4"] {
        assert!(cluster.nodes.hosts.is_prepared(node));
        assert_eq!(cluster.nodes.hosts.commands(node), ["survey", "install", "clean"], "{node}");
        assert_eq!(outcome.node(node)["cleaned"]["removed"], 1, "{outcome}");
        assert_eq!(outcome.node(node)["cleaned"]["outcome"], "cleaned", "{outcome}");
    }
    cluster.whole(&[]).await.exits(0).says("/outcome", "nothing-to-do");

    cluster.nodes.hosts.forget_commands();
    let outcome = cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    before.rolled_back(&cluster).await;
    for node in ["node-1", "node-4"] {
        assert_eq!(cluster.nodes.hosts.commands(node), ["survey", "clean", "clean"], "{node}: at most four");
        assert_eq!(outcome.node(node)["cleaned"]["removed"], 2, "the rules, and the virtual servers: {outcome}");
    }
    assert_eq!(cluster.leftovers(), 0, "{outcome}");
    assert!(!cluster.helper_is_there().await);
}

/// With its own list of modules, and kube-proxy's own `nft`.
async fn nftables(world: &World) {
    let cluster = world.nodes(2).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    let outcome = cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    for node in ["node-1", "node-2"] {
        assert_eq!(cluster.nodes.hosts.prepared_for(node).as_deref(), Some("nftables"), "{outcome}");
        assert!(
            cluster.nodes.hosts.commands(node).starts_with(&["survey".to_owned(), "install".to_owned()]),
            "{outcome}"
        );
    }
}

/// kube-proxy removes the rules of the other family when it starts.
async fn no_gap(world: &World) {
    let cluster = world.nodes(3).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    let gaps = || ["node-1", "node-2", "node-3"].map(|node| cluster.nodes.hosts.gaps(node));
    let outcome = cluster.whole(&["--mode", "nftables"]).await.exits(0).says("/outcome", "done");
    assert_eq!(gaps(), [0; 3], "{outcome}");
    assert!(!outcome.has_finding("warning", "service-gap"), "{outcome}");
    let outcome = cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    assert_eq!(gaps(), [0; 3], "{outcome}");
    for node in ["node-1", "node-2", "node-3"] {
        let commands = cluster.nodes.hosts.commands(node);
        assert_eq!(commands[..4], ["survey", "install", "bridge", "clean"], "{node}");
        assert_eq!(commands[4..7], ["survey", "bridge", "clean"], "{node}");
    }
    // What it finds is removed in another run; the bridge is not.
    let outcome = cluster.whole(&["--mode", "nftables", "--no-clean"]).await.exits(0).says("/outcome", "done");
    assert_eq!(gaps(), [0; 3], "{outcome}");
    // Between iptables and ipvs nothing is copied.
    cluster.whole(&["--mode", "iptables"]).await.exits(0);
    cluster.nodes.hosts.forget_commands();
    let outcome = cluster.whole(&["--mode", "ipvs"]).await.exits(0).says("/outcome", "done");
    assert_eq!(cluster.nodes.hosts.commands("node-1"), ["survey", "clean"], "{outcome}");
    assert_eq!(gaps(), [0; 3], "{outcome}");
}

async fn no_gap_in_a_rollback(world: &World) {
    let scenario = world.nodes(3).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES));
    let cluster = scenario.misbehave("node-3", Misbehaviour::NotServingInNftables).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&["--mode", "nftables", "--canary", "node-2"]).await.exits(5);
    before.rolled_back(&cluster).await;
    let gaps = ["node-1", "node-2", "node-3"].map(|node| cluster.nodes.hosts.gaps(node));
    assert_eq!(gaps, [0; 3], "{outcome}");
    // Where it is left as it is, how long it is served is said.
    let tolerant = ["--mode", "nftables", "--canary", "node-2", "--max-failures", "1"];
    let outcome = cluster.whole(&tolerant).await.exits(1).says("/outcome", "nodes-failed");
    outcome.mentions("a copy of the old ones serves Services for up to 6 min; `kpx-prep status --nodes` shows it");
    let outcome = cluster.whole(&["--mode", "nftables", "--no-rollback"]).await.exits(4).says("/outcome", "left");
    outcome.mentions("a copy of the old ones serves Services for up to 6 min; `kpx-prep status --nodes` shows it");
}

async fn no_bridge(world: &World) {
    let scenario = world.nodes(2).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES));
    let cluster = scenario.misbehave("node-2", Misbehaviour::CannotBridge).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&["--mode", "nftables", "--canary", "node-2"]).await.exits(5);
    let outcome = outcome.mentions("its kube-proxy was not replaced: iptables-restore: the bridge is failed");
    before.rolled_back(&cluster).await;
    assert_eq!(outcome.node("node-1")["outcome"], "not-reached", "{outcome}");
    let replaced = cluster.replaced(&before.pods).await;
    assert!(!replaced.contains(&"node-1".to_owned()), "{outcome}");
    let outcome = cluster.whole(&["--mode", "nftables", "--direct"]).await.exits(0).finds("warning", "service-gap");
    assert_eq!(["node-1", "node-2"].map(|node| cluster.nodes.hosts.gaps(node)), [1, 1], "{outcome}");
}

/// What a killed run left to be tested is tested by the next one.
async fn not_serving_after_a_kill(world: &World) {
    let cluster = world.nodes(2).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    let before = cluster.before().await;
    let asked = ["--mode", "nftables", "--canary", "node-2"];
    let said = cluster.whole_remediation(&asked).killed_when_it_says("; watching").await;
    assert!(said.contains("node-2: nftables verified; watching"), "{said}");
    cluster.nodes.set("node-2", &[Misbehaviour::NotServingInNftables]).await;
    let outcome = cluster.whole(&asked).await.exits(5).says("/outcome", "rolled-back");
    assert_eq!(outcome.node("node-1")["outcome"], "not-reached", "{outcome}");
    before.rolled_back(&cluster).await;
    assert_eq!(["node-1", "node-2"].map(|node| cluster.nodes.hosts.gaps(node)), [0, 0], "{outcome}");
}

/// It is skipped, and nothing is rolled back for it.
async fn down_before_its_bridge(world: &World) {
    let cluster = world.nodes(3).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    let run = cluster.whole_remediation(&["--mode", "nftables", "--canary", "node-1", "--settle-time", "3s"]);
    cluster.wait_for("the canary switched", |modes| modes.get("node-1").is_some_and(|mode| mode == "nftables")).await;
    cluster.nodes.set("node-3", &[Misbehaviour::Down]).await;
    let outcome = run.end().await.exits(0);
    assert_eq!(outcome.node("node-3")["outcome"], "not-ready", "{outcome}");
    assert_eq!(cluster.modes(), "node-1 nftables\nnode-2 nftables\nnode-3 iptables\n");
}

async fn nftables_impossible(world: &World) {
    let scenario = world.nodes(2).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES));
    let cluster = scenario.misbehave("node-2", Misbehaviour::CannotBePrepared).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&["--mode", "nftables"]).await.exits(3).says("/outcome", "blocked");
    outcome.finds("error", "node-modules").mentions("node-2");
    before.untouched(&cluster).await;
}

async fn cannot_be_prepared(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CannotBePrepared).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(3).says("/outcome", "blocked").finds("error", "node-modules");
    let outcome = outcome.mentions("node-3").mentions("linux-modules-extra-5.10.0");
    before.untouched(&cluster).await;
    assert!(!cluster.nodes.hosts.is_prepared("node-1"), "{outcome}");
    assert!(!cluster.helper_is_there().await, "{outcome}");
}

async fn install_fails(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::InstallFails).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(1).says("/outcome", "left").mentions("ip_vs is not in /proc/modules");
    before.untouched(&cluster).await;
    assert!(!cluster.helper_is_there().await, "{outcome}");
    cluster.nodes.set("node-2", &[]).await;
    cluster.whole(&[]).await.exits(0);
    before.switched(&cluster).await;
}

/// Instead of kube-proxy's image.
const FROM_IMAGE: [&str; 2] = ["--node-image", "localhost/kpx-prep:1"];

async fn no_image(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::NoOtherImage).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&FROM_IMAGE).await.exits(3).mentions("node-2").mentions("ctr -n k8s.io images import");
    let outcome = outcome.mentions("--node-image").mentions("nothing was changed");
    before.untouched(&cluster).await;
    assert!(!cluster.helper_is_there().await, "{outcome}");
    // What can be looked at is told, and why the rest cannot.
    let outcome =
        cluster.status(&["--nodes", FROM_IMAGE[0], FROM_IMAGE[1]]).await.exits(3).finds("warning", "node-helper");
    let outcome = outcome.says("/nodes/0/host/modules", "would-prepare").mentions("ctr -n k8s.io images import");
    assert!(outcome.json["nodes"][1]["host"]["error"].is_string(), "{outcome}");
    for node in ["node-1", "node-3"] {
        cluster.nodes.set(node, &[Misbehaviour::NoOtherImage]).await;
    }
    cluster
        .status(&["--nodes", FROM_IMAGE[0], FROM_IMAGE[1]])
        .await
        .exits(3)
        .mentions("--node-image")
        .mentions("nothing was changed");
    assert!(!cluster.helper_is_there().await);
}

async fn no_exec(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::RefusesExec).start().await;
    let before = cluster.before().await;
    cluster.whole(&[]).await.exits(3).says("/outcome", "blocked").finds("error", "node-helper").mentions("node-3");
    before.untouched(&cluster).await;
    // Vouched for, the switch does not need it; only the cleaning there does.
    cluster.whole(&["--assume-nodes-prepared"]).await.exits(4).says("/outcome", "leftovers-remain");
    before.switched(&cluster).await;
    cluster.nodes.set("node-3", &[]).await;
    cluster.whole(&["--assume-nodes-prepared"]).await.exits(0);
    assert_eq!(cluster.leftovers(), 0);
}

async fn foreign_server(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::ForeignServer).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(3).finds("error", "foreign-virtual-servers");
    outcome.mentions("--exclude-cidrs 192.0.2.7/32");
    before.untouched(&cluster).await;
    let outcome = cluster.whole(&["--exclude-cidrs", "192.0.2.7/32"]).await.exits(0);
    assert!(!outcome.has_finding("error", "foreign-virtual-servers"), "{outcome}");
    assert!(cluster.config().await.contains("192.0.2.7/32"));
}

async fn stops_serving(world: &World) {
    let cluster = world.nodes(4).misbehave("node-3", Misbehaviour::StopsServing).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(5).says("/outcome", "rolled-back");
    before.rolled_back(&cluster).await;
    assert_eq!(outcome.node("node-3")["outcome"], "rolled-back", "{outcome}");
    assert_eq!(cluster.leftovers(), 0, "what ipvs left behind is gone too: {outcome}");
    assert!(!cluster.helper_is_there().await, "{outcome}");
}

async fn never_syncs(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::NeverSyncs).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(5).says("/outcome", "rolled-back").mentions("not-synced");
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.leftovers(), 0, "{outcome}");
    assert_eq!(cluster.replaced(&before.pods).await.len(), 1, "the roll stopped at the first: {outcome}");
}

async fn cannot_be_cleaned(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CannotBeCleaned).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(4).says("/outcome", "leftovers-remain").mentions("node-3");
    before.switched(&cluster).await;
    assert_eq!(outcome.node("node-3")["outcome"], "proved", "{outcome}");
    assert_eq!(cluster.leftovers(), 1);
    cluster.nodes.set("node-3", &[]).await;
    let pods = cluster.pods().await;
    let outcome = cluster.whole(&[]).await.exits(0).says("/outcome", "done").says("/plan/toClean", json!(["node-3"]));
    assert_eq!(cluster.leftovers(), 0, "{outcome}");
    assert_eq!(cluster.replaced(&pods).await, Vec::<String>::new(), "cleaning replaces no pod");
}

async fn dry_run(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    cluster.whole(&["--dry-run"]).await.exits(0).finds("warning", "nodes-prepared");
    assert!(cluster.nodes.hosts.commands("node-1").is_empty(), "nobody asked for it");
    let both = json!(["node-1", "node-2"]);
    cluster.whole(&["--dry-run", "--nodes"]).await.exits(0).says("/plan/toPrepare", both);
    assert_eq!(cluster.nodes.hosts.commands("node-1"), ["survey"]);
    assert!(!cluster.helper_is_there().await);
    before.untouched(&cluster).await;
}

async fn status(world: &World) {
    let cluster = world.nodes(3).start().await;
    cluster.status(&["--nodes"]).await.exits(0).says("/nodes/0/host/modules", "would-prepare");
    cluster.remediate(&[]).await.exits(0);
    cluster.status(&[]).await.exits(0);
    // Switched by hand, so to speak: the modules were never put there, and the old rules are.
    let outcome = cluster.status(&["--nodes"]).await.exits(3).finds("warning", "leftovers");
    let outcome = outcome.finds("warning", "node-modules").says("/nodes/2/host/leftovers/0/of", "iptables");
    assert!(!cluster.helper_is_there().await, "{outcome}");
    let nodes = json!(["node-1", "node-2", "node-3"]);
    cluster.whole(&[]).await.exits(0).says("/plan/toClean", nodes.clone()).says("/plan/toPrepare", nodes);
    cluster.status(&["--nodes"]).await.exits(0);
}

async fn excluded(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CannotBePrepared).start().await;
    let before = cluster.before().await;
    cluster.whole(&["--exclude-nodes", "node-9"]).await.exits(3).finds("error", "exclude-nodes").mentions("node-9");
    let outcome = if world.plane.exits_without_ipvs() {
        cluster.whole(&["--exclude-nodes", "node-3"]).await.exits(3).finds("error", "exclude-nodes");
        before.untouched(&cluster).await;
        cluster.whole(&["--exclude-nodes", "node-3", "--ignore-preflight-errors", "exclude-nodes"]).await.exits(0)
    } else {
        cluster.whole(&["--exclude-nodes", "node-3"]).await.exits(0).finds("warning", "exclude-nodes")
    };
    assert_eq!(cluster.replaced(&before.pods).await, ["node-1", "node-2"], "{outcome}");
    assert_eq!(cluster.nodes.hosts.commands("node-3"), ["survey"], "{outcome}");
}

async fn many(world: &World) {
    let cluster = world.nodes(80).start().await;
    cluster.status(&["--nodes"]).await.exits(0);
    let most = cluster.nodes.hosts.most_at_once();
    assert!((16..=64).contains(&most), "{most} at once");
}
