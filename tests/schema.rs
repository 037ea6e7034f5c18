//! The JSON schemas of all reports, in `docs/schema/`: generated here, with the words of the code's own enums (`BLESS=1` writes
//! them anew). Every report that the project holds or prints validates, without a field that its schema lacks; and no schema
//! has a field that no report shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use golden::Goldens;
use serde_json::{Value, json};

#[path = "schema/cluster.rs"]
mod cluster;
#[path = "support/cluster_facts.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod cluster_facts;
#[path = "schema/examples.rs"]
mod examples;
#[path = "support/golden.rs"]
mod golden;
#[path = "schema/judge.rs"]
mod judge;
#[path = "schema/node.rs"]
mod node;
#[path = "schema/parts.rs"]
mod parts;
#[path = "schema/reports.rs"]
mod reports;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every kind's schema.
fn schemas() -> BTreeMap<String, Value> {
    let all = [
        cluster::cluster_status(),
        cluster::remediation(),
        cluster::progress(),
        cluster::support_bundle(),
        node::node_report(),
        node::node_survey(),
        node::leftovers(),
        node::clean(),
        node::bridge(),
        node::checks(),
    ];
    all.map(|schema| (schema["title"].as_str().unwrap().to_owned(), schema)).into()
}

#[test]
fn the_files_are_what_is_generated() {
    let folder = root().join("docs/schema");
    let schemas = schemas();
    let mut goldens = Goldens::default();
    for (kind, schema) in &schemas {
        goldens.compare(&folder.join(format!("{kind}.json")), serde_json::to_string_pretty(schema).unwrap() + "\n");
    }
    goldens.end(schemas.len());
    let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> = there.filter(|name| name != "README.md").collect();
    assert_eq!(there, schemas.keys().map(|kind| format!("{kind}.json")).collect(), "files that nothing generates");
}

/// What is wrong with a report.
fn faults(schemas: &BTreeMap<String, Value>, place: &str, report: &Value) -> Vec<String> {
    let Some(schema) = schemas.get(&kind(report)) else { return vec![format!("{place}: no schema")] };
    judge::faults(schema, report).into_iter().map(|fault| format!("{place}: {fault}")).collect()
}

#[test]
fn every_report_validates() {
    let schemas = schemas();
    let held = reports::held();
    println!("{} reports in files", held.len());
    assert!(held.len() >= 12, "only {} reports were found", held.len());
    let all: Vec<_> = held.into_iter().chain(reports::printed()).chain(examples::all()).collect();
    if let Some(file) = std::env::var_os("SCHEMA_REPORTS") {
        let lines: String = all.iter().map(|(place, report)| format!("{}\n", json!([place, report]))).collect();
        fs::write(file, lines).unwrap();
    }
    let found: Vec<_> = all.iter().flat_map(|(place, report)| faults(&schemas, place, report)).collect();
    assert!(found.is_empty(), "{} faults:\n{}", found.len(), found.join("\n"));

    // A judge that accepts everything proves nothing.
    for (place, report) in &all {
        for name in schemas[&kind(report)]["required"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let (mut without, mut other) = (report.clone(), report.clone());
            without.as_object_mut().unwrap().remove(name);
            other[name] = json!({"another": 1.5});
            for wrong in [without, other].iter().filter(|_| name != "kind") {
                assert!(!faults(&schemas, place, wrong).is_empty(), "{place}: {name}");
            }
        }
        let mut wrong = report.clone();
        wrong["another"] = json!(1);
        assert!(!faults(&schemas, place, &wrong).is_empty(), "{place} with another field");
    }

    let mut seen = BTreeSet::new();
    for (_, report) in &all {
        let kind = kind(report);
        look(&schemas[&kind], &schemas[&kind], report, &kind, &mut seen);
    }
    let mut every = BTreeSet::new();
    for (kind, schema) in &schemas {
        fields(schema, kind, &mut every);
    }
    let never: Vec<_> = every.difference(&seen).collect();
    assert!(never.is_empty(), "no report shows these fields: {never:#?}");
    println!("{} reports, {} fields", all.len(), every.len());
}

fn kind(report: &Value) -> String {
    report["kind"].as_str().unwrap().to_owned()
}

/// Notes each field of a report, by the place of its definition.
fn look(schema: &Value, within: &Value, report: &Value, place: &str, seen: &mut BTreeSet<String>) {
    if let Some(name) = within["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/")) {
        let place = format!("{}/$defs/{name}", place.split('/').next().unwrap());
        return look(schema, &schema["$defs"][name], report, &place, seen);
    }
    for choice in within["anyOf"].as_array().into_iter().flatten() {
        look(schema, choice, report, place, seen);
    }
    for item in report.as_array().into_iter().flatten() {
        look(schema, &within["items"], item, place, seen);
    }
    for (name, of) in within["properties"].as_object().into_iter().flatten() {
        if let Some(value) = report.get(name) {
            let place = format!("{place}/{name}");
            seen.insert(place.clone());
            look(schema, of, value, &place, seen);
        }
    }
}

/// Every field of a schema, by the same places.
fn fields(within: &Value, place: &str, every: &mut BTreeSet<String>) {
    for choice in within["anyOf"].as_array().into_iter().flatten() {
        fields(choice, place, every);
    }
    if within["items"].is_object() {
        fields(&within["items"], place, every);
    }
    for (name, of) in within["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        fields(of, &place, every);
        every.insert(place);
    }
    for (name, of) in within["$defs"].as_object().into_iter().flatten() {
        fields(of, &format!("{place}/$defs/{name}"), every);
    }
}
