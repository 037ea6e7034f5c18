//! Nothing in `src/node` reaches a host's files other than through its root prefix: images and NixOS have links that lead
//! from `/`, and what is below another root must not be looked for on this machine.

use std::fs;
use std::path::Path;

/// Where files are opened for the root, and a child is put into it.
const OPENERS: [&str; 4] = ["root/mod.rs", "root/reading.rs", "root/resolve.rs", "root/chroot.rs"];

/// What opens or asks by a path: the standard library's functions and types, and system calls that take one.
const BY_PATH: [&str; 8] =
    ["fs::", "File::", "OpenOptions", "WalkDir", "Path::new(", "PathBuf::from(", "canonicalize", "env::current_dir"];
const CALLS: [&str; 14] = [
    "open",
    "openat",
    "openat2",
    "stat",
    "lstat",
    "fstatat",
    "readlink",
    "readlinkat",
    "access",
    "mkdir",
    "unlink",
    "rename",
    "statfs",
    "chroot",
];

/// Why a line goes around the root, if it does.
fn goes_around(line: &str) -> Option<String> {
    let line = line.trim();
    // This process's own: kernel facts about itself, which no root has.
    if line.starts_with("//") || line.starts_with("use ") || line.contains("\"/proc/self/") {
        return None;
    }
    if let Some(known) = BY_PATH.iter().find(|known| line.contains(**known)) {
        return Some((*known).to_owned());
    }
    let called = CALLS.iter().find(|call| {
        line.match_indices(&format!("{call}(")).any(|(at, _)| {
            // A method, a definition and a longer name are something else.
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c == '.' || c == '_' || c.is_alphanumeric())
                && !line[..at].ends_with("fn ")
                && !line[..at].ends_with("Ipvs::")
                && !line[..at].ends_with("Socket::")
                && !line[..at].ends_with("Self::")
        })
    });
    called.map(|call| format!("{call}()"))
}

#[test]
fn every_lookup_goes_through_the_root() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node");
    let mut found = Vec::new();
    let mut files = 0;
    for entry in walkdir::WalkDir::new(&sources) {
        let path = entry.unwrap().into_path();
        let name = path.strip_prefix(&sources).unwrap().display().to_string();
        // Tests make trees of their own.
        if path.ends_with("tests.rs")
            || path.extension().is_none_or(|extension| extension != "rs")
            || OPENERS.contains(&name.as_str())
        {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            if let Some(what) = goes_around(line) {
                found.push(format!("src/node/{name}:{}: {what}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(files > 40, "only {files} sources were found");
    assert!(found.is_empty(), "these go around the root:\n{}", found.join("\n"));
}

#[test]
fn what_goes_around_is_recognised() {
    for line in [
        "let text = fs::read_to_string(\"/etc/os-release\")?;",
        "if std::fs::metadata(path).is_ok() {",
        "let file = File::open(path)?;",
        "if Path::new(\"/lib/modules\").exists() {",
        "let real = path.canonicalize()?;",
        "let opened = open(path, flags, Mode::empty())?;",
        "let there = nix::sys::stat::stat(\"/\")?;",
    ] {
        assert!(goes_around(line).is_some(), "{line}");
    }
    for line in [
        "if root.exists(\"/etc/init.d/kmod\") {",
        "let Ok(Some(stat)) = root.lstat(&path) else { continue };",
        "let text = root.read(path)?;",
        "match (fstat(&first), fstat(root)) {",
        "let map = fs::read_to_string(\"/proc/self/uid_map\").unwrap_or_default();",
        "pub fn open() -> io::Result<Self> {",
    ] {
        assert_eq!(goes_around(line), None, "{line}");
    }
}
