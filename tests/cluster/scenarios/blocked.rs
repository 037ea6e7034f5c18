//! What remediate refuses to touch, and says why.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cluster::cluster_state::Cluster;
use crate::cluster::scenario::Scenario;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("blocked::config_by_flags_only", flags_only),
        trial("blocked::pending_template_revision", pending_revision),
        trial("blocked::immutable_config_map", immutable),
        trial("blocked::owned_by_gitops_or_helm", foreign_owner),
        trial("blocked::no_kube_proxy_at_all", no_kube_proxy),
        trial("blocked::ipvs_is_gone_from_this_version", ipvs_gone),
        trial("blocked::address_of_a_load_balancer", load_balancer),
    ]
}

async fn refused(cluster: &Cluster, id: &str) {
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(3).says("/outcome", "blocked").finds("error", id);
    before.untouched(cluster).await;
    assert!(cluster.backups().await.is_empty());
}

pub(crate) fn container(set: &mut Value) -> &mut Value {
    &mut set["spec"]["template"]["spec"]["containers"][0]
}

async fn flags_only(world: &World) {
    let flags = world.nodes(2).daemon_set(|set| {
        container(set)["command"] =
            json!(["/usr/local/bin/kube-proxy", "--proxy-mode=iptables", "--cluster-cidr=10.244.0.0/16"]);
    });
    let cluster = flags.start().await;
    refused(&cluster, "flag-only-config").await;
}

async fn pending_revision(world: &World) {
    let cluster =
        world.nodes(2).daemon_set(|set| set["spec"]["updateStrategy"] = json!({"type": "OnDelete"})).start().await;
    let template = json!({"metadata": {"annotations": {"example.org/edited": "yes"}}});
    cluster.edit_daemon_set(json!({"spec": {"template": template}})).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    refused(&cluster, "pending-revision").await;
    let before = cluster.before().await;
    cluster.remediate(&["--ignore-preflight-errors", "Pending-Revision"]).await.exits(0);
    before.switched(&cluster).await;
}

async fn immutable(world: &World) {
    let cluster = world.nodes(2).config_map(|map| map["immutable"] = json!(true)).start().await;
    refused(&cluster, "immutable-config").await;
}

async fn foreign_owner(world: &World) {
    let owners = [
        json!({"labels": {"app": "kube-proxy", "kustomize.toolkit.fluxcd.io/name": "network"}}),
        json!({"annotations": {"argocd.argoproj.io/tracking-id": "network:/ConfigMap:kube-system/kube-proxy"}}),
        json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"meta.helm.sh/release-name": "proxy"}}),
    ];
    for owner in owners {
        let owned: Scenario<'_> = world.nodes(1).config_map(|map| {
            for (kind, values) in owner.as_object().expect("an object") {
                map["metadata"][kind] = values.clone();
            }
        });
        let cluster = owned.start().await;
        refused(&cluster, "foreign-owner").await;
    }
}

/// As with Cilium in kube-proxy's place.
async fn no_kube_proxy(world: &World) {
    let cluster = world.nodes(0).start().await;
    world.reset().await;
    world.nodes.add("node-1", &[], &[]).await;
    let outcome = cluster.remediate(&[]).await.exits(3).says("/outcome", "blocked");
    assert!(outcome.has_finding("error", "no-kube-proxy"), "{outcome}");
}

async fn ipvs_gone(world: &World) {
    let image = json!("registry.k8s.io/kube-proxy:v1.43.0");
    let cluster = world.nodes(1).daemon_set(|set| container(set)["image"] = image).start().await;
    refused(&cluster, "version-policy").await;
}

/// In ipvs mode every address of a load balancer becomes one of the node's own: that is told.
async fn load_balancer(world: &World) {
    let cluster = world.nodes(1).start().await;
    cluster.add_load_balancer("192.0.2.80").await;
    let outcome = cluster.remediate(&["--dry-run"]).await;
    let told = ["warning", "error", "info"].iter().any(|level| outcome.has_finding(level, "load-balancer-ip"));
    assert!(told, "{outcome}");
}
