//! The reports that the project holds, as expected output and in its documentation, and some that the program prints.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Reports with the place where each was found.
pub(crate) type Reports = Vec<(String, Value)>;

/// Those in expected files and in the documentation.
pub(crate) fn held() -> Reports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["tests", "docs"] {
        for entry in walkdir::WalkDir::new(root.join(folder)).sort_by_file_name() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = entry.file_name().to_string_lossy();
            let of_text =
                path.extension().is_some_and(|ending| ["json", "md", "txt"].iter().any(|known| ending == *known));
            if !entry.file_type().is_file() || !(of_text || name == "expected" || name == "stdout") {
                continue;
            }
            let Ok(text) = fs::read_to_string(path) else { continue };
            let place = path.strip_prefix(root).unwrap().display().to_string();
            all.extend(json(&text).into_iter().chain(yaml(&text)).map(|report| (place.clone(), report)));
        }
    }
    all
}

/// JSON objects that begin with kpx-prep's `apiVersion`, wherever in a text.
fn json(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("\"apiVersion\"") {
        let rest: String = text[at..].chars().take(60).filter(|c| !c.is_whitespace()).collect();
        let open = text[..at].trim_end();
        if rest.starts_with("\"apiVersion\":\"kpx-prep/v1\"") && open.ends_with('{') {
            let mut values = serde_json::Deserializer::from_str(&text[open.len() - 1..]).into_iter::<Value>();
            found.push(values.next().unwrap().unwrap_or_else(|error| panic!("{error}: {}", &text[at..])));
        }
    }
    found
}

/// YAML documents in a transcript: up to the line with the exit status.
fn yaml(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("\napiVersion: kpx-prep/v1\n") {
        let end = after.find("\nexit ").expect("a transcript says how each command ended");
        let document = format!("apiVersion: kpx-prep/v1\n{}\n", &after[..end]);
        found.push(serde_yaml::from_str(&document).unwrap_or_else(|error| panic!("{error}: {document}")));
        rest = &after[end..];
    }
    found
}

/// What the program prints about a container with a folder in the place of a file, and its list of checks.
pub(crate) fn printed() -> Reports {
    let folder = tempfile::tempdir().unwrap();
    for path in ["proc/1", "run/systemd", "etc/modules-load.d/kpx-prep-ipvs.conf"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    fs::write(folder.path().join("run/systemd/container"), "lxc\n").unwrap();
    let root = folder.path().to_str().unwrap();
    let commands: [&[&str]; 7] = [
        &["checks"],
        &["node", "check", "--root", root],
        &["node", "install", "--dry-run", "--root", root],
        &["node", "remove", "--root", root],
        &["node", "survey", "--root", root],
        &["node", "leftovers", "--root", root],
        &["node", "clean", "--dry-run", "--wait", "0s", "--root", root],
    ];
    let print = |command: &&[&str]| {
        let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
        let output = run.args(*command).args(["--output", "json"]).output().unwrap();
        let report = serde_json::from_slice(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        (command.join(" "), report.unwrap_or_else(|error| panic!("{command:?}: {error}: {stderr}")))
    };
    commands.iter().map(print).collect()
}
