//! The table of checks against the rest: docs/checks.md is made of it, every id that the program uses or that a golden shows
//! is in it, and every check in it is shown by a test.

#[path = "support/golden.rs"]
mod golden;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use golden::Goldens;
use kpx_prep::checks::{check, checks};
use kpx_prep::report::Level;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a folder.
fn texts(folder: &str) -> Vec<String> {
    let files = walkdir::WalkDir::new(project().join(folder)).into_iter().map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .collect()
}

fn is_id(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(letters)
}

/// The ids that a text shows as findings: `warning [ID] …`, or `"id": "ID"` beside a level.
fn shown(text: &str) -> BTreeSet<&str> {
    let mut ids = BTreeSet::new();
    for line in text.lines() {
        for level in ["error [", "warning [", "info ["] {
            let rest = line.split(level).nth(1).and_then(|rest| rest.split_once("] "));
            ids.extend(rest.map(|(id, _)| id).filter(|id| is_id(id)));
        }
    }
    for (at, _) in text.match_indices("\"level\": \"") {
        let rest = text[at..].split("\"id\": \"").nth(1).and_then(|rest| rest.split_once('"'));
        ids.extend(rest.map(|(id, _)| id).filter(|id| is_id(id)));
    }
    ids
}

/// The ids that the sources give to findings: the first text in quotes after the level, or the first argument of a warning.
fn given(source: &str) -> BTreeSet<&str> {
    let mut ids = BTreeSet::new();
    for call in ["finding(", "findings.warn(", "findings.note(", ".unseen(", "warn(", "tell("] {
        for (at, _) in source.match_indices(call) {
            let rest = source[at + call.len()..].trim_start();
            let rest =
                rest.strip_prefix("Level::").map_or(rest, |rest| rest.split_once(',').map_or("", |(_, rest)| rest));
            let text = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
            ids.extend(text.map(|(id, _)| id).filter(|id| is_id(id)));
        }
    }
    ids
}

#[test]
fn docs_are_made_of_the_table() {
    let output = Command::cargo_bin("kpx-prep").unwrap().args(["checks", "--markdown"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut goldens = Goldens::default();
    goldens.compare(&project().join("docs/checks.md"), &output.stdout);
    goldens.end(1);
}

#[test]
fn every_id_in_use_is_in_the_table() {
    let (mut number, mut unknown) = (0, BTreeSet::new());
    let sources = texts("src");
    let data = texts("tests");
    for id in sources.iter().flat_map(|text| given(text)).chain(data.iter().flat_map(|text| shown(text))) {
        number += 1;
        if check(id).is_none() {
            unknown.insert(id);
        }
    }
    assert!(number > 300, "only {number} were found");
    // An example in the test of the renderer, and in this file.
    assert_eq!(unknown, ["id"].into(), "not in src/checks");
}

/// The ids of the cases with an error in these tables of tests, each of which fires and is ignored.
fn tried_and_ignored() -> BTreeSet<String> {
    let tables = ["tests/plan/checks.rs", "tests/plan/parking.rs", "tests/host_checks.rs"]
        .map(|file| fs::read_to_string(project().join(file)));
    let mut ids = BTreeSet::new();
    for table in tables {
        let table: String = table.unwrap().split_whitespace().collect();
        for (at, _) in table.match_indices(",Level::Error,|") {
            // ("ID","MODE",Level::Error,|…
            let id = table[..at].rsplit("(\"").next().and_then(|rest| rest.split_once('"'));
            ids.extend(id.map(|(id, _)| id.to_owned()));
        }
    }
    ids
}

#[test]
fn every_preflight_error_fires_and_is_ignored_in_a_test() {
    let tried = tried_and_ignored();
    let ignorable = checks().iter().filter(|check| check.ignorable);
    let missing: Vec<&str> = ignorable.map(|check| check.id.as_str()).filter(|id| !tried.contains(*id)).collect();
    // Against a real API server: tests/cluster/scenarios/rights.rs.
    assert_eq!(missing, ["permissions", "pod-security"]);
}

/// Goldens show a check only at levels that the table names; what is ignored is a warning.
#[test]
fn levels_are_those_of_the_table() {
    let (data, mut compared) = (texts("tests"), 0);
    for line in data.iter().flat_map(|text| text.lines()) {
        for level in [Level::Error, Level::Warning, Level::Info] {
            let Some(rest) = line.trim_start().strip_prefix(&format!("{} [", level.word())) else { continue };
            let Some(check) = rest.split_once("] ").and_then(|(id, _)| check(id)) else { continue };
            compared += 1;
            assert!(check.levels.contains(&level) || line.contains("(ignored)"), "{line}");
        }
    }
    assert!(compared > 300, "only {compared} lines were compared");
}

#[test]
fn every_check_in_the_table_is_in_a_test() {
    let data = texts("tests");
    let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checks.rs")).unwrap();
    let shows = |id: &str| {
        let (quoted, marked) = (format!("\"{id}\""), format!("[{id}]"));
        data.iter().filter(|text| **text != own).any(|text| text.contains(&quoted) || text.contains(&marked))
    };
    let missing: Vec<&str> = checks().iter().map(|check| check.id.as_str()).filter(|id| !shows(id)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
