//! A support bundle: files with secrets removed and, on request, names and addresses replaced, as one `.tar.gz`.
//!
//! Pure: what goes into it is collected by [`crate::cluster::collect`], and its command writes it.

pub mod anonymizer;
mod runs;
pub mod secrets;

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::report::foreign::{visible, visible_json};
use anonymizer::Anonymizer;
use secrets::{REMOVED, names_a_secret, without_secrets};

/// What a file of a bundle holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text, such as a log.
    Text(String),
    /// A JSON document.
    Json(Value),
}

/// A file of a bundle, as it was collected.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    /// The folder in the bundle; empty for none.
    pub folder: &'static str,
    /// Its name without the ending; may be the name of a node.
    pub name: String,
    /// Its ending: `json`.
    pub ending: &'static str,
    /// What it is, for the list.
    pub about: String,
    /// Its content.
    pub content: Content,
}

/// A file of a bundle, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    /// Its path in the bundle.
    pub path: String,
    /// What it is.
    pub about: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Removes secrets and, with an anonymizer, replaces names and addresses; escapes what a terminal would interpret.
pub fn finished(collected: Vec<Collected>, mut anonymizer: Option<&mut Anonymizer>) -> Vec<BundleFile> {
    let mut files: Vec<BundleFile> = Vec::with_capacity(collected.len());
    for file in collected {
        let mut text = |text: &str| masked_text(text, anonymizer.as_deref_mut());
        let name = file_name(&text(&file.name));
        let about = text(&file.about);
        let bytes = match file.content {
            Content::Text(content) => visible(&text(&content)).into_owned().into_bytes(),
            Content::Json(value) => json_bytes(&mapped(value, &mut text)),
        };
        let folder = if file.folder.is_empty() { String::new() } else { format!("{}/", file.folder) };
        let path = |number: usize| match number {
            0 => format!("{folder}{name}.{}", file.ending),
            number => format!("{folder}{name}~{number}.{}", file.ending),
        };
        // Two names may become one.
        let is_free = |path: &String| !files.iter().any(|other| other.path == *path);
        let Some(path) = (0..=files.len()).map(path).find(is_free) else { continue };
        files.push(BundleFile { path, about, bytes });
    }
    files
}

fn masked_text(text: &str, anonymizer: Option<&mut Anonymizer>) -> String {
    let kept = without_secrets(text);
    match anonymizer {
        Some(anonymizer) => anonymizer.text(&kept),
        None => kept.into_owned(),
    }
}

/// A document without secrets and, with an anonymizer, without names and addresses.
pub fn masked(document: Value, mut anonymizer: Option<&mut Anonymizer>) -> Value {
    mapped(document, &mut |text| masked_text(text, anonymizer.as_deref_mut()))
}

/// A document as the bytes of a file; what a terminal would interpret is escaped.
pub fn json_bytes(document: &Value) -> Vec<u8> {
    // Never fails for a value.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    (visible_json(&text).into_owned() + "\n").into_bytes()
}

/// Every text of a document, and every name of a field, through `text`.
fn mapped(value: Value, text: &mut impl FnMut(&str) -> String) -> Value {
    match value {
        Value::String(string) => Value::String(text(&string)),
        Value::Array(values) => values.into_iter().map(|value| mapped(value, text)).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let value = match value {
                    Value::String(_) if names_a_secret(&name) => REMOVED.into(),
                    value => mapped(value, text),
                };
                // The reports' own names of fields are a fixed set; those that may be a node's or an address have other
                // characters or are given as a whole.
                let name = if name.bytes().all(|byte| byte.is_ascii_alphabetic()) { name } else { text(&name) };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        other => other,
    }
}

/// A name of a node as the name of a file: an API server may return any.
fn file_name(name: &str) -> String {
    const LONGEST: usize = 100;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().take(LONGEST).map(safe).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

/// The archive, gzip-compressed: all files in one folder, readable by their owner only. `modified`: seconds since 1970.
///
/// # Errors
/// Only errors of writing to memory.
pub fn archive(folder: &str, files: &[BundleFile], modified: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_size(file.bytes.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(modified);
        tar.append_data(&mut header, format!("{folder}/{}", file.path), &file.bytes[..])?;
    }
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests;
