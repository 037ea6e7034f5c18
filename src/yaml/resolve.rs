//! A document as Kubernetes reads it: with types, aliases and merge keys.
//!
//! kube-proxy and kubeadm read YAML with sigs.k8s.io/yaml, which converts it to JSON with goyaml v2: YAML 1.1, so `yes` and
//! `on` are booleans and `014` is 12; the last of duplicate keys applies; `<<` merges. Compared with kube-proxy 1.20.2
//! (`--write-config-to`) in tests/cluster.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::tree::{Document, Kind, Node, ScalarStyle};

/// Limit for the number of values, as aliases can multiply a text; far more than any configuration has.
const VALUES: usize = 100_000;

impl Document {
    /// The document as JSON, as Kubernetes converts it.
    ///
    /// # Errors
    /// An alias without an anchor, a merge of something other than mappings, or too many values through aliases.
    pub fn resolve(&self) -> Result<Value, String> {
        let mut anchors = HashMap::new();
        collect(&self.root, &mut anchors);
        Resolver { anchors, left: VALUES, open: Vec::new() }.value(&self.root)
    }
}

fn collect<'n>(node: &'n Node, anchors: &mut HashMap<usize, &'n Node>) {
    if node.anchor != 0 {
        anchors.insert(node.anchor, node);
    }
    for (key, value) in node.entries() {
        collect(key, anchors);
        collect(value, anchors);
    }
    for item in node.items() {
        collect(item, anchors);
    }
}

struct Resolver<'n> {
    anchors: HashMap<usize, &'n Node>,
    left: usize,
    /// The aliases that are being followed.
    open: Vec<usize>,
}

impl<'n> Resolver<'n> {
    fn value(&mut self, node: &'n Node) -> Result<Value, String> {
        self.left = self.left.checked_sub(1).ok_or("its aliases expand to too many values")?;
        match &node.kind {
            Kind::Scalar(text, style) => Ok(scalar(text, *style, node.tag.as_deref())),
            Kind::Seq { items, .. } => {
                items.iter().map(|item| self.value(item)).collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Kind::Map { entries, .. } => self.map(entries).map(Value::Object),
            Kind::Alias(anchor) => {
                let target = *self.anchors.get(anchor).ok_or_else(|| format!("line {}: unknown anchor", node.line))?;
                if self.open.contains(anchor) {
                    return Err(format!("line {}: the alias refers to a node that contains it", node.line));
                }
                self.open.push(*anchor);
                let value = self.value(target);
                self.open.pop();
                value
            }
        }
    }

    fn map(&mut self, entries: &'n [(Node, Node)]) -> Result<Map<String, Value>, String> {
        let mut merged = Map::new();
        let mut own = Map::new();
        for (key, value) in entries {
            let is_merge = matches!(&key.kind, Kind::Scalar(text, ScalarStyle::Plain) if text == "<<");
            let value = self.value(value)?;
            if is_merge {
                merge(value, &mut merged).ok_or_else(|| format!("line {}: << needs a mapping", key.line))?;
                continue;
            }
            let name = match self.value(key)? {
                Value::String(name) => name,
                Value::Null => "null".to_owned(),
                other => other.to_string(),
            };
            own.insert(name, value);
        }
        // Explicit keys override merged ones.
        merged.extend(own);
        Ok(merged)
    }
}

/// If several merged mappings have a key, the first one applies.
fn merge(value: Value, into: &mut Map<String, Value>) -> Option<()> {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                into.entry(key).or_insert(value);
            }
            Some(())
        }
        Value::Array(maps) => maps.into_iter().try_for_each(|map| merge(map, into)),
        _ => None,
    }
}

/// A scalar as goyaml v2 resolves it (`resolve` in gopkg.in/yaml.v2/resolve.go).
fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Value {
    let core = |name: &str| tag.is_some_and(|tag| tag.trim_start_matches('!').ends_with(name) && tag.contains(name));
    if core("str") || core("binary") || (style != ScalarStyle::Plain && tag.is_none()) {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let radix = [("0x", 16), ("0b", 2), ("0o", 8)].into_iter().find_map(|(prefix, radix)| {
        let rest = lower.strip_prefix(prefix)?;
        u64::from_str_radix(rest, radix).ok()
    });
    let octal = || {
        let rest = lower.strip_prefix('0').filter(|rest| !rest.is_empty())?;
        u64::from_str_radix(rest, 8).ok()
    };
    let decimal = || if lower.starts_with('0') && lower.len() > 1 { None } else { lower.parse::<u64>().ok() };
    let unsigned = |digits: &str| digits.starts_with(|c: char| c.is_ascii_digit());
    if unsigned(&lower)
        && let Some(whole) = radix.or_else(octal).or_else(decimal)
    {
        return if negative { i64::try_from(whole).ok().map(|whole| (-whole).into()) } else { Some(whole.into()) };
    }
    let float = |c: char| c.is_ascii_digit() || ".eE+-".contains(c);
    if !digits.chars().all(float) || !digits.contains(|c: char| c.is_ascii_digit()) || digits.starts_with(['+', '-']) {
        return None;
    }
    Number::from_f64(plain.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::yaml::parse;

    #[test]
    fn values_as_kubernetes_reads_them() {
        // Right column: the value in kube-proxy 1.20.2, from its error messages and --write-config-to.
        for (yaml, value) in [
            ("True", json!(true)),
            ("on", json!(true)),
            ("Y", json!(true)),
            ("n", json!(false)),
            ("tRUE", json!("tRUE")),
            ("'true'", json!("true")),
            ("!!str true", json!("true")),
            ("!!bool true", json!(true)),
            ("014", json!(12)),
            ("0x0e", json!(14)),
            ("1_4", json!(14)),
            ("14.0", json!(14.0)),
            ("-1", json!(-1)),
            ("30s", json!("30s")),
            ("127.0.0.1:10249", json!("127.0.0.1:10249")),
            ("127.0.0.1", json!("127.0.0.1")),
            ("1:30", json!("1:30")),
            ("2001-12-14", json!("2001-12-14")),
            ("~", json!(null)),
            ("", json!(null)),
            ("'30'", json!("30")),
            ("-", json!([null])),
        ] {
            let documents = parse(&format!("a: {yaml}\n").replace("a: -\n", "a:\n-\n")).expect("YAML");
            assert_eq!(documents[0].resolve().expect("resolves")["a"], value, "{yaml}");
        }
    }

    #[test]
    fn aliases_and_merges() {
        let of = |text: &str| parse(text).expect("YAML")[0].resolve();
        assert_eq!(of("x: &a {b: 1}\nz: *a\n").expect("resolves")["z"], json!({"b": 1}));
        assert_eq!(of("x: &a {b: 1, c: 2}\nz:\n  <<: *a\n  b: 3\n").expect("resolves")["z"], json!({"b": 3, "c": 2}));
        assert_eq!(of("a: 1\na: 2\n").expect("resolves")["a"], json!(2));
        assert!(of("x: &a 1\nz:\n  <<: *a\n").is_err());
    }

    #[test]
    fn expanding_aliases_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(parse(&text).expect("YAML")[0].resolve().is_err());
    }
}
