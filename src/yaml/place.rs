//! Places in a text: lines, columns, the end of a key, and finding a key by its path.

use super::error::EditError;
use super::tree::{Kind, Node, ScalarStyle};

/// The result of looking up a path of keys.
#[derive(Debug)]
pub(super) enum Place<'a> {
    /// The key exists with this value.
    Found { key: Option<&'a Node>, node: &'a Node, style: Style },
    /// The path ends at a key without a value; these keys are to be created below it.
    Null { key: &'a Node, node: &'a Node, style: Style, rest: &'a [&'a str] },
    /// The path ends in a mapping that does not have the next key.
    Missing { map: &'a Node, style: Style, rest: &'a [&'a str] },
}

/// The style of the text around a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Inside `{…}`.
    pub(super) flow: bool,
    /// Keys are in double quotes, so strings must be too.
    pub(super) json: bool,
}

/// Looks up `path` from `root`.
pub(super) fn locate<'a>(root: &'a Node, path: &'a [&'a str]) -> Result<Place<'a>, EditError> {
    let mut style = Style { flow: false, json: false };
    let mut last_key = None;
    let mut node = root;
    for (depth, name) in path.iter().enumerate() {
        let here = || {
            if depth == 0 { "the document".to_owned() } else { path[..depth].join(".") }
        };
        refuse_shared(root, node, here)?;
        let (flow, entries) = match &node.kind {
            Kind::Map { flow, entries } => (*flow, entries),
            Kind::Alias(_) => {
                return Err(EditError::Alias { path: here(), line: node.line });
            }
            _ => {
                return match last_key {
                    Some(key) if node.is_null() => Ok(Place::Null { key, node, style, rest: &path[depth..] }),
                    _ => Err(EditError::NotAMapping { path: here(), line: node.line }),
                };
            }
        };
        style.flow = flow;
        style.json = flow
            && match entries.first() {
                Some((key, _)) => matches!(key.kind, Kind::Scalar(_, ScalarStyle::DoubleQuoted)),
                None => style.json || depth == 0,
            };
        let mut found = entries.iter().filter(|(key, _)| key.text() == Some(name));
        match (found.next(), found.next()) {
            (Some((first, _)), Some((second, _))) => {
                return Err(EditError::DuplicateKey {
                    path: path[..=depth].join("."),
                    first: first.line,
                    second: second.line,
                });
            }
            (Some((key, value)), None) => (last_key, node) = (Some(key), value),
            (None, _) if entries.iter().any(|(key, _)| key.text() == Some("<<")) => {
                return Err(EditError::MergeKey { path: here(), line: node.line });
            }
            (None, _) => {
                return Ok(Place::Missing { map: node, style, rest: &path[depth..] });
            }
        }
    }
    refuse_shared(root, node, || path.join("."))?;
    Ok(Place::Found { key: last_key, node, style })
}

fn refuse_shared(root: &Node, node: &Node, path: impl Fn() -> String) -> Result<(), EditError> {
    if node.anchor != 0 && root.uses_anchor(node.anchor) {
        return Err(EditError::SharedAnchor { path: path(), line: node.line });
    }
    Ok(())
}

/// The line ending that the text uses: that of its first line.
pub(super) fn line_ending(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// The start of the line of `at`, after a byte-order mark.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    start + if text[start..at].starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 }
}

/// The end of the line of `at`, before its line ending.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let line = rest.split('\n').next().unwrap_or(rest);
    at + line.strip_suffix('\r').unwrap_or(line).len()
}

/// The indentation at `at`, or the effective one after `- `.
pub(super) fn column(text: &str, at: usize) -> usize {
    text[line_start(text, at)..at].chars().count()
}

/// The position after the colon that ends `key`; `None` after `? key`.
pub(super) fn after_colon(text: &str, key: &Node) -> Option<usize> {
    let rest = &text[key.span.end..];
    let gap = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    rest[gap..].starts_with(':').then_some(key.span.end + gap + 1)
}

/// The number of spaces by which this text indents nested mappings; 2 if there are none.
pub(super) fn indent_step(text: &str, root: &Node) -> usize {
    root.entries()
        .iter()
        .find_map(|(key, value)| match (&value.kind, value.entries().first()) {
            (Kind::Map { flow: false, .. }, Some((child, _))) => {
                column(text, child.span.start).checked_sub(column(text, key.span.start))
            }
            _ => None,
        })
        .filter(|step| (1..=8).contains(step))
        .unwrap_or(2)
}
