//! A file tree as it was, and how it differs from what it is: for comparing whole trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// What a path was.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `dir`, or permission bits, or `->`.
    kind: String,
    content: String,
    inode: u64,
}

/// Every path below a root.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// The tree as it is now.
pub(crate) fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1) {
        let entry = entry.unwrap();
        let meta = entry.path().symlink_metadata().unwrap();
        let path = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let (kind, content) = if meta.is_symlink() {
            ("->".to_owned(), fs::read_link(entry.path()).unwrap().display().to_string())
        } else if meta.is_dir() {
            ("dir".to_owned(), String::new())
        } else {
            (
                format!("{:04o}", meta.permissions().mode() & 0o7777),
                String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned(),
            )
        };
        // A folder's inode and a link's tell nothing about rewriting.
        let inode = if meta.is_file() { meta.ino() } else { 0 };
        tree.insert(path, Entry { kind, content, inode });
    }
    tree
}

/// How `after` differs from `before`, a line a path, new content below. Lines for which `is_known` holds are counted,
/// not shown.
pub(crate) fn difference(before: &Tree, after: &Tree, is_known: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (path, entry) in before {
        if !after.contains_key(path) {
            text.push_str(&format!("- {path}{}\n", if entry.kind == "dir" { "/" } else { "" }));
        }
    }
    for (path, entry) in after {
        let sign = match before.get(path) {
            Some(old) if old == entry => continue,
            None if entry.kind == "dir" => {
                text.push_str(&format!("+ {path}/\n"));
                continue;
            }
            Some(old) if old.content == entry.content && old.kind == entry.kind => {
                text.push_str(&format!("rewritten {path}\n"));
                continue;
            }
            Some(_) => "~",
            None => "+",
        };
        text.push_str(&format!("{sign} {path} {}\n", entry.kind));
        let known = entry.content.lines().filter(|line| is_known(line)).count();
        if known > 0 {
            text.push_str(&format!("| ({known} lines of the template)\n"));
        }
        for line in entry.content.lines().filter(|line| !is_known(line)) {
            text.push_str(&format!("| {line}\n"));
        }
    }
    if text.is_empty() { "tree unchanged\n".to_owned() } else { text }
}
