//! The manifests in `kubeadm/` grant exactly what preflight asks for: neither less nor more, and by name where a name allows it.

use std::collections::BTreeSet;

use kpx_prep::cluster::remediate::permissions::{
    Names, OF_CALICO, OF_HELPER, OF_PARKING, OF_REMEDIATE, OF_STATUS, Permission, Scope,
};
use serde_json::Value;

/// group, resource, verb, whether in kube-proxy's namespace only, name.
type Granted = (String, String, String, bool, Option<String>);

fn words(rule: &Value, key: &str) -> Vec<String> {
    rule[key].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn granted(manifest: &str) -> BTreeSet<Granted> {
    let path = format!("{}/kubeadm/{manifest}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut granted = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object: Value = serde::Deserialize::deserialize(document).unwrap();
        let namespaced = object["kind"] == "Role";
        for rule in object["rules"].as_array().into_iter().flatten() {
            let names = words(rule, "resourceNames");
            let names: Vec<_> = if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    for verb in words(rule, "verbs") {
                        assert!(verb != "*" && resource != "*", "a wildcard");
                        granted.extend(
                            names
                                .iter()
                                .map(|name| (group.clone(), resource.clone(), verb.clone(), namespaced, name.clone())),
                        );
                    }
                }
            }
        }
    }
    granted
}

fn needed(permissions: impl IntoIterator<Item = Permission>) -> BTreeSet<Granted> {
    let names = Names { namespace: "kube-system".to_owned(), daemon_sets: vec!["kube-proxy".to_owned()] };
    let mut needed = BTreeSet::new();
    for permission in permissions {
        let slash =
            if permission.subresource.is_empty() { String::new() } else { format!("/{}", permission.subresource) };
        let resource = format!("{}{slash}", permission.resource);
        let name = permission.object.names(&names)[0].map(str::to_owned);
        needed.extend(permission.verbs.iter().map(|verb| {
            let namespaced = permission.scope == Scope::Namespace;
            (permission.group.to_owned(), resource.clone(), (*verb).to_owned(), namespaced, name.clone())
        }));
    }
    needed
}

#[test]
fn the_manifests_grant_exactly_what_preflight_asks_for() {
    let all = OF_STATUS.into_iter().chain(OF_REMEDIATE).chain(OF_PARKING).chain(OF_HELPER).chain(OF_CALICO);
    assert_eq!(granted("remediate-rbac.yaml"), needed(all));
    assert_eq!(granted("status-rbac.yaml"), needed(OF_STATUS));
}

#[test]
fn status_writes_nothing() {
    for (_, resource, verb, ..) in granted("status-rbac.yaml") {
        // A connection to a pod is made by `create` from Kubernetes 1.35 on.
        assert!(matches!(verb.as_str(), "get" | "list") || resource == "pods/portforward", "{verb} {resource}");
    }
}
