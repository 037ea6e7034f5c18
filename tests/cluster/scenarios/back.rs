//! `kpx-prep remediate --rollback`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::before::with_mode;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("back::there_and_back", there_and_back),
        trial("back::to_a_backup_of_ones_choice", to_backup),
        trial("back::a_label_on_an_old_backup_changes_nothing", labelled),
        trial("back::refused_when_edited_since_unless_forced", edited_since),
        trial("back::nothing_to_go_back_to", nothing),
        trial("back::killed_and_repeated", killed),
        trial("back::half_a_roll", half_a_roll),
        trial("back::an_address_without_a_port", without_a_port),
        trial("back::an_original_that_no_kube_proxy_can_start_with", unfit),
    ]
}

async fn there_and_back(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
    let between = cluster.pods().await;
    cluster.remediate(&["--rollback"]).await.exits(0).says("/outcome", "done");
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.replaced(&between).await.len(), 3);
    cluster.status(&[]).await.exits(0).says("/totals/right", 3);
    // And once more: the backup of the same content is the same one.
    cluster.remediate(&[]).await.exits(0);
    assert!(cluster.backups().await.values().any(|data| *data == before.data));
    assert!(cluster.backups().await.len() <= 2, "{:?}", cluster.backups().await.keys());
}

async fn to_backup(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let first = cluster.remediate(&[]).await.exits(0);
    let first = first.json["backup"].as_str().expect("a backup").to_owned();
    let second = cluster.remediate(&["--scheduler", "lc"]).await.exits(0);
    assert_ne!(second.json["backup"], json!(first), "another content is another backup\n{second}");
    assert_eq!(cluster.backups().await.len(), 2);
    cluster.remediate(&["--rollback", "--to", "kpx-prep-backup-0000000000"]).await.exits(3);
    cluster.remediate(&["--rollback", "--to", &first]).await.exits(0);
    before.rolled_back(&cluster).await;
}

async fn labelled(world: &World) {
    let cluster = world.nodes(2).start().await;
    let first = cluster.remediate(&[]).await.exits(0);
    let first = first.json["backup"].as_str().expect("a backup").to_owned();
    let between = cluster.config().await;
    cluster.remediate(&["--scheduler", "lc"]).await.exits(0);
    let maps = Api::<ConfigMap>::namespaced(cluster.client.clone(), &cluster.namespace);
    let label = Patch::Merge(json!({"metadata": {"labels": {"team": "network"}}}));
    maps.patch(&first, &PatchParams::default(), &label).await.expect("labelled");
    cluster.remediate(&["--rollback"]).await.exits(0);
    assert_eq!(cluster.config().await, between, "the newest backup is the one that was saved last");
}

async fn edited_since(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    cluster.remediate(&[]).await.exits(0);
    let edited = with_mode(before.config(), "ipvs").replace("configSyncPeriod: 0s", "configSyncPeriod: 7m0s");
    cluster.edit_map(json!({"data": {"config.conf": edited}})).await;
    let pods = cluster.pods().await;
    cluster.remediate(&["--rollback"]).await.exits(3).mentions("configSyncPeriod: 7m0s");
    assert_eq!(cluster.config().await, edited);
    assert!(cluster.replaced(&pods).await.is_empty());
    cluster.remediate(&["--rollback", "--force"]).await.exits(0);
    before.rolled_back(&cluster).await;
}

async fn nothing(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let outcome = cluster.remediate(&["--rollback"]).await;
    assert!(matches!(outcome.exit, Some(0 | 2 | 3)), "{outcome}");
    before.untouched(&cluster).await;
}

/// The same command goes on; it does not go back to what it replaced.
async fn killed(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.whole(&[]).await.exits(0);
    let said = cluster.whole_remediation(&["--rollback", "--canary", "node-2"]);
    let said = said.killed_when_it_says("node-2: iptables verified").await;
    assert!(said.contains("node-2: iptables verified"), "{said}");
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "done");
    before.rolled_back(&cluster).await;
    cluster.whole(&["--rollback"]).await.exits(0).says("/outcome", "nothing-to-do");
    before.rolled_back(&cluster).await;
}

/// After a pause the canary alone goes back.
async fn half_a_roll(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    cluster.remediate(&["--pause-after-canary", "--canary", "node-3"]).await.exits(0);
    let between = cluster.pods().await;
    cluster.remediate(&["--rollback"]).await.exits(0);
    before.rolled_back(&cluster).await;
    assert_eq!(cluster.replaced(&between).await, ["node-3"], "the others have never left iptables");
}

/// kube-proxy appends its own port; nothing about it stops a run, an undo or a rollback.
async fn without_a_port(world: &World) {
    for address in ["0.0.0.0", "\"::\""] {
        let cluster = world.nodes(2).replace("metricsBindAddress: \"\"", &format!("metricsBindAddress: {address}"));
        let cluster = cluster.start().await;
        let before = cluster.before().await;
        cluster.status(&[]).await.exits(0).says("/totals/right", 2);
        cluster.remediate(&[]).await.exits(0);
        before.switched(&cluster).await;
        cluster.remediate(&["--rollback"]).await.exits(0);
        before.rolled_back(&cluster).await;
        // And where a run fails.
        cluster.nodes.set("node-2", &[Misbehaviour::CrashesInIpvs]).await;
        cluster.remediate(&["--canary", "node-2"]).await.exits(5).says("/outcome", "rolled-back");
        before.rolled_back(&cluster).await;
    }
}

/// It goes back byte for byte, and no kube-proxy is restarted with it.
async fn unfit(world: &World) {
    let cluster = world.nodes(3).start().await;
    let bogus = with_mode(&cluster.config().await, "IPVS");
    cluster.edit_map(json!({"data": {"config.conf": bogus}})).await;
    cluster.status(&[]).await.exits(3).mentions("mode-invalid");
    cluster.remediate(&[]).await.exits(0);
    let pods = cluster.pods().await;
    let outcome = cluster.remediate(&["--rollback"]).await.exits(0).mentions("no kube-proxy was restarted");
    assert_eq!(cluster.config().await, bogus, "{outcome}");
    assert!(cluster.replaced(&pods).await.is_empty(), "{outcome}");
    // The same where a run fails and undoes itself.
    cluster.nodes.set("node-3", &[Misbehaviour::CrashesInIpvs]).await;
    let outcome =
        cluster.remediate(&["--canary", "node-3"]).await.exits(1).mentions("The original configuration was restored");
    assert_eq!(cluster.config().await, bogus, "{outcome}");
    assert_eq!(cluster.replaced(&pods).await, ["node-3"], "{outcome}");
}
