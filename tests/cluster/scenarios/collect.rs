//! `kpx-prep collect`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::{Event, Namespace, Service};
use kube::api::{Api, DeleteParams, PostParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::rights::kubectl_with_manifest;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::kpx_prep::{Outcome, start};
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("collect::all_but_what_a_dead_node_has", whole),
        trial("collect::names_and_addresses_are_replaced", anonymized),
        trial("collect::with_the_rights_of_status_only", few_rights),
        trial("collect::hosts_by_the_helper", hosts),
        trial("collect::without_a_kube_proxy", no_kube_proxy),
    ]
}

async fn collect(cluster: &Cluster, arguments: &[&str]) -> Outcome {
    start(&cluster.kubeconfig, "collect", arguments).end().await
}

/// The files of a bundle; all are in one folder.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let bytes = std::fs::read(path).expect("a bundle");
    let mut tar = tar::Archive::new(GzDecoder::new(&bytes[..]));
    let mut files = BTreeMap::new();
    for entry in tar.entries().expect("an archive") {
        let mut entry = entry.expect("a file");
        let path = entry.path().expect("UTF-8").display().to_string();
        let (folder, name) = path.split_once('/').expect("in a folder");
        assert!(folder.starts_with("kpx-prep-20"), "{path}");
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        assert!(files.insert(name.to_owned(), text).is_none(), "{path} twice");
    }
    files
}

fn parsed(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn event(cluster: &Cluster, message: &str) {
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "kube-proxy.", "namespace": "kube-system"},
        "involvedObject": {"kind": "DaemonSet", "name": "kube-proxy", "namespace": "kube-system"},
        "type": "Warning", "reason": "Tried", "message": message, "source": {"component": "test"},
        "lastTimestamp": "2026-01-01T00:00:00Z",
    });
    let event: Event = serde_json::from_value(event).expect("an event");
    let api = Api::<Event>::namespaced(cluster.client.clone(), "kube-system");
    api.create(&PostParams::default(), &event).await.expect("created");
}

async fn whole(world: &World) {
    let cluster = world.nodes(3).misbehave("node-2", Misbehaviour::Down).start().await;
    event(&cluster, "refused: Authorization: Bearer c2VjcmV0LXRva2Vu").await;
    let before = cluster.before().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.tar.gz");
    let path = file.to_str().expect("UTF-8");

    collect(&cluster, &["--output-file", path]).await.exits(2).mentions("not a terminal");
    let listed = collect(&cluster, &["--output-file", path, "--dry-run", "--mode", "ipvs"]).await.exits(0);
    assert!(listed.stdout.contains("plan.json") && !file.exists(), "{listed}");
    let outcome = collect(&cluster, &["--output-file", path, "--yes", "--mode", "ipvs"]).await.exits(0);
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let files = unpacked(&file);
    for name in files.keys() {
        assert!(outcome.stdout.contains(name), "{name} was not listed:\n{outcome}");
    }
    for name in ["index.json", "status.json", "status.md", "plan.json", "plan.md", "config.yaml", "events.json"] {
        assert!(files.contains_key(name), "no {name}:\n{outcome}");
    }
    assert_eq!(files.keys().filter(|name| name.starts_with("logs/")).count(), 2, "{outcome}");
    assert!(files["logs/node-1.log"].contains("Proxier"), "{}", files["logs/node-1.log"]);
    outcome.mentions("node-2");

    let index = parsed(&files, "index.json");
    assert_eq!((&index["kind"], &index["anonymized"]), (&json!("SupportBundle"), &json!(false)));
    assert_eq!(index["nodes"].as_array().map(Vec::len), Some(3), "{index}");
    let named: Vec<_> = index["files"].as_array().expect("a list").iter().map(|file| &file["path"]).collect();
    assert_eq!(named.len() + 1, files.len(), "{index}");
    let missing = index["missing"].to_string();
    assert!(missing.contains("node-2"), "{missing}");
    assert_eq!(parsed(&files, "status.json")["kind"], "ClusterStatus");
    assert_eq!(parsed(&files, "plan.json")["plan"]["to"], "ipvs");
    let events = &files["events.json"];
    assert!(events.contains("Authorization: Bearer REDACTED") && !events.contains("c2VjcmV0"), "{events}");

    // An earlier bundle stays.
    let again = collect(&cluster, &["--output-file", path, "--yes"]).await.exits(2);
    again.mentions("exists already");
    assert_eq!(unpacked(&file), files);
    // As does the cluster.
    before.untouched(&cluster).await;
}

async fn anonymized(world: &World) {
    let cluster = world.nodes(3).start().await;
    let namespaces = Api::<Namespace>::all(cluster.client.clone());
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "acme-billing"}});
    let namespace = serde_json::from_value(namespace).expect("a namespace");
    namespaces.create(&PostParams::default(), &namespace).await.expect("created");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "invoices", "namespace": "acme-billing"},
        "spec": {"type": "NodePort", "externalTrafficPolicy": "Local", "externalIPs": ["203.0.113.77"],
            "selector": {"app": "x"}, "ports": [{"port": 80}]},
    });
    let service: Service = serde_json::from_value(service).expect("a Service");
    let services = Api::<Service>::namespaced(cluster.client.clone(), "acme-billing");
    let service = services.create(&PostParams::default(), &service).await.expect("created");
    let address = service.spec.and_then(|spec| spec.cluster_ip).expect("an address");
    event(&cluster, &format!("acme-billing/invoices:80 at {address}:80 and 203.0.113.77 has no endpoint")).await;

    cluster.write_lock("build-agent-7/4711/1", "2026-01-01T00:00:00.000000Z").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let run = async |name: &str, more: &[&str]| {
        let file = path(name);
        let arguments = [&["--yes", "--mode", "ipvs", "--output-file", file.to_str().expect("UTF-8")], more].concat();
        collect(&cluster, &arguments).await.exits(0);
        unpacked(&file)
    };
    let all = |files: &BTreeMap<String, String>| files.values().cloned().collect::<String>();
    let (open, closed) = (run("open.tar.gz", &[]).await, run("closed.tar.gz", &["--anonymize"]).await);
    let parameters = DeleteParams::default();
    services.delete("invoices", &parameters).await.expect("deleted");
    namespaces.delete("acme-billing", &parameters).await.expect("deleted");
    let (open, closed_text) = (all(&open), all(&closed));
    for name in ["acme-billing", "invoices", "203.0.113.77", "build-agent-7", address.as_str()] {
        assert!(open.contains(name), "the test shows nothing: {name}");
        assert!(!closed_text.contains(name), "{name} is still there");
    }
    assert!(closed_text.contains("kube-system"));
    assert_eq!(parsed(&closed, "index.json")["anonymized"], true);
    // The same object has the same name everywhere.
    let events = parsed(&closed, "events.json").to_string();
    let message = events.split("namespace-").nth(1).expect("replaced");
    assert!(message.contains("/service-") && message.contains("198.18."), "{events}");
}

async fn few_rights(world: &World) {
    const ACCOUNT: [&str; 2] = ["--as", "system:serviceaccount:kube-system:kpx-prep-status"];
    let cluster = world.nodes(2).start().await;
    kubectl_with_manifest(&cluster, &["apply"], "status-rbac.yaml");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.tar.gz");
    let arguments = [&ACCOUNT[..], &["--yes", "--output-file", file.to_str().expect("UTF-8")]].concat();
    let refused = collect(&cluster, &[&arguments[..], &["--anonymize"]].concat()).await.exits(1);
    refused.mentions("Nothing was written").mentions("Services");
    assert!(!file.exists());
    let outcome = collect(&cluster, &arguments).await.exits(0);
    outcome.mentions("not collected: events").mentions("not collected: plan");
    let files = unpacked(&file);
    assert!(files.contains_key("status.json") && files.contains_key("logs/node-2.log"));
    assert_eq!(parsed(&files, "index.json")["missing"].as_array().map(Vec::len), Some(2));
    kubectl_with_manifest(&cluster, &["delete", "--wait=false"], "status-rbac.yaml");
}

async fn hosts(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.tar.gz");
    let path = file.to_str().expect("UTF-8");
    collect(&cluster, &["--nodes", "--dry-run", "--output-file", path]).await.exits(2).mentions("not a terminal");
    collect(&cluster, &["--nodes", "--yes", "--logs", "1", "--output-file", path]).await.exits(0);
    let files = unpacked(&file);
    assert_eq!(parsed(&files, "hosts/node-1.json")["kind"], "NodeSurvey");
    assert!(files.contains_key("hosts/node-2.json"));
    assert_eq!(files.keys().filter(|name| name.starts_with("logs/")).count(), 1);
    assert!(parsed(&files, "index.json")["missing"].to_string().contains("logs of 1 of 2 nodes"));
    // The helper is gone.
    before.untouched(&cluster).await;
}

async fn no_kube_proxy(world: &World) {
    world.reset().await;
    let cluster = world.nodes(0).start().await;
    world.reset().await;
    world.nodes.add("node-1", &[], &[]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("case.tar.gz");
    collect(&cluster, &["--yes", "--output-file", file.to_str().expect("UTF-8")]).await.exits(0);
    let files = unpacked(&file);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["index.json", "status.json", "status.md"]);
}
