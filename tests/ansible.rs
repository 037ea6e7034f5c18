//! The Ansible role and the goss file: what they run is what the command line accepts, and their variables are the documented
//! ones. What the role does to a Debian: `ansible/run`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Parser as _;
use kpx_prep::cli::Cli;
use serde_json::Value;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn accepted(command: &[&str]) {
    if let Err(error) = Cli::try_parse_from(command) {
        panic!("{command:?}: {error}");
    }
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The words in single quotes of a Jinja expression.
fn quoted(expression: &str) -> Vec<&str> {
    expression.split('\'').skip(1).step_by(2).collect()
}

#[test]
fn the_options_of_the_role_exist() {
    let vars = yaml("roles/kpx_prep/vars/main.yml");
    let words = quoted(vars["kpx_prep_install"].as_str().unwrap());
    let options: Vec<_> = words.iter().filter(|word| word.starts_with("--")).copied().collect();
    assert_eq!(
        options,
        ["--output", "--mode", "--kubernetes-version", "--scheduler", "--modules", "--boot-mechanism", "--force"]
    );
    accepted(&[
        "kpx-prep",
        "node",
        "install",
        "--output",
        "json",
        "--mode",
        "ipvs",
        "--kubernetes-version",
        "1.35.1",
        "--scheduler",
        "rr",
        "--modules",
        "all",
        "--boot-mechanism",
        "openrc",
        "--force",
        "--root",
        "/",
        "--dry-run",
    ]);
    assert_eq!(quoted(vars["kpx_prep_place"].as_str().unwrap()), ["--root"]);
    accepted(&["kpx-prep", "node", "remove", "--output", "json", "--root", "/"]);
}

#[test]
fn every_variable_is_declared_and_documented() {
    let defaults = keys(&yaml("roles/kpx_prep/defaults/main.yml"));
    let declared = yaml("roles/kpx_prep/meta/argument_specs.yml");
    assert_eq!(keys(&declared["argument_specs"]["main"]["options"]), defaults);
    let readme = text("README.md");
    let rows: Vec<_> = readme.lines().filter(|line| line.starts_with("| `kpx_prep_")).collect();
    for variable in &defaults {
        let named = format!("`{variable}`");
        assert!(rows.iter().any(|row| row.contains(&named)), "README.md has no row for {variable}");
    }
    assert!(defaults.len() > 10);
}

#[test]
fn goss_runs_a_command_that_exists() {
    // As goss renders it without a variable.
    let template = text("goss/kpx-prep.yaml");
    let (before, rest) = template.split_once("{{- $kpx_prep := getEnv \"KPX_PREP\" \"").expect("a default");
    let (default, rest) = rest.split_once("\" }}").expect("its end");
    let rendered = format!("{before}{}", rest.replace("{{ $kpx_prep }}", default));
    let goss: Value = serde_yaml::from_str(&rendered).unwrap_or_else(|error| panic!("{error}:\n{rendered}"));
    let commands = goss["command"].as_object().unwrap();
    for command in commands.values() {
        let words: Vec<_> = command["exec"].as_str().unwrap().split(' ').collect();
        assert!(goss["file"].get(words[0]).is_some(), "{}: not looked for", words[0]);
        accepted(&words);
        assert_eq!(command["exit-status"], 0);
    }
    assert_eq!(commands.len(), 1);
}
