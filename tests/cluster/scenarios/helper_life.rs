//! How long the node helper stays: to the end of a run, killed or interrupted; kept on request; and another's of that name.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::Api;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::kpx_prep;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("helper_life::killed_at_any_phase_goes_on", killed),
        trial("helper_life::interrupted_it_is_taken_away", interrupted),
        trial("helper_life::kept_it_prepares_newcomers", kept),
        trial("helper_life::a_node_that_joins_meanwhile_is_prepared", joins_meanwhile),
        trial("helper_life::a_foreign_daemon_set_of_that_name_is_left", not_ours),
    ]
}

/// Killed once the word appears on stderr.
async fn killed_at(cluster: &Cluster, word: &str) {
    let run = cluster.whole_remediation(&[]);
    let said = run.killed_when_it_says(word).await;
    assert!(said.contains(word), "it never said {word:?}:\n{said}");
}

async fn killed(world: &World) {
    for word in
        ["starting the node helper", "preparing ", "mode ipvs configured", "replacing kube-proxy", "leftover removed"]
    {
        let cluster = world.nodes(3).start().await;
        let before = cluster.before().await;
        killed_at(&cluster, word).await;
        // It says that it starts it before it does.
        if word != "starting the node helper" {
            assert!(cluster.helper_is_there().await, "killed at {word:?}: nobody took it away");
            cluster.status(&[]).await.finds("info", "helper-left");
        }
        let outcome = cluster.whole(&[]).await.exits(0);
        before.only_mode_changed(&cluster, "ipvs").await;
        assert!(cluster.nodes.modes().values().all(|mode| mode == "ipvs"), "killed at {word:?}: {}", cluster.modes());
        assert_eq!(cluster.leftovers(), 0, "killed at {word:?}: {outcome}");
        assert!(!cluster.helper_is_there().await, "killed at {word:?}: {outcome}");
    }
    let cluster = world.nodes(2).start().await;
    killed_at(&cluster, "preparing ").await;
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    assert!(!cluster.helper_is_there().await);
}

async fn interrupted(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::SlowStart(Duration::from_secs(5))).start().await;
    let before = cluster.before().await;
    let run = cluster.whole_remediation(&[]);
    while !cluster.helper_is_there().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run.signal(Signal::SIGINT);
    let outcome = run.end().await.exits(130).says("/outcome", "interrupted");
    assert!(!cluster.helper_is_there().await, "{outcome}");
    before.untouched(&cluster).await;
}

async fn kept(world: &World) {
    let cluster = world.nodes(2).start().await;
    cluster.whole(&["--keep-helper"]).await.exits(0);
    assert!(cluster.helper_is_there().await);
    cluster.status(&["--nodes"]).await.exits(0).finds("info", "helper-left");
    assert!(cluster.helper_is_there().await, "status leaves it to stay");
    let sets = Api::<DaemonSet>::namespaced(cluster.client.clone(), &cluster.namespace);
    let set = sets.get("kpx-prep-node").await.expect("it is there");
    let pod = set.spec.template.spec.expect("a template");
    let command = pod.containers[0].command.clone().expect("a command");
    for option in ["--prepare", "--kubernetes-version"] {
        assert!(command.contains(&option.to_owned()), "{command:?}");
    }

    cluster.nodes.add("node-3", &[], &[]).await;
    cluster.wait_for("three nodes run kube-proxy", |modes| modes.len() == 3).await;
    // Its modules are there only once the helper came up.
    cluster.whole(&[]).await.exits(0);
    assert!(cluster.helper_is_there().await, "a run leaves it to stay");

    // Another one. (Stand-ins do not prepare themselves.)
    cluster.nodes.add("node-4", &[], &[]).await;
    cluster.wait_for("four nodes run kube-proxy", |modes| modes.len() == 4).await;
    cluster.status(&["--nodes"]).await.exits(3).says("/nodes/3/host/modules", "would-prepare");
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    assert!(!cluster.helper_is_there().await);
}

async fn joins_meanwhile(world: &World) {
    let cluster = world.nodes(2).start().await;
    let run = cluster.whole_remediation(&["--settle-time", "3s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    cluster.nodes.add("node-3", &[], &[]).await;
    let outcome = run.end().await.exits(0);
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\n", "{outcome}");
    assert!(cluster.nodes.hosts.is_prepared("node-3"), "{outcome}");
    assert_eq!(outcome.node("node-3")["cleaned"]["remaining"], 0, "{outcome}");
}

async fn not_ours(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let labels = json!({"app": "somebody-else"});
    let container = json!({"name": "main", "image": "example.org/other:1"});
    let set = json!({
        "metadata": {"name": "kpx-prep-node"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    });
    let set: DaemonSet = serde_json::from_value(set).expect("a DaemonSet");
    let sets = Api::<DaemonSet>::namespaced(cluster.client.clone(), &cluster.namespace);
    sets.create(&kube::api::PostParams::default(), &set).await.expect("made");
    cluster.whole(&[]).await.exits(1).mentions("was not created by kpx-prep");
    assert!(cluster.helper_is_there().await);
    before.untouched(&cluster).await;
}
