//! Permissions: what a run needs is what it asks about first, and without any of it nothing is touched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::Fault;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::processes::output;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rights::each_verb_missing_in_turn", each_in_turn),
        trial("rights::the_manifest_is_enough", manifest_is_enough),
        trial("rights::the_manifest_is_no_more_than_what_is_used", manifest_is_least),
        trial("rights::the_manifest_of_status_is_enough_and_no_more", status_manifest),
        trial("rights::a_namespace_that_does_not_admit_the_helper", pod_security),
        trial("rights::ten_backups_are_kept", ten_backups).with_ignored_flag(true),
    ]
}

type Right = (String, String);

fn group(resource: &str) -> &'static str {
    match resource.split('/').next().unwrap_or_default() {
        "daemonsets" | "controllerrevisions" | "deployments" => "apps",
        "leases" => "coordination.k8s.io",
        "endpointslices" => "discovery.k8s.io",
        _ => "",
    }
}

/// A user of that name with these rights.
async fn user(client: &Client, name: &str, rights: &BTreeSet<Right>) {
    let granted = |(verb, resource): &Right| {
        // Either API serves events.
        let groups = if resource == "events" { vec!["", "events.k8s.io"] } else { vec![group(resource)] };
        json!({"apiGroups": groups, "resources": [resource], "verbs": [verb]})
    };
    let metadata = json!({"name": name, "labels": {"kpx-prep-test": "1"}});
    let rules: Vec<_> = rights.iter().map(granted).collect();
    let cluster_role: ClusterRole =
        serde_json::from_value(json!({"metadata": metadata, "rules": rules})).expect("a role");
    Api::all(client.clone()).create(&PostParams::default(), &cluster_role).await.expect("a role");
    let binding = json!({
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    });
    let binding: ClusterRoleBinding = serde_json::from_value(binding).expect("a binding");
    Api::all(client.clone()).create(&PostParams::default(), &binding).await.expect("a binding");
}

async fn each_in_turn(world: &World) {
    let cluster = world.nodes(2).start().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).whole(&[]).await.exits(0);
    let reviewed: BTreeSet<Right> = proxy.seen().into_iter().filter_map(|asked| asked.reviews).collect();
    let seen = proxy.seen().into_iter().filter(|asked| !asked.resource.starts_with('/') && asked.reviews.is_none());
    let used: BTreeSet<Right> = seen.map(|asked| (asked.verb.to_owned(), asked.resource)).collect();
    let unasked: Vec<_> = used.difference(&reviewed).collect();
    assert!(unasked.is_empty(), "used without having been asked about first: {unasked:?}");

    let cluster = world.nodes(2).start().await;
    user(&cluster.client, "all-of-it", &reviewed).await;
    for (number, right) in reviewed.iter().enumerate() {
        let rest = reviewed.iter().filter(|other| *other != right).cloned().collect();
        user(&cluster.client, &format!("without-{number}"), &rest).await;
    }
    // The authorizer hears of new roles a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cluster.before().await;
    let mut optional = Vec::new();
    for (number, (verb, resource)) in reviewed.iter().enumerate() {
        let outcome = cluster.whole(&["--dry-run", "--as", &format!("without-{number}")]).await;
        if outcome.exit == Some(0) {
            assert!(outcome.has_finding("warning", "permissions"), "without {verb} {resource}:\n{outcome}");
            optional.push(format!("{verb} {resource}"));
            continue;
        }
        assert!(matches!(outcome.exit, Some(1 | 3)), "without {verb} {resource}:\n{outcome}");
        let told = format!("{}{}", outcome.stdout, outcome.stderr).to_lowercase();
        let plain = resource.split('/').next().unwrap_or_default().trim_end_matches('s');
        assert!(told.contains(plain), "without {verb} {resource}:\n{outcome}");
    }
    // A right that a dry run does not use.
    let events = reviewed.iter().position(|(_, resource)| resource == "events").expect("a right");
    let name = format!("without-{events}");
    let ignored = ["--dry-run", "--as", &name, "--ignore-preflight-errors", "permissions,"];
    let ignored = cluster.whole(&ignored).await.exits(0);
    assert!(ignored.has_finding("warning", "permissions"), "{ignored}");
    before.untouched(&cluster).await;
    cluster.whole(&["--as", "all-of-it"]).await.exits(0);
    before.switched(&cluster).await;
    println!("{} rights, of which optional: {optional:?}", reviewed.len());
}

/// The namespace's Pod Security level, which kpx-prep reads beforehand. API servers enforce it since 1.23.
async fn pod_security(world: &World) {
    const LABEL: &str = "pod-security.kubernetes.io/enforce";
    let cluster = world.nodes(2).start().await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let label = |level: Option<&str>| json!({"metadata": {"labels": {LABEL: level}}});
    let patch = async |level| {
        let params = PatchParams::default();
        namespaces.patch("kube-system", &params, &Patch::Merge(label(level))).await.expect("a label");
    };
    let before = cluster.before().await;
    patch(Some("baseline")).await;
    let refused = cluster.whole(&[]).await.exits(3);
    assert!(refused.has_finding("error", "pod-security"), "{refused}");
    before.untouched(&cluster).await;
    let ignored = cluster.whole(&["--ignore-preflight-errors", "Pod-Security"]).await;
    // The label is of a world that others use after this.
    patch(None).await;
    if world.plane.enforces_pod_security() {
        ignored.exits(3).finds("warning", "pod-security").finds("error", "node-helper");
        before.untouched(&cluster).await;
    } else {
        ignored.exits(0).finds("warning", "pod-security");
    }
}

/// The account of the manifest, impersonated.
pub(crate) const ACCOUNT: [&str; 2] = ["--as", "system:serviceaccount:kube-system:kpx-prep"];

pub(crate) const OF_REMEDIATE: &str = "remediate-rbac.yaml";
const OF_STATUS: &str = "status-rbac.yaml";

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubeadm").join(name)
}

pub(crate) fn kubectl_with_manifest(cluster: &Cluster, verb: &[&str], name: &str) {
    super::kubectl::install();
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(&cluster.kubeconfig).args(verb).arg("-f").arg(manifest(name));
    output(&mut kubectl);
}

async fn manifest_is_enough(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::RefusesPortForward).start().await;
    kubectl_with_manifest(&cluster, &["apply"], OF_REMEDIATE);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = cluster.before().await;
    cluster.status(&ACCOUNT).await.exits(0);
    cluster.whole(&[&ACCOUNT[..], &["--dry-run"]].concat()).await.exits(0);
    cluster.whole(&ACCOUNT).await.exits(0);
    before.switched(&cluster).await;
    assert_eq!(cluster.events().await.last().map(String::as_str), Some("RemediationDone"));
    cluster.whole(&[&ACCOUNT[..], &["--rollback"]].concat()).await.exits(0);
    before.rolled_back(&cluster).await;
    cluster.nodes.set("node-2", &[Misbehaviour::CrashesInIpvs]).await;
    cluster.whole(&[&ACCOUNT[..], &["--canary", "node-2"]].concat()).await.exits(5);
    before.rolled_back(&cluster).await;
    kubectl_with_manifest(&cluster, &["delete", "--wait=false"], OF_REMEDIATE);
}

fn granted(name: &str) -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(&fs::read_to_string(manifest(name)).expect("the manifest")) {
        let object = Value::deserialize(document).expect("YAML");
        for rule in object["rules"].as_array().into_iter().flatten() {
            let texts = |field: &str| rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
            for verb in texts("verbs") {
                granted.extend(texts("resources").map(|resource| (verb.to_owned(), resource.to_owned())));
            }
        }
    }
    granted
}

async fn manifest_is_least(world: &World) {
    let mut granted = granted(OF_REMEDIATE);
    // Nice to have: not asked about.
    for of_calico in ["felixconfigurations", "installations"] {
        assert!(granted.remove(&("get".to_owned(), of_calico.to_owned())));
    }
    let cluster = world.nodes(1).start().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).whole(&["--dry-run"]).await.exits(0);
    let reviewed: BTreeSet<Right> = proxy.seen().into_iter().filter_map(|asked| asked.reviews).collect();
    assert_eq!(granted, reviewed);
}

async fn status_manifest(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::RefusesPortForward).start().await;
    kubectl_with_manifest(&cluster, &["apply"], OF_STATUS);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let account = ["--as", "system:serviceaccount:kube-system:kpx-prep-status"];
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    let outcome = proxy.cluster(&cluster).status(&account).await.exits(0);
    assert_eq!(outcome.node("node-1")["proof"], "proxyMode", "{outcome}");
    assert_eq!(outcome.node("node-2")["proof"], "log", "{outcome}");
    let seen = proxy.seen().into_iter().filter(|asked| !asked.resource.starts_with('/'));
    let mut used: BTreeSet<Right> = seen.map(|asked| (asked.verb.to_owned(), asked.resource)).collect();
    // Older and newer API servers ask for one or the other.
    used.extend(["get", "create"].map(|verb| (verb.to_owned(), "pods/portforward".to_owned())));
    assert_eq!(used, granted(OF_STATUS));
    cluster.remediate(&account).await.exits(3).finds("error", "permissions");
    kubectl_with_manifest(&cluster, &["delete", "--wait=false"], OF_STATUS);
}

/// Older ones are deleted, and never the one that was just made.
async fn ten_backups(world: &World) {
    let cluster = world.nodes(1).start().await;
    let mut newest = String::new();
    for scheduler in ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "rr", "wrr"] {
        let outcome = cluster.remediate(&["--scheduler", scheduler, "--settle-time", "100ms"]).await.exits(0);
        newest = outcome.json["backup"].as_str().expect("a backup").to_owned();
        // The API's times know no less than seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let backups = cluster.backups().await;
    assert!(backups.len() == 10 && backups.contains_key(&newest), "{:?}", backups.keys());
}
