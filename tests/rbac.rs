//! `kubeadm/remediate-rbac.yaml` grants exactly what preflight asks for: neither less nor more.

use std::collections::BTreeSet;

use kpx_prep::cluster::permissions::{NEEDED, NEEDED_BY_HELPER};
use serde_json::Value;

#[test]
fn the_manifest_grants_exactly_what_preflight_asks_for() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/kubeadm/remediate-rbac.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let mut granted = BTreeSet::new();
    for document in documents {
        let object: Value = serde::Deserialize::deserialize(document).unwrap();
        let namespaced = object["kind"] == "Role";
        for rule in object["rules"].as_array().into_iter().flatten() {
            let words = |key: &str| -> Vec<String> {
                rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
            };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    for verb in words("verbs") {
                        assert!(verb != "*" && resource != "*", "a wildcard");
                        granted.insert((group.clone(), resource.clone(), verb, namespaced));
                    }
                }
            }
        }
    }
    let mut needed = BTreeSet::new();
    for (group, resource, subresource, verbs, namespaced) in NEEDED.into_iter().chain(NEEDED_BY_HELPER) {
        let resource = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        needed.extend(verbs.iter().map(|verb| (group.to_owned(), resource.clone(), (*verb).to_owned(), namespaced)));
    }
    assert_eq!(granted, needed);
}
