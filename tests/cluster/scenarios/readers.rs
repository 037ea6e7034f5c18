//! Who reads the ConfigMap, and who runs a kube-proxy that does not.

use libtest_mimic::Trial;

use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("readers::daemon_sets_with_one_config_map_are_switched_together", together),
        trial("readers::a_kube_proxy_of_somebody_else_is_named", somebody_else),
    ]
}

async fn together(world: &World) {
    let cluster = world.nodes(4).two_pools(&["node-1", "node-2"], &["node-3", "node-4"]).start().await;
    let before = cluster.before().await;
    assert_eq!(before.pods.len(), 4);
    let status = cluster.status(&[]).await.exits(0).says("/totals/right", 4).says("/totals/withoutKubeProxy", 0);
    assert_eq!(status.json["kubeProxy"]["daemonSets"].as_array().map(Vec::len), Some(2), "{status}");
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    cluster.status(&[]).await.exits(0).says("/totals/right", 4);
    cluster.remediate(&["--rollback"]).await.exits(0);
    before.rolled_back(&cluster).await;
    // A failure in the second set's pool undoes the first's as well.
    cluster.nodes.set("node-4", &[Misbehaviour::CrashesInIpvs]).await;
    cluster.remediate(&[]).await.exits(5);
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.modes().matches("iptables").count(), 4, "{}", cluster.modes());
}

async fn somebody_else(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.add_other_kube_proxy("node-3").await;
    let blocked = cluster.remediate(&[]).await.exits(3).finds("error", "other-kube-proxy");
    let blocked = blocked.mentions("net-system/kube-proxy-of-node-3").mentions("--exclude-nodes node-3");
    before.untouched(&cluster).await;
    let mut options = vec!["--exclude-nodes", "node-3"];
    if world.plane.exits_without_ipvs() {
        cluster.remediate(&options).await.exits(3).finds("error", "exclude-nodes");
        options.extend(["--ignore-preflight-errors", "exclude-nodes"]);
    }
    let outcome = cluster.remediate(&options).await.exits(0);
    assert_eq!(cluster.replaced(&before.pods).await, ["node-1", "node-2"], "{blocked}\n{outcome}");
}
