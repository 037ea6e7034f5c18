//! Verification of an edit: parsed again, the text differs only in the intended key.

use super::scalar::is_plain_everywhere;
use super::tree::{Document, Kind, Node, ScalarStyle};
use super::value::Value;

/// Whether every reader reads the node as this value already.
pub(super) fn matches(node: &Node, value: &Value) -> bool {
    let is_string = |tag: &Option<String>| tag.as_deref().is_none_or(|tag| tag.ends_with(":str"));
    match (&node.kind, value) {
        (Kind::Scalar(text, style), Value::Str(wanted)) => {
            text == wanted
                && is_string(&node.tag)
                && (*style != ScalarStyle::Plain || node.tag.is_some() || is_plain_everywhere(text))
        }
        (Kind::Scalar(text, ScalarStyle::Plain), Value::Bool(wanted)) => {
            node.tag.is_none() && *text == wanted.to_string()
        }
        (Kind::Scalar(text, ScalarStyle::Plain), Value::Int(wanted)) => {
            node.tag.is_none() && *text == wanted.to_string()
        }
        (Kind::Seq { items, .. }, Value::Seq(wanted)) => {
            items.len() == wanted.len() && items.iter().zip(wanted).all(|(item, w)| matches(item, w))
        }
        (Kind::Map { entries, .. }, Value::Map(wanted)) => {
            entries.len() == wanted.len()
                && entries.iter().zip(wanted).all(|((key, value), (k, w))| key.text() == Some(k) && matches(value, w))
        }
        _ => false,
    }
}

/// Whether `new` equals `old` except that `path` in document `index` is now `value`.
pub(super) fn only_changed(old: &[Document], new: &[Document], index: usize, path: &[&str], value: &Value) -> bool {
    old.len() == new.len()
        && old.iter().zip(new).enumerate().all(|(i, (old, new))| {
            if i == index { changed_at(&old.root, &new.root, path, value) } else { old.root.same(&new.root) }
        })
}

fn changed_at(old: &Node, new: &Node, path: &[&str], value: &Value) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return matches(new, value);
    };
    if old.is_null() && old.anchor == new.anchor {
        return matches(new, &nested(path, value));
    }
    let (Kind::Map { flow: was, entries: old_entries }, Kind::Map { flow: is, entries: new_entries }) =
        (&old.kind, &new.kind)
    else {
        return false;
    };
    let named = |entry: &(Node, Node)| entry.0.text() == Some(name);
    let mut others = new_entries.iter().filter(|entry| !named(entry));
    let mut found = new_entries.iter().filter(|entry| named(entry));
    let (Some((_, set)), None) = (found.next(), found.next()) else {
        return false;
    };
    let rest_is_same = old_entries
        .iter()
        .all(|entry| named(entry) || others.next().is_some_and(|new| entry.0.same(&new.0) && entry.1.same(&new.1)))
        && others.next().is_none();
    let place_is_same = match old_entries.iter().position(named) {
        Some(at) => named(&new_entries[at]) && changed_at(&old_entries[at].1, set, rest, value),
        None => matches(set, &nested(rest, value)),
    };
    was == is && old.anchor == new.anchor && old.tag == new.tag && rest_is_same && place_is_same
}

/// The value nested in a mapping for each key of `path`.
pub(super) fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| Value::Map(vec![((*key).to_owned(), inner)]))
}
