//! The structure of `src`: no circle of imports between files, and in `src/cluster` and `src/node` imports go one way only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of two folders: each room imports only from itself and those before it.
const ROOMS: [(&str, &[&str]); 2] = [
    ("cluster", &["api", "kube_proxy", "helper", "observe", "plan", "report", "remediate", "collect"]),
    (
        "node",
        &[
            "root",
            "netlink",
            "mounts",
            "modules",
            "host",
            "boot",
            "facts",
            "decide",
            "lock",
            "report",
            "install",
            "check",
            "remove",
            "kube_proxy",
            "driven",
            "command_options",
            "command",
            "text",
        ],
    ),
];

/// Modules by their path (`["cluster", "api", "calls"]`), with what each imports.
type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module of a file below `src`.
fn module(src: &Path, file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<String> = relative.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The code of a file without comments and without its tests, which stand at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths that a `use` tree names: `a::{b, c::{d, self}}` is `a::b`, `a::c::d`, `a::c`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part)).map(|path| format!("{head}{path}")).collect()
}

/// All paths in the code: of `use` statements, and those that begin with `crate::` or `super::` elsewhere.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("use ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        if let Some(end) = code[at..].find(';') {
            paths.extend(expand(&code[at + 4..at + end]));
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            paths.push(code[at..end.map_or(code.len(), |end| at + end)].trim_end_matches(':').to_owned());
        }
    }
    paths
}

/// The module that a path leads to, seen from a module; nothing if it leads out of this crate.
fn resolve(path: &str, from: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut full: Vec<String> = match parts[0] {
        "crate" => Vec::new(),
        "super" | "self" => from.to_vec(),
        first => {
            let child = [from, &[first.to_owned()]].concat();
            modules.contains(&child).then(|| from.to_vec())?
        }
    };
    while parts.first() == Some(&"super") {
        full.pop();
        parts.remove(0);
    }
    if matches!(parts.first(), Some(&("crate" | "self"))) {
        parts.remove(0);
    }
    full.extend(parts.iter().map(|part| (*part).to_owned()));
    while !full.is_empty() && !modules.contains(&full) {
        full.pop();
    }
    (!full.is_empty()).then_some(full)
}

fn graph(sources: &[(Vec<String>, String)]) -> Graph {
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(module, _)| module.clone()).collect();
    let imports = |(module, text): &(Vec<String>, String)| {
        let found = paths(&code(text)).into_iter().filter_map(|path| resolve(&path, module, &modules));
        (module.clone(), found.filter(|other| other != module).collect())
    };
    sources.iter().map(imports).collect()
}

/// Modules that import themselves by way of others.
fn circles(graph: &Graph) -> Vec<String> {
    let reaches = |from: &Vec<String>| {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
        while let Some(next) = todo.pop() {
            for other in &graph[next] {
                if seen.insert(other) {
                    todo.push(other);
                }
            }
        }
        seen.contains(from)
    };
    graph.keys().filter(|module| reaches(module)).map(|module| module.join("::")).collect()
}

/// Imports within `src/cluster` or `src/node` from a room that comes later.
fn upward(graph: &Graph) -> Vec<String> {
    let room = |module: &[String]| {
        let (folder, rooms) = ROOMS.iter().find(|(folder, _)| module[0] == *folder)?;
        let name = module.get(1)?;
        Some((*folder, rooms.iter().position(|room| room == name)?))
    };
    let all = graph.iter().flat_map(|(module, imports)| imports.iter().map(move |other| (module, other)));
    let wrong = all.filter(|(module, other)| {
        room(module).zip(room(other)).is_some_and(|((folder, a), (other, b))| folder == other && b > a)
    });
    wrong.map(|(module, other)| format!("{} imports {}", module.join("::"), other.join("::"))).collect()
}

fn sources() -> Vec<(Vec<String>, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    // The binary's own file imports the library by its name. Tests may import anything, as those inside a file.
    found.retain(|file| !["src/main.rs", "src/lib.rs", "tests.rs"].iter().any(|other| file.ends_with(other)));
    found.iter().map(|file| (module(&src, file), fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn no_circle_of_imports() {
    let graph = graph(&sources());
    assert!(graph.len() > 150 && graph.values().map(BTreeSet::len).sum::<usize>() > 500, "the sources were not read");
    assert_eq!(circles(&graph), Vec::<String>::new());
}

#[test]
fn rooms_are_imported_one_way() {
    let graph = graph(&sources());
    for (folder, known) in ROOMS {
        let rooms: BTreeSet<&str> = graph
            .keys()
            .filter(|module| module[0] == folder)
            .filter_map(|module| Some(module.get(1)?.as_str()))
            .collect();
        assert_eq!(rooms, known.iter().copied().collect(), "a room of src/{folder} that this test does not know");
    }
    assert_eq!(upward(&graph), Vec::<String>::new());
}

#[test]
fn a_circle_is_found() {
    let source = |module: &str, text: &str| (module.split("::").map(str::to_owned).collect(), text.to_owned());
    let sources = [
        source("cluster::api", "use super::plan::{self, Plan};"),
        source("cluster::plan", "mod step;\nuse crate::other::x;"),
        source("cluster::plan::step", "fn f() { crate::cluster::api::g() }"),
        source("other", "use crate::{cluster::plan::step, third}; // use crate::third;"),
        source("third", "#[cfg(test)]\nmod tests {\n    use crate::other;\n}"),
        source("node::kube_proxy::clean", "use crate::node::lock::NodeLock;"),
        source("node::lock", "use super::install;"),
        source("node::install", "use crate::cluster::api;"),
    ];
    let graph = graph(&sources);
    assert_eq!(circles(&graph), ["cluster::api", "cluster::plan", "cluster::plan::step", "other"]);
    assert_eq!(upward(&graph), ["cluster::api imports cluster::plan", "node::lock imports node::install"]);
}
