//! Editing one key: find the place, splice, parse again, compare.

use std::ops::Range;

use super::error::EditError;
use super::line_ends::check_line_ends;
use super::place::{Place, Style, after_colon, column, indent_step, line_end, line_ending, line_start, locate};
use super::scalar::{quoted, scalar, single_quoted};
use super::second_reader;
use super::tree::{Kind, Node, ScalarStyle, parse_with_comments};
use super::value::Value;
use super::verify::{matches, nested, only_changed};

/// Bytes to replace, and their replacement.
type Splice = (Range<usize>, String);

/// Sets the value of a key, in place or inserted, and keeps every other byte of the text.
///
/// `document` counts from 0 as [`parse`](super::parse) does; `path` has the parent mappings and the key, which are
/// created if missing. If the value is already set, the text is not changed. New keys follow the indentation, line
/// endings and style (block, flow, JSON) of the surrounding text.
///
/// ```
/// use kpx_prep::yaml::{Value, set};
/// let text = "kind: KubeProxyConfiguration\nmode: \"\"   # default\n";
/// assert_eq!(
///     set(text, 0, &["mode"], &Value::from("ipvs"))?,
///     "kind: KubeProxyConfiguration\nmode: \"ipvs\"   # default\n"
/// );
/// # Ok::<(), kpx_prep::yaml::EditError>(())
/// ```
///
/// # Errors
/// Every [`EditError`]: the text is not YAML, the place cannot be edited without changing something else, or
/// verification found another difference than this key.
pub fn set(text: &str, document: usize, path: &[&str], value: &Value) -> Result<String, EditError> {
    check_line_ends(text)?;
    let (documents, comments) = parse_with_comments(text)?;
    let count = documents.len();
    let root = &documents.get(document).ok_or(EditError::NoDocument { index: document, count })?.root;
    let editor = Editor { text, root, path, value };
    let attempts = match locate(root, path)? {
        Place::Found { node, .. } if matches(node, value) => return Ok(text.to_owned()),
        Place::Found { key, node, style } => editor.replace(key, node, style)?,
        Place::Null { key, node, style, rest } => {
            vec![editor.fill(key, node, style, &nested(rest, value))]
        }
        Place::Missing { map, style, rest } => editor.insert(map, style, rest),
    };
    let mut lost_comment = false;
    for splices in attempts {
        let (edited, spliced) = apply(text, splices);
        match parse_with_comments(&edited) {
            Ok((new, kept))
                if only_changed(&documents, &new, document, path, value)
                    && second_reader::only_changed(text, &edited, document, path, value)
                    && second_reader::ends_keys_everywhere(&edited, &spliced) =>
            {
                if kept == comments {
                    return Ok(edited);
                }
                lost_comment = true;
            }
            _ => {}
        }
    }
    let path = path.join(".");
    Err(match locate(root, editor.path)? {
        Place::Found { node, .. } if lost_comment => EditError::CommentInside { path, line: node.line },
        _ => EditError::NotVerified { path },
    })
}

/// The edited text, and the position of the new bytes in it.
fn apply(text: &str, mut splices: Vec<Splice>) -> (String, Vec<Range<usize>>) {
    splices.sort_by_key(|(range, _)| range.start);
    let mut edited = String::with_capacity(text.len());
    let (mut places, mut rest) = (Vec::new(), 0);
    for (range, new) in splices {
        edited.push_str(&text[rest..range.start]);
        let start = edited.len();
        edited.push_str(&new);
        places.push(start..edited.len());
        rest = range.end;
    }
    edited.push_str(&text[rest..]);
    (edited, places)
}

struct Editor<'a> {
    text: &'a str,
    root: &'a Node,
    path: &'a [&'a str],
    value: &'a Value,
}

impl Editor<'_> {
    /// Ways to replace an existing value.
    fn replace(&self, key: Option<&Node>, node: &Node, style: Style) -> Result<Vec<Vec<Splice>>, EditError> {
        let path = || self.path.join(".");
        let string = matches!(self.value, Value::Str(_));
        if let Some(tag) = &node.tag
            && !(string && tag.ends_with(":str") && node.text().is_some())
        {
            return Err(EditError::Tagged { path: path(), line: node.line });
        }
        let collection = matches!(self.value, Value::Seq(_) | Value::Map(_));
        match (&node.kind, key) {
            (Kind::Scalar(_, ScalarStyle::Block), _) => Err(EditError::BlockScalar { path: path(), line: node.line }),
            (Kind::Scalar(..) | Kind::Alias(_), Some(key)) if collection => {
                Ok(vec![self.fill(key, node, style, self.value)])
            }
            (Kind::Scalar(_, old), Some(key)) => {
                let new = match (self.value, old) {
                    (Value::Str(text), ScalarStyle::DoubleQuoted) => quoted(text),
                    (Value::Str(text), _) if style.json => quoted(text),
                    (Value::Str(text), ScalarStyle::SingleQuoted) => {
                        single_quoted(text).unwrap_or_else(|| quoted(text))
                    }
                    (value, _) => value.to_flow(style.json),
                };
                let properties = node.tag.is_some() || node.anchor != 0;
                let splice = match after_colon(self.text, key) {
                    Some(colon) if node.span.is_empty() && !properties => (colon..colon, format!(" {new}")),
                    _ if node.span.is_empty() => (node.span.clone(), format!(" {new}")),
                    _ => (node.span.clone(), new),
                };
                Ok(vec![vec![splice]])
            }
            (Kind::Seq { flow: true, .. } | Kind::Map { flow: true, .. } | Kind::Alias(_), _) => {
                Ok(vec![vec![(node.span.clone(), self.value.to_flow(style.json))]])
            }
            (Kind::Seq { .. } | Kind::Map { .. }, Some(key)) => {
                let colon = after_colon(self.text, key);
                let on_the_key = colon.map(|colon| (colon..node.span.end, format!(" {}", self.value.to_flow(false))));
                let indent = format!("{}{}", line_ending(self.text), " ".repeat(column(self.text, node.span.start)));
                let lines = self.value.block_lines(indent_step(self.text, self.root)).join(&indent);
                let in_place = (node.span.clone(), lines);
                let one_line = !collection || self.value.is_empty();
                Ok(if one_line { on_the_key.into_iter().map(|s| vec![s]).collect() } else { vec![vec![in_place]] })
            }
            (_, None) => Err(EditError::NotAMapping { path: "the document".to_owned(), line: node.line }),
        }
    }

    /// Replaces an empty value or a scalar with a collection.
    fn fill(&self, key: &Node, node: &Node, style: Style, value: &Value) -> Vec<Splice> {
        let colon = after_colon(self.text, key).unwrap_or(key.span.end);
        let absent = node.span.is_empty();
        if style.flow || value.is_empty() {
            let new = value.to_flow(style.json);
            return vec![if absent { (colon..colon, format!(" {new}")) } else { (node.span.clone(), new) }];
        }
        let step = indent_step(self.text, self.root);
        let below = if matches!(value, Value::Map(_)) { step } else { 0 };
        let indent = format!("{}{}", line_ending(self.text), " ".repeat(column(self.text, key.span.start) + below));
        let end = line_end(self.text, node.span.end.max(colon));
        let lines = format!("{indent}{}", value.block_lines(step).join(&indent));
        let mut splices = vec![(end..end, lines)];
        if !absent {
            splices.push((colon..node.span.end, String::new()));
        }
        splices
    }

    /// Ways to insert a new key into a mapping.
    fn insert(&self, map: &Node, style: Style, rest: &[&str]) -> Vec<Vec<Splice>> {
        let Some((name, below)) = rest.split_first() else {
            return Vec::new();
        };
        let value = nested(below, self.value);
        if style.flow {
            return self.insert_in_flow(map, style, name, &value);
        }
        let Some((first, _)) = map.entries().first() else {
            return Vec::new();
        };
        let ending = line_ending(self.text);
        let indent = " ".repeat(column(self.text, first.span.start));
        let lines = value.entry_lines(name, indent_step(self.text, self.root)).join(&format!("{ending}{indent}"));
        // After the last line of this mapping …
        let content = self.text[..map.span.end].trim_end_matches([' ', '\t', '\r', '\n']).len();
        let end = line_end(self.text, content);
        let mut ways = vec![vec![(end..end, format!("{ending}{indent}{lines}"))]];
        // … or, if empty lines of a block scalar follow, after those, or at the top.
        if self.text[..map.span.end].ends_with('\n') {
            ways.push(vec![(map.span.end..map.span.end, format!("{indent}{lines}{ending}"))]);
        }
        let top = first.span.start;
        ways.push(vec![(top..top, format!("{lines}{ending}{indent}"))]);
        ways
    }

    fn insert_in_flow(&self, map: &Node, style: Style, name: &str, value: &Value) -> Vec<Vec<Splice>> {
        let key = if style.json { quoted(name) } else { scalar(name) };
        let entry = format!("{key}: {}", value.to_flow(style.json));
        let Some((last_key, last)) = map.entries().last() else {
            let inside = map.span.start + 1;
            return vec![vec![(inside..inside, entry)]];
        };
        let colon = after_colon(self.text, last_key).unwrap_or(0);
        let end = last.span.end.max(last_key.span.end).max(colon);
        let rest = &self.text[end..map.span.end];
        let comma = rest.trim_start().starts_with(',').then(|| end + rest.find(',').unwrap_or(0) + 1);
        // Some readers treat a colon without white space after it as part of the key.
        let comma_of_its_own = if self.text[..end].ends_with(':') { " ," } else { "," };
        let (comma_at, comma) = comma.map_or((end, comma_of_its_own), |at| (at, ""));
        let indent = &self.text[line_start(self.text, last_key.span.start)..last_key.span.start];
        if indent.trim().is_empty() {
            let line = line_end(self.text, comma_at);
            let tail = self.text[comma_at..line].trim_start();
            if tail.is_empty() || tail.starts_with('#') {
                let entry = format!("{}{indent}{entry}", line_ending(self.text));
                return vec![if line == comma_at {
                    vec![(line..line, format!("{comma}{entry}"))]
                } else {
                    vec![(comma_at..comma_at, comma.to_owned()), (line..line, entry)]
                }];
            }
        }
        vec![vec![(comma_at..comma_at, format!("{comma} {entry}"))]]
    }
}
