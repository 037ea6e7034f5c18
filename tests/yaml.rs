//! The byte-preserving editor against cases as folders (`tests/yaml/NAME/`: `input.yaml`, `edit`, and
//! `expected.yaml` or `refused`, a part of the message), and against arbitrary documents.

use std::fs;
use std::path::Path;

use kpx_prep::yaml::{EditError, Kind, Node, ScalarStyle, Value, append_document, parse, scalar, set};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

#[path = "yaml/reader_1_1.rs"]
mod reader_1_1;
use reader_1_1::reads_as_string;

fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(value) => Value::Int(value.as_i64().expect("a whole number")),
        serde_json::Value::String(text) => Value::Str(text.clone()),
        serde_json::Value::Array(items) => Value::Seq(items.iter().map(value_of).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| (key.clone(), value_of(value))).collect())
        }
        serde_json::Value::Null => panic!("null is not written"),
    }
}

/// Runs one case; the folder's `edit` is JSON: `{"document": 0, "path": ["mode"], "value": "ipvs"}`.
fn check(folder: &Path) -> Result<(), String> {
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let input = read("input.yaml").map_err(|error| error.to_string())?;
    let edit: serde_json::Value = serde_json::from_str(&read("edit").unwrap()).map_err(|e| e.to_string())?;
    let path: Vec<&str> = edit["path"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let document = usize::try_from(edit["document"].as_u64().unwrap_or(0)).unwrap();
    let value = value_of(&edit["value"]);
    match (set(&input, document, &path, &value), read("expected.yaml"), read("refused")) {
        (Ok(edited), Ok(expected), Err(_)) => {
            if edited != expected {
                return Err(format!("expected {expected:?}\n     got {edited:?}"));
            }
            if set(&edited, document, &path, &value) != Ok(expected) {
                return Err("setting it again changes the text".to_owned());
            }
            Ok(())
        }
        (Err(error), Err(_), Ok(part)) if error.to_string().contains(part.trim()) => Ok(()),
        (outcome, ..) => Err(format!("unexpected: {outcome:?}")),
    }
}

#[test]
fn cases() {
    let mut folders: Vec<_> =
        fs::read_dir("tests/yaml").unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 22, "only {} cases found", folders.len());
    let failed: Vec<String> = folders
        .iter()
        .filter_map(|folder| check(folder).err().map(|why| format!("{}: {why}", folder.display())))
        .collect();
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), folders.len(), failed.join("\n"));
}

#[test]
fn documents_are_appended_in_the_texts_own_style() {
    for (text, expected) in [
        ("", "a: 1\n"),
        ("x: y\n", "x: y\n---\na: 1\n"),
        ("x: y", "x: y\n---\na: 1\n"),
        ("x: y\r\n", "x: y\r\n---\r\na: 1\r\n"),
        ("x: y\n...\n", "x: y\n...\n---\na: 1\n"),
        ("{\"x\": 1}\n", "{\"x\": 1}\n---\na: 1\n"),
        ("x: |\n  t\n\n# end", "x: |\n  t\n\n# end\n---\na: 1\n"),
    ] {
        assert_eq!(append_document(text, "a: 1\n").as_deref(), Ok(expected), "{text:?}");
    }
    assert!(matches!(append_document("a: [", "b: 1\n"), Err(EditError::Syntax { .. })));
    // A line end behind it would be one more character of the value, to a reader by libyaml's rules.
    for text in ["x: |\n  t", "x: |+\n  t", "x: >\n  t"] {
        assert_eq!(append_document(text, "a: 1\n"), Err(EditError::OpenEnd { line: 2 }), "{text:?}");
    }
}

#[test]
fn lines_and_documents_are_counted() {
    let documents = parse("# c\na: 1\n---\nb:\n  c: x\n").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].root.get(&["b", "c"]).map(|node| node.line), Some(5));
    assert!(matches!(set("a: 1\n", 1, &["a"], &Value::Int(2)), Err(EditError::NoDocument { index: 1, count: 1 })));
}

/// A document of keys, values, comments and styles that kube-proxy configs have, and some they do not.
fn documents() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["mode", "ipvs", "a", "\"b\"", "'c'", "featureGates", "x.y"]);
    let leaf = prop::sample::select(vec![
        "iptables",
        "\"\"",
        "''",
        "null",
        "~",
        "",
        "yes",
        "{}",
        "[]",
        "[1, 2]",
        "{mode: x, y: [a]}",
        "\"q\\n\"",
        "{\"j\": \"x\"}",
        "!!str z",
        "&n w",
        "|\n      t\n",
        "x # c",
        "# only a comment",
        "\"two\n      lines\"",
    ]);
    let entry = (key, leaf, any::<bool>(), prop::sample::select(vec!["", "# note\n", "\n"]));
    prop::collection::vec(entry, 1..6).prop_map(|entries| {
        entries.iter().fold(String::new(), |mut text, (key, leaf, nest, before)| {
            text += before;
            if *nest {
                text.extend([*key, ":\n    inner: ", *leaf, "\n    ", *key, ": 1\n"]);
            } else {
                text.extend([*key, ": ", *leaf, "\n"]);
            }
            text
        })
    })
}

/// Everything that is in a node but for one path: what an edit must leave alone.
fn without(node: &Node, path: &[&str], out: &mut Vec<String>) {
    match &node.kind {
        Kind::Map { entries, .. } => {
            for (key, value) in entries {
                let name = key.text().unwrap_or_default();
                match path.split_first() {
                    Some((first, rest)) if *first == name => {
                        if !rest.is_empty() {
                            without(value, rest, out);
                        }
                    }
                    _ => {
                        out.push(format!("{name}="));
                        without(value, &[], out);
                    }
                }
            }
            out.push("end".to_owned());
        }
        Kind::Seq { items, .. } => {
            for item in items {
                without(item, &[], out);
            }
            out.push("end".to_owned());
        }
        other => out.push(format!("{other:?}")),
    }
}

fn comments(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.find("# ").map(|at| &line[at..])).collect()
}

/// The property below says nothing of edits that are refused: most must not be.
#[test]
fn most_documents_can_be_edited() {
    let mut runner = TestRunner::deterministic();
    let edited = (0..400)
        .filter(|_| {
            let text = documents().new_tree(&mut runner).unwrap().current();
            set(&text, 0, &["mode"], &Value::from("ipvs")).is_ok()
        })
        .count();
    assert!(edited > 250, "only {edited} of 400");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_the_intended_key_differs(
        text in documents(),
        crlf in any::<bool>(),
        path in prop::sample::select(vec![vec!["mode"], vec!["ipvs", "scheduler"], vec!["featureGates", "mode"], vec!["new"]]),
        value in prop::sample::select(vec![
            Value::from("ipvs"), Value::from("yes"), Value::Bool(true), Value::Int(7), Value::strings(&["10.0.0.0/8"]),
        ]),
    ) {
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        if let Ok(edited) = set(&text, 0, &path, &value) {
            let (old, new) = (parse(&text).unwrap(), parse(&edited).unwrap());
            // Where the mapping above the key was not there, it is as new as the key.
            let parent = old[0].root.get(&path[..path.len() - 1]);
            let shared = if parent.is_none_or(Node::is_null) { &path[..1] } else { &path[..] };
            let (mut before, mut after) = (Vec::new(), Vec::new());
            without(&old[0].root, shared, &mut before);
            without(&new[0].root, shared, &mut after);
            prop_assert_eq!(before, after);
            prop_assert_eq!(comments(&text), comments(&edited));
            let node = new[0].root.get(&path).expect("the key is there");
            let Value::Str(wanted) = &value else { return Ok(()) };
            prop_assert_eq!(node.text(), Some(wanted.as_str()));
            if let (Kind::Scalar(text, ScalarStyle::Plain), true) = (&node.kind, !edited.contains("!!str")) {
                prop_assert!(reads_as_string(text), "{}", text);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        text in "[a-c:#{}\\[\\],&*!|>'\"%@`\\-? \\t\\n\\r.~\u{feff}]{0,40}",
        path in prop::sample::select(vec!["a", "b", "mode"]),
    ) {
        let _ = set(&text, 0, &[path], &Value::from("ipvs"));
        let _ = set(&text, 0, &[path, "c"], &Value::Bool(true));
        let _ = append_document(&text, "a: 1\n");
    }

    #[test]
    fn any_unicode_never_panics(text in any::<String>()) {
        let _ = set(&text, 0, &["a", "b"], &Value::from("x"));
    }

    /// What is emitted is read back unchanged by a 1.2 parser, and is a string to a 1.1 reader.
    #[test]
    fn strings_survive(text in prop_oneof![
        any::<String>(),
        "[0-9+_:.eExXoO a-fA-F-]{0,12}",
        "(y|n|yes|no|on|off|true|false|null|~|=|<<|\\.inf|\\.nan)[ ]?",
        "[0-9]{1,4}-[0-9]{1,2}-[0-9]{1,2}([tT ][0-9]{1,2}:[0-9]{2}:[0-9]{2}Z?)?",
        "[0-9]{1,3}(h|m|s|ms)",
        "[0-9a-f.:]{1,10}/[0-9]{1,3}",
    ]) {
        for written in [scalar(&text), kpx_prep::yaml::quoted(&text)] {
            for document in [format!("k: {written}\n"), format!("{{k: {written}}}\n"), format!("- {written}\n")] {
                let parsed = parse(&document);
                let root = &parsed.map_err(|error| TestCaseError::fail(format!("{error} in {document:?}")))?[0].root;
                let node = root.get(&["k"]).or(root.items().first()).expect("the value");
                prop_assert_eq!(node.text(), Some(text.as_str()));
                if let Kind::Scalar(plain, ScalarStyle::Plain) = &node.kind {
                    prop_assert!(reads_as_string(plain), "{} is no string in YAML 1.1", plain);
                }
            }
        }
    }
}
