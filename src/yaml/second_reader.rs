//! Verifies the edit with a second reader: libyaml's rules (through `yaml_serde`), which Kubernetes' own reader follows
//! (goyaml, a port of libyaml), while the editor's own parser follows YAML 1.2. Both must find only the intended difference.
//!
//! goyaml differs from both in one case that an edit can hit: in flow style a colon ends a key only if white space follows
//! (goyaml's `yaml_parser_scan_plain_scalar`), so `{a:, b: 1}` has the key `a:` there.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess as _, Visitor};

use super::value::Value;

/// A document as read, including duplicate keys.
#[derive(Clone, Debug, PartialEq)]
enum Read {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Read>),
    Map(Vec<(Read, Read)>),
    Tagged(String, Box<Read>),
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: Error>(self) -> Result<Read, E> {
        Ok(Read::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Read, E> {
        Ok(Read::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Read, E> {
        Ok(Read::Number(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Read, E> {
        Ok(Read::Number(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Read, E> {
        Ok(Read::Number(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Read, E> {
        Ok(Read::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Read, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Read::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Read, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Read::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Read, A::Error> {
        let (tag, value) = tagged.variant::<String>()?;
        Ok(Read::Tagged(tag, Box::new(value.newtype_variant()?)))
    }
}

/// All documents; `None` if this reader cannot read them.
fn read(text: &str) -> Option<Vec<Read>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::Deserializer::from_str(text).map(|document| Read::deserialize(document).ok()).collect()
}

/// Whether `new` equals `old` except that `path` in document `index` is now `value`.
pub(super) fn only_changed(old: &str, new: &str, index: usize, path: &[&str], value: &Value) -> bool {
    let (Some(mut old), Some(new)) = (read(old), read(new)) else { return false };
    match old.get_mut(index) {
        Some(document) => {
            set(document, path, value)
                && old.len() == new.len()
                && old.iter().zip(&new).all(|(old, new)| same(old, new))
        }
        // An empty text has no document for this reader, but one for the editor.
        None => old.is_empty() && index == 0 && new.len() == 1 && same(&new[0], &nested(path, value)),
    }
}

/// Whether `new` has all documents of `old` unchanged, and one more.
pub(super) fn only_added(old: &str, new: &str) -> bool {
    let (Some(old), Some(new)) = (read(old), read(new)) else { return false };
    new.len() > old.len() && old.iter().zip(&new).all(|(old, new)| old == new)
}

/// Whether every colon after a plain key at a splice is followed by white space; otherwise goyaml, in flow style, does not
/// end the key there. `spliced`: the position of the new bytes in `text`.
pub(super) fn ends_keys_everywhere(text: &str, spliced: &[Range<usize>]) -> bool {
    let is_end = |at: usize| {
        let Some(key) = text[..at].strip_suffix(':') else { return true };
        key.ends_with(['"', '\'']) || text[at..].chars().next().is_none_or(char::is_whitespace)
    };
    spliced.iter().all(|range| is_end(range.start) && is_end(range.end))
}

fn set(at: &mut Read, path: &[&str], value: &Value) -> bool {
    let Some((name, rest)) = path.split_first() else {
        *at = of(value);
        return true;
    };
    match at {
        Read::Null => {
            *at = nested(path, value);
            true
        }
        Read::Map(entries) => {
            let key = Read::Text((*name).to_owned());
            match entries.iter_mut().find(|(other, _)| *other == key) {
                Some((_, below)) => return set(below, rest, value),
                None => entries.push((key, nested(rest, value))),
            }
            true
        }
        _ => false,
    }
}

fn nested(path: &[&str], value: &Value) -> Read {
    path.iter().rev().fold(of(value), |inner, key| Read::Map(vec![(Read::Text((*key).to_owned()), inner)]))
}

fn of(value: &Value) -> Read {
    match value {
        Value::Bool(value) => Read::Bool(*value),
        Value::Int(value) => Read::Number(value.to_string()),
        Value::Str(text) => Read::Text(text.clone()),
        Value::Seq(items) => Read::List(items.iter().map(of).collect()),
        Value::Map(entries) => {
            Read::Map(entries.iter().map(|(key, value)| (Read::Text(key.clone()), of(value))).collect())
        }
    }
}

/// Whether both are equal except for the order of keys; a new key may be anywhere.
fn same(one: &Read, other: &Read) -> bool {
    match (one, other) {
        (Read::List(one), Read::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Read::Map(one), Read::Map(other)) => {
            let found = |(key, value): &(Read, Read)| {
                let of_key = |entry: &&(Read, Read)| entry.0 == *key;
                one.iter().filter(of_key).count() == other.iter().filter(of_key).count()
                    && other.iter().filter(of_key).any(|entry| same(value, &entry.1))
            };
            one.len() == other.len() && one.iter().all(found)
        }
        (Read::Tagged(one, value), Read::Tagged(other, other_value)) => one == other && same(value, other_value),
        _ => one == other,
    }
}
