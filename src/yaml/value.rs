//! Values to write, in block style (one key per line) or flow style (`{a: 1}`, or JSON).

use super::scalar::{quoted, scalar};

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A string; quoted if a reader could read it as another type.
    Str(String),
    /// A sequence.
    Seq(Vec<Value>),
    /// A mapping, in this order.
    Map(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl Value {
    /// A sequence of strings.
    pub fn strings<T: AsRef<str>>(items: &[T]) -> Self {
        Self::Seq(items.iter().map(|item| item.as_ref().into()).collect())
    }

    /// Whether it is an empty sequence or mapping.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Seq(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
            Self::Bool(_) | Self::Int(_) | Self::Str(_) => false,
        }
    }

    /// The value in block style, every line with `\n`, also a single line (a scalar, `[]`).
    pub fn to_block(&self) -> String {
        let mut lines = self.block_lines(2).join("\n");
        lines.push('\n');
        lines
    }

    /// The lines of the value in block style, deeper levels indented by `step` spaces each.
    /// Sequences have the indentation of their key, as kubeadm and kubectl write them.
    pub(super) fn block_lines(&self, step: usize) -> Vec<String> {
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                entries.iter().flat_map(|(key, value)| value.entry_lines(key, step)).collect()
            }
            Self::Seq(items) if !items.is_empty() => items
                .iter()
                .flat_map(|item| {
                    let lines = item.block_lines(step).into_iter().enumerate();
                    lines.map(|(i, line)| format!("{}{line}", if i == 0 { "- " } else { "  " }))
                })
                .collect(),
            _ => vec![self.to_flow(false)],
        }
    }

    /// The lines of `key: value`.
    pub(super) fn entry_lines(&self, key: &str, step: usize) -> Vec<String> {
        let key = scalar(key);
        if self.is_empty() || !matches!(self, Self::Map(_) | Self::Seq(_)) {
            return vec![format!("{key}: {}", self.to_flow(false))];
        }
        let indent = " ".repeat(if matches!(self, Self::Map(_)) { step } else { 0 });
        let mut lines = vec![format!("{key}:")];
        lines.extend(self.block_lines(step).iter().map(|line| format!("{indent}{line}")));
        lines
    }

    /// The value on one line; as JSON, with every string and key in double quotes.
    pub fn to_flow(&self, json: bool) -> String {
        let string = |text: &str| if json { quoted(text) } else { scalar(text) };
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Str(text) => string(text),
            Self::Seq(items) => {
                let items: Vec<_> = items.iter().map(|item| item.to_flow(json)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{}: {}", string(key), value.to_flow(json))).collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}
