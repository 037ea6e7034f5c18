//! kube-proxy's configuration as people write it, each a folder: `before`, and either `after` or `expected-error`, the id of the check
//! that refuses. `image` is kube-proxy's, where the configuration belongs to another version.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::kpx_prep::Outcome;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/config");
    let entries = fs::read_dir(root).expect("the cases").map(|entry| entry.expect("a case").path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    let case = |folder: PathBuf| {
        let name = format!("configs::{}", folder.file_name().expect("a name").to_string_lossy());
        trial(&name, async move |world: &World| run(world, &folder).await)
    };
    let settings = trial("configs::settings_move_with_the_mode", settings);
    folders.into_iter().map(case).chain([settings]).collect()
}

fn read(folder: &Path, name: &str) -> Option<String> {
    let bytes = fs::read(folder.join(name)).ok()?;
    Some(String::from_utf8(bytes).expect("UTF-8"))
}

async fn run(world: &World, folder: &Path) {
    let config = read(folder, "before").expect("before");
    let mut scenario = world.nodes(1).config(&config);
    if let Some(image) = read(folder, "image") {
        scenario = scenario.daemon_set(|set| {
            set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image.trim());
        });
    }
    let cluster = scenario.start().await;
    let before = cluster.before().await;
    assert_eq!(before.config(), config, "the API server keeps every byte");
    let outcome = cluster.remediate(&["--settle-time", "100ms"]).await;
    if let Some(id) = read(folder, "expected-error") {
        outcome.exits(3).says("/outcome", "blocked").finds("error", id.trim());
        before.untouched(&cluster).await;
        return;
    }
    let after = read(folder, "after").expect("after or expected-error");
    outcome.exits(0);
    assert_eq!(cluster.config().await, after);
    assert_eq!(cluster.modes(), "node-1 ipvs\n");
    before.backed_up(&cluster).await;
    cluster.status(&[]).await.exits(0);
    cluster.remediate(&["--rollback", "--settle-time", "100ms"]).await.exits(0);
    assert_eq!(cluster.config().await, config, "there and back");
    assert_eq!(cluster.modes(), "node-1 iptables\n");
}

/// From iptables to nftables with the settings that keep the behaviour: the plan says what each becomes, they are written
/// where nftables mode reads them, and all is taken back.
async fn settings(world: &World) {
    let image = json!("registry.k8s.io/kube-proxy:v1.36.3");
    let config = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\niptables:\n  masqueradeAll: true # CNI\n  syncPeriod: 1m\n";
    let scenario = world.nodes(1).config(config);
    let scenario = scenario.daemon_set(|set| set["spec"]["template"]["spec"]["containers"][0]["image"] = image);
    let cluster = scenario.start().await;
    let row = |outcome: &Outcome, setting: &str| {
        let rows = outcome.json["plan"]["translation"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["setting"] == setting);
        row.unwrap_or_else(|| panic!("no {setting}\n{outcome}")).clone()
    };
    let planned = cluster.remediate(&["--mode", "nftables", "--dry-run"]).await.exits(0);
    assert_eq!(
        row(&planned, "iptables.masqueradeAll")["to"],
        json!({"setting": "nftables.masqueradeAll", "value": true})
    );
    assert_eq!(row(&planned, "iptables.syncPeriod")["becomes"], "must-be-set");
    assert_eq!(row(&planned, "nodePortAddresses")["becomes"], "must-be-set");
    let keeping = ["--masquerade-all", "--sync-period", "1m", "--node-port-addresses", "0.0.0.0/0,::/0"];
    let outcome =
        cluster.remediate(&[&["--mode", "nftables", "--settle-time", "100ms"], &keeping[..]].concat()).await.exits(0);
    for setting in ["iptables.masqueradeAll", "iptables.syncPeriod", "nodePortAddresses"] {
        assert_eq!(row(&outcome, setting)["becomes"], "set", "{setting}\n{outcome}");
    }
    let written = cluster.config().await;
    assert!(
        written.starts_with(&config.replace("mode: iptables", "mode: nftables")),
        "every other byte stays: {written}"
    );
    for line in ["nftables:\n  syncPeriod: 1m\n  masqueradeAll: true\n", "nodePortAddresses:\n"] {
        assert!(written.contains(line), "{written}");
    }
    assert_eq!(cluster.modes(), "node-1 nftables\n");
    cluster.remediate(&["--rollback", "--settle-time", "100ms"]).await.exits(0).says("/plan/translation", json!([]));
    assert_eq!(cluster.config().await, config);
}
