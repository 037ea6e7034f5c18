//! `kpx-prep remediate` while others change the cluster, and while the API server has a bad day.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::before::with_mode;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::{Fault, FaultProxy, When};
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("meanwhile::config_map_changed_between_plan_and_write", config_changed),
        trial("meanwhile::config_map_changed_during_the_roll", config_changed_later),
        trial("meanwhile::node_deleted", node_deleted),
        trial("meanwhile::node_added", node_added),
        trial("meanwhile::daemon_set_edited", daemon_set_edited),
        trial("meanwhile::pod_deleted_by_someone_else", pod_deleted),
        trial("meanwhile::server_is_busy_and_drops_connections", bad_day),
        trial("meanwhile::watches_expire", watches_expire),
        trial("meanwhile::lists_expire", lists_expire),
    ]
}

/// Something happens once, before the first request of a kind reaches the API server.
async fn once<F>(
    cluster: &Cluster,
    kind: &'static str,
    what: impl Fn(Cluster) -> F + Send + Sync + 'static,
) -> FaultProxy
where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, there) = (AtomicBool::new(false), cluster.clone());
    let decide = move |_, asked: &crate::cluster::request::Asked| {
        if asked.is(kind) && !done.swap(true, Ordering::SeqCst) {
            return Fault::Meanwhile(Box::pin(what(there.clone())));
        }
        Fault::None
    };
    cluster.proxy(decide).await
}

async fn config_changed(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let edit = async |cluster: Cluster| {
        let text = cluster.config().await.replace("clusterCIDR: 10.244.0.0/16", "clusterCIDR: 10.96.0.0/11 # ours");
        cluster.edit_map(json!({"data": {"config.conf": text}, "metadata": {"labels": {"ours": "too"}}})).await;
    };
    let proxy = once(&cluster, "patch configmaps", move |cluster| Box::pin(async move { edit(cluster).await })).await;
    proxy.cluster(&cluster).remediate(&[]).await.exits(0);
    let edited = before.config().replace("clusterCIDR: 10.244.0.0/16", "clusterCIDR: 10.96.0.0/11 # ours");
    assert_ne!(edited, before.config());
    assert_eq!(cluster.config().await, with_mode(&edited, "ipvs"), "the other's edit survives");
    assert_eq!(cluster.map().await.metadata.labels.unwrap_or_default()["ours"], "too");
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\n");
    assert!(cluster.backups().await.values().any(|data| data["config.conf"] == edited), "what was overwritten is kept");
}

/// What someone else wrote after kpx-prep is theirs: no run may end with it lost.
async fn config_changed_later(world: &World) {
    let cluster = world.nodes(3).start().await;
    let proxy = once(&cluster, "delete pods", async |cluster: Cluster| {
        let text = cluster.config().await.replace("clusterCIDR: 10.244.0.0/16", "clusterCIDR: 10.96.0.0/11");
        cluster.edit_map(json!({"data": {"config.conf": text}})).await;
    });
    let proxy = proxy.await;
    let outcome = proxy.cluster(&cluster).remediate(&[]).await;
    assert!(cluster.config().await.contains("clusterCIDR: 10.96.0.0/11\n"), "the other's edit is lost\n{outcome}");
    cluster.remediate(&[]).await.exits(0);
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\n");
}

async fn node_deleted(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let proxy = once(&cluster, "delete pods", async |cluster: Cluster| cluster.nodes.remove("node-4").await).await;
    let outcome = proxy.cluster(&cluster).remediate(&["--canary", "node-2"]).await.exits(0);
    assert_eq!(outcome.node("node-4")["outcome"], "gone", "{outcome}");
    before.only_mode_changed(&cluster, "ipvs").await;
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\n");
}

async fn node_added(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    // Before the ConfigMap is written: the new node starts with the old mode, and nobody has planned for it.
    let add = async |cluster: Cluster| {
        cluster.nodes.add("node-4", &[], &[]).await;
        cluster.wait_for("a fourth node", |modes| modes.contains_key("node-4")).await;
    };
    let proxy = once(&cluster, "patch configmaps", move |cluster| Box::pin(async move { add(cluster).await })).await;
    proxy.cluster(&cluster).remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\nnode-4 ipvs\n");
}

/// A roll of the DaemonSet controller's own begins under ours: both may not take more pods than allowed, and what
/// is reported must be true.
async fn daemon_set_edited(world: &World) {
    let cluster = world.nodes(4).start().await;
    let before = cluster.before().await;
    let proxy = once(&cluster, "delete pods", async |cluster: Cluster| {
        let template = json!({"metadata": {"annotations": {"example.org/restarted": "now"}}});
        cluster.edit_daemon_set(json!({"spec": {"template": template}})).await;
    });
    let proxy = proxy.await;
    let outcome = proxy.cluster(&cluster).remediate(&[]).await;
    match outcome.exit {
        Some(0) => {
            before.only_mode_changed(&cluster, "ipvs").await;
            assert!(cluster.nodes.modes().values().all(|mode| mode == "ipvs"), "{}\n{outcome}", cluster.modes());
        }
        Some(5) => assert_eq!(cluster.data().await, before.data, "{outcome}"),
        _ => assert!(matches!(outcome.exit, Some(1 | 3 | 4)), "{outcome}"),
    }
    cluster.wait_for("all running", |modes| modes.len() == 4).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    cluster.remediate(&[]).await.exits(0);
    before.only_mode_changed(&cluster, "ipvs").await;
    assert!(cluster.nodes.modes().values().all(|mode| mode == "ipvs"), "{}", cluster.modes());
}

/// The UID is no longer the one that was planned for.
async fn pod_deleted(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let proxy = once(&cluster, "delete pods", async |cluster: Cluster| {
        cluster.delete_pods().await;
        cluster.wait_for("started again", |modes| modes.len() == 3).await;
    });
    let proxy = proxy.await;
    proxy.cluster(&cluster).remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

async fn bad_day(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let proxy = cluster.proxy(|number, _| match number % 11 {
        3 => Fault::Answer(429),
        6 => Fault::Answer(500),
        9 => Fault::Close(When::Before),
        _ => Fault::None,
    });
    let proxy = proxy.await;
    proxy.cluster(&cluster).remediate(&["--timeout", "15s", "--lease-duration", "10s"]).await.exits(0);
    before.switched(&cluster).await;
}

async fn watches_expire(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let answered = Arc::new(AtomicUsize::new(0));
    let proxy = cluster.proxy(move |_, asked| {
        if asked.verb != "watch" {
            return Fault::None;
        }
        match answered.fetch_add(1, Ordering::SeqCst) {
            0 => Fault::ExpiredWatch,
            1 => Fault::Answer(410),
            _ => Fault::None,
        }
    });
    let proxy = proxy.await;
    proxy.cluster(&cluster).remediate(&["--timeout", "20s"]).await.exits(0);
    before.switched(&cluster).await;
}

async fn lists_expire(world: &World) {
    let cluster = world.nodes(5).start().await;
    let before = cluster.before().await;
    let answered = AtomicUsize::new(0);
    let proxy = cluster.paging_proxy(Some(2), move |_, asked| {
        let expires = asked.continues && answered.fetch_add(1, Ordering::SeqCst) % 5 == 1;
        if expires { Fault::Answer(410) } else { Fault::None }
    });
    let proxy = proxy.await;
    proxy.cluster(&cluster).remediate(&["--max-unavailable", "2"]).await.exits(0);
    before.switched(&cluster).await;
}
