//! ConfigMaps as people write them, each a folder: `before`, and either `after` or `expected-error`, the id of the check
//! that refuses. `image` is kube-proxy's, where the configuration belongs to another version.

use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use serde_json::json;

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
    folders.into_iter().map(case).collect()
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
