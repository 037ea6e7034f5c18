//! Permissions: what a run needs is what it asks about first, and without any of it nothing is touched.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Client;
use kube::api::{Api, PostParams};
use libtest_mimic::Trial;
use serde_json::json;

use crate::cluster::fault_proxy::Fault;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("rights::each_verb_missing_in_turn", each_in_turn)]
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
    let rule = |(verb, resource): &Right| {
        // Either API serves events.
        let groups = if resource == "events" { vec!["", "events.k8s.io"] } else { vec![group(resource)] };
        json!({"apiGroups": groups, "resources": [resource], "verbs": [verb]})
    };
    let metadata = json!({"name": name, "labels": {"kpx-prep-test": "1"}});
    let rules: Vec<_> = rights.iter().map(rule).collect();
    let role: ClusterRole = serde_json::from_value(json!({"metadata": metadata, "rules": rules})).expect("a role");
    Api::all(client.clone()).create(&PostParams::default(), &role).await.expect("a role");
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
    proxy.cluster(&cluster).remediate(&[]).await.exits(0);
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
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let before = cluster.before().await;
    let mut optional = Vec::new();
    for (number, (verb, resource)) in reviewed.iter().enumerate() {
        let outcome = cluster.remediate(&["--dry-run", "--as", &format!("without-{number}")]).await;
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
    before.untouched(&cluster).await;
    cluster.remediate(&["--as", "all-of-it"]).await.exits(0);
    before.switched(&cluster).await;
    println!("{} rights, of which optional: {optional:?}", reviewed.len());
}
