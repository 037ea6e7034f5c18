//! The node helper in kube-proxy's own image, with its program from a ConfigMap. (The other scenarios use it too; here is
//! what is special about it.)

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::kpx_prep::{self, node_program};
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("programs::the_image_is_kube_proxys", images),
        trial("programs::one_daemon_set_for_each_image", two_images),
        trial("programs::a_config_map_of_somebody_else_is_left_alone", not_ours),
        trial("programs::what_was_changed_is_not_run", changed),
        trial("programs::what_is_replaced_while_pods_start_is_not_run", replaced_meanwhile),
        trial("programs::a_label_of_somebody_else_is_no_reason_to_delete", same_labels),
        trial("programs::of_another_architecture", other_architecture),
    ]
}

const LABEL: &str = "app.kubernetes.io/name=kpx-prep-node";

impl Cluster {
    /// The helper's ConfigMaps.
    async fn programs(&self) -> Vec<ConfigMap> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        maps.list(&ListParams::default().labels(LABEL)).await.expect("a list").items
    }

    async fn helper_sets(&self) -> BTreeMap<String, DaemonSet> {
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), &self.namespace);
        let found = sets.list(&ListParams::default().labels(LABEL)).await.expect("a list").items;
        found.into_iter().map(|set| (set.name_any(), set)).collect()
    }

    /// Nothing of the helper is left.
    async fn no_helper(&self) {
        assert!(self.helper_sets().await.is_empty());
        let left: Vec<_> = self.programs().await.iter().map(ConfigMap::name_any).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

async fn images(world: &World) {
    let cluster = world.nodes(3).start().await;
    cluster.whole(&["--keep-helper"]).await.exits(0).says("/outcome", "done");
    let (sets, programs) = (cluster.helper_sets().await, cluster.programs().await);
    let set = &sets["kpx-prep-node"];
    assert_eq!((sets.len(), programs.len()), (1, 1));
    let pod = set.spec.template.spec.as_ref().expect("a template");
    let proxys = &world.daemon_set["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(pod.containers[0].image.as_deref(), proxys.as_str());
    let security = pod.containers[0].security_context.as_ref().expect("it has one");
    let added = security.capabilities.as_ref().and_then(|capabilities| capabilities.add.clone()).expect("some");
    assert_eq!(added, ["SYS_MODULE", "SYS_CHROOT", "NET_ADMIN", "NET_RAW"]);
    let program = &programs[0];
    assert_eq!(program.immutable, Some(true));
    assert!(program.metadata.owner_references.is_none(), "it is kept with the helper");
    let content = program.binary_data.as_ref().map(|data| data["kpx-prep-node"].0.clone());
    assert_eq!(content, std::fs::read(node_program("amd64")).ok());
    let volumes = pod.volumes.as_ref().expect("volumes");
    let lock = volumes.iter().find(|volume| volume.name == "lock").and_then(|volume| volume.host_path.as_ref());
    assert_eq!(
        lock.map(|path| path.path.as_str()),
        Some("/run/xtables.lock"),
        "iptables of the container locks the host's"
    );
    let source = volumes.iter().find_map(|volume| volume.config_map.as_ref()).expect("a ConfigMap");
    assert_eq!((source.name.as_str(), source.default_mode), (program.name_any().as_str(), Some(0o555)));

    // Used again, and removed.
    let before = program.uid();
    cluster.status(&["--nodes"]).await.exits(0).finds("info", "helper-left");
    assert_eq!(cluster.programs().await[0].uid(), before);
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    cluster.no_helper().await;
    cluster.whole(&["--rollback"]).await.exits(0);
    cluster.no_helper().await;
}

/// A rollout of kube-proxy that is not finished.
async fn two_images(world: &World) {
    let cluster = world.nodes(3).start().await;
    let sets = Api::<DaemonSet>::namespaced(cluster.client.clone(), &cluster.namespace);
    let image = world.daemon_set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image");
    let newer = format!("{image}-newer");
    let container = json!({"name": "kube-proxy", "image": newer});
    let patch = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}, "template": {"spec": {"containers": [container]}}}});
    let params = PatchParams::default();
    sets.patch("kube-proxy", &params, &Patch::Strategic(patch)).await.expect("patched");
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace);
    let params = ListParams::default().labels("k8s-app=kube-proxy").fields("spec.nodeName=node-2");
    pods.delete_collection(&DeleteParams::default(), &params).await.expect("deleted");
    cluster.wait_for("one has ended", |modes| modes.len() == 2).await;
    cluster.wait_for("three nodes run kube-proxy", |modes| modes.len() == 3).await;

    cluster.status(&["--nodes"]).await.exits(0);
    cluster.no_helper().await;
    cluster.whole(&["--keep-helper", "--ignore-preflight-errors", "pending-revision"]).await.exits(0);
    let helpers = cluster.helper_sets().await;
    let of = |name: &str| helpers[name].spec.template.spec.as_ref().expect("a template").containers[0].image.clone();
    assert_eq!(of("kpx-prep-node").as_deref(), Some(image));
    assert_eq!(of("kpx-prep-node-2"), Some(newer));
    for node in ["node-1", "node-2", "node-3"] {
        assert!(cluster.nodes.hosts.is_prepared(node), "{node}");
    }
    // All run the same now: the second one is not needed any more, and the first one is another.
    cluster.status(&["--nodes"]).await.exits(0).mentions("use remediate --keep-helper again");
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    cluster.no_helper().await;
}

/// The program's ConfigMap, after a switch; it is removed.
async fn removed_program(cluster: &Cluster) -> ConfigMap {
    cluster.status(&["--nodes"]).await.exits(0);
    cluster.whole(&["--keep-helper"]).await.exits(0);
    let program = cluster.programs().await.remove(0);
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    program
}

fn again(program: &ConfigMap, change: impl FnOnce(&mut ConfigMap)) -> ConfigMap {
    let mut program = program.clone();
    program.metadata =
        ObjectMeta { name: program.metadata.name.take(), labels: program.metadata.labels.take(), ..Default::default() };
    change(&mut program);
    program
}

async fn not_ours(world: &World) {
    let cluster = world.nodes(2).start().await;
    let program = removed_program(&cluster).await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let theirs = again(&program, |map| map.metadata.labels = None);
    let theirs = maps.create(&PostParams::default(), &theirs).await.expect("created");
    cluster
        .whole(&["--rollback"])
        .await
        .exits(1)
        .mentions("was not created by kpx-prep")
        .mentions("nothing was changed");
    let there = maps.get(&theirs.name_any()).await.expect("it is there");
    assert_eq!(there.uid(), theirs.uid());
    maps.delete(&theirs.name_any(), &DeleteParams::default()).await.expect("deleted");
}

async fn changed(world: &World) {
    let cluster = world.nodes(2).start().await;
    let program = removed_program(&cluster).await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let evil = |map: &mut ConfigMap| {
        map.immutable = None;
        map.binary_data = Some([("kpx-prep-node".to_owned(), ByteString(b"evil".to_vec()))].into());
    };
    let evil = maps.create(&PostParams::default(), &again(&program, evil)).await.expect("created");
    cluster.whole(&["--rollback", "--keep-helper"]).await.exits(0);
    let now = cluster.programs().await.remove(0);
    assert_ne!(now.uid(), evil.uid(), "it was replaced");
    assert_eq!(now.binary_data, program.binary_data);
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
}

/// By somebody who may delete and create ConfigMaps, while the node helper's pods start.
async fn replaced_meanwhile(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    cluster.nodes.set("node-2", &[Misbehaviour::SlowStart(Duration::from_secs(3))]).await;
    let run = cluster.whole_remediation(&[]);
    let made = loop {
        if let Some(made) = cluster.programs().await.pop() {
            break made;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    maps.delete(&made.name_any(), &DeleteParams::default()).await.expect("deleted");
    let evil = again(&made, |map| {
        map.binary_data = Some([("kpx-prep-node".to_owned(), ByteString(b"evil".to_vec()))].into());
    });
    maps.create(&PostParams::default(), &evil).await.expect("created");
    let outcome = run.end().await.exits(1).mentions("was replaced while the node helper was started");
    before.untouched(&cluster).await;
    for node in ["node-1", "node-2"] {
        assert_eq!(cluster.nodes.hosts.commands(node), Vec::<String>::new(), "{outcome}");
    }
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    cluster.no_helper().await;
}

async fn same_labels(world: &World) {
    let cluster = world.nodes(1).start().await;
    let program = removed_program(&cluster).await;
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let theirs = again(&program, |map| map.metadata.name = Some("their-own".to_owned()));
    maps.create(&PostParams::default(), &theirs).await.expect("created");
    // An older program, of a helper that was kept: not needed any more.
    let older = again(&program, |map| map.metadata.name = Some("kpx-prep-node-amd64-0123456789ab".to_owned()));
    maps.create(&PostParams::default(), &older).await.expect("created");
    let status = cluster.status(&[]).await.finds("info", "helper-left").mentions(&older.name_any());
    assert!(!status.stdout.contains("their-own"), "{status}");
    cluster.whole(&["--rollback"]).await.exits(0);
    let left: Vec<_> = cluster.programs().await.iter().map(ConfigMap::name_any).collect();
    assert_eq!(left, ["their-own"]);
    assert!(!cluster.status(&[]).await.has_finding("info", "helper-left"));
    kpx_prep::start(&cluster.kubeconfig, "remediate", &["--remove-helper"]).end().await.exits(0);
    maps.delete("their-own", &DeleteParams::default()).await.expect("it was left");
}

async fn other_architecture(world: &World) {
    let cluster = world.nodes(1).start().await;
    cluster.nodes.add("node-2", &[("kubernetes.io/arch", "riscv64")], &[]).await;
    cluster.wait_for("two nodes run kube-proxy", |modes| modes.len() == 2).await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(3).finds("error", "node-helper");
    outcome.mentions("node-2").mentions("no node program for").mentions("riscv64").mentions("--node-image");
    before.untouched(&cluster).await;
    cluster.no_helper().await;
}
