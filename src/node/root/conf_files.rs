//! Folders of configuration files, as systemd and modprobe read them, and files that cannot be read.

use std::collections::BTreeSet;

use super::Root;

/// Configuration files with their text, and those that could not be read.
#[derive(Clone, Debug, Default)]
pub struct ConfFiles {
    /// Path and content of each file.
    pub read: Vec<(String, String)>,
    /// Path of each unreadable file, and the reason.
    pub unreadable: Vec<(String, String)>,
}

impl ConfFiles {
    /// The `*.conf` files in `folders` and then in `name` of [`Root::lib_folders`]. A file in an earlier folder
    /// overrides one of the same name in a later one, as in modules-load.d(5) and modprobe.d(5).
    pub fn new(root: &Root, folders: &[&str], name: &str) -> Self {
        let last = root.lib_folders().iter().map(|lib| format!("{lib}/{name}"));
        Self::of(root, folders.iter().map(|folder| (*folder).to_owned()).chain(last))
    }

    /// The `*.conf` files in `folders`, by priority. Names that start with a dot are ignored by every reader.
    pub fn of(root: &Root, folders: impl IntoIterator<Item = String>) -> Self {
        let mut seen = BTreeSet::new();
        let mut files = Self::default();
        for folder in folders {
            for entry in root.list(&folder) {
                if has_extension(&entry, "conf") && !entry.starts_with('.') && seen.insert(entry.clone()) {
                    files.add(root, format!("{folder}/{entry}"));
                }
            }
        }
        files
    }

    /// Reads one more file, if it exists.
    pub fn add(&mut self, root: &Root, path: String) {
        match root.read(&path) {
            Ok(Some(text)) => self.read.push((path, text)),
            Ok(None) => {}
            // Folders are ignored, as modprobe and systemd do.
            Err(_) if root.is_dir(&path) => {}
            Err(error) => self.unreadable.push((path, error.to_string())),
        }
    }
}

/// Whether a file name has this extension and a non-empty stem.
pub fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && end == extension)
}
