//! A YAML text as nodes with their places. Nothing is resolved: no types, no aliases, no merges, and duplicate keys are
//! kept.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle as Style, Span, StructureStyle};

use super::error::EditError;

/// One document of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its content; an empty plain scalar if it is empty.
    pub root: Node,
    /// Its first line, counted from 1.
    pub line: usize,
    /// The start of its content, after its `---`.
    pub(super) start: usize,
}

/// A node and its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its kind.
    pub kind: Kind,
    /// The bytes of its content, without tag and anchor. Empty if nothing is written.
    /// A block collection ends with the content of its last child.
    pub span: Range<usize>,
    /// The line of its first byte, counted from 1.
    pub line: usize,
    /// The number of its anchor in the text, 0 if it has no anchor.
    pub(super) anchor: usize,
    /// Its tag, written out.
    pub(super) tag: Option<String>,
}

/// The kind of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A scalar: its text after escapes and folding, and how it was written.
    Scalar(String, ScalarStyle),
    /// A sequence.
    Seq {
        /// Written as `[…]`.
        flow: bool,
        /// Its items.
        items: Vec<Node>,
    },
    /// A mapping.
    Map {
        /// Written as `{…}`.
        flow: bool,
        /// Its keys and values.
        entries: Vec<(Node, Node)>,
    },
    /// An alias of the anchor with this number.
    Alias(usize),
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarStyle {
    /// Without quotes.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|` or `>`
    Block,
}

impl Node {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// Whether it is empty, `null` or `~`.
    pub fn is_null(&self) -> bool {
        let null = |text: &str| matches!(text, "" | "~" | "null" | "Null" | "NULL");
        matches!(&self.kind, Kind::Scalar(text, ScalarStyle::Plain) if null(text)) && self.tag.is_none()
    }

    /// The entries of a mapping; empty for other kinds.
    pub fn entries(&self) -> &[(Node, Node)] {
        match &self.kind {
            Kind::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; empty for other kinds.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            Kind::Seq { items, .. } => items,
            _ => &[],
        }
    }

    /// The value at this path of keys; the first one of duplicates.
    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        let Some((key, rest)) = path.split_first() else {
            return Some(self);
        };
        let (_, value) = self.entries().iter().find(|(k, _)| k.text() == Some(key))?;
        value.get(rest)
    }

    /// Whether it, or anything in it, is an alias of this anchor.
    pub(super) fn uses_anchor(&self, anchor: usize) -> bool {
        match &self.kind {
            Kind::Alias(of) => *of == anchor,
            Kind::Scalar(..) => false,
            Kind::Seq { items, .. } => items.iter().any(|item| item.uses_anchor(anchor)),
            Kind::Map { entries, .. } => {
                entries.iter().any(|(key, value)| key.uses_anchor(anchor) || value.uses_anchor(anchor))
            }
        }
    }

    /// Whether both have the same content and style, regardless of their place.
    pub(super) fn same(&self, other: &Self) -> bool {
        let content = match (&self.kind, &other.kind) {
            (Kind::Seq { flow: a, items: x }, Kind::Seq { flow: b, items: y }) => {
                a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.same(y))
            }
            (Kind::Map { flow: a, entries: x }, Kind::Map { flow: b, entries: y }) => {
                let pairs = || x.iter().zip(y);
                a == b && x.len() == y.len() && pairs().all(|(x, y)| x.0.same(&y.0) && x.1.same(&y.1))
            }
            (a, b) => a == b,
        };
        content && self.anchor == other.anchor && self.tag == other.tag
    }
}

/// Every document of a text. An empty text has none; an empty document between markers is included.
///
/// # Errors
/// [`EditError::Syntax`] if the text is not YAML.
pub fn parse(text: &str) -> Result<Vec<Document>, EditError> {
    Ok(parse_with_comments(text)?.0)
}

/// Like [`parse`], with the text of every comment.
pub(super) fn parse_with_comments(text: &str) -> Result<(Vec<Document>, Vec<String>), EditError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), comments: Vec::new() };
    let mut documents = Vec::new();
    while let Some((event, span)) = reader.next()? {
        if let Event::DocumentStart(..) = event {
            let first = reader.need()?;
            documents.push(Document { root: reader.node(first)?, line: span.start.line(), start: bytes(&span).end });
        }
    }
    Ok((documents, reader.comments))
}

struct Reader<'t> {
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    comments: Vec<String>,
}

type Spanned<'t> = (Event<'t>, Span);

impl<'t> Reader<'t> {
    /// The next event that is not a comment.
    fn next(&mut self) -> Result<Option<Spanned<'t>>, EditError> {
        for event in self.parser.by_ref() {
            let (event, span) = event.map_err(|error| EditError::Syntax {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                message: error.info(),
            })?;
            match event {
                Event::Comment(text, _) => self.comments.push(text.into_owned()),
                event => return Ok(Some((event, span))),
            }
        }
        Ok(None)
    }

    fn need(&mut self) -> Result<Spanned<'t>, EditError> {
        self.next()?.ok_or_else(|| EditError::Syntax {
            line: 1,
            column: 1,
            message: "unexpected end of the text".to_owned(),
        })
    }

    fn node(&mut self, (event, span): Spanned<'t>) -> Result<Node, EditError> {
        let mut range = bytes(&span);
        let (kind, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = match style {
                    Style::Plain => ScalarStyle::Plain,
                    Style::SingleQuoted => ScalarStyle::SingleQuoted,
                    Style::DoubleQuoted => ScalarStyle::DoubleQuoted,
                    Style::Literal | Style::Folded => ScalarStyle::Block,
                };
                // The parser returns "~" for a missing value.
                let absent = range.is_empty() && style == ScalarStyle::Plain;
                let text = if absent { String::new() } else { text.into_owned() };
                (Kind::Scalar(text, style), anchor, tag)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let mut items: Vec<Node> = Vec::new();
                let end = loop {
                    match self.need()? {
                        (Event::SequenceEnd, end) => break end,
                        item => items.push(self.node(item)?),
                    }
                };
                let last = items.last().map(|item| item.span.end);
                range.end = if flow { bytes(&end).end } else { last.unwrap_or(range.end).max(range.end) };
                (Kind::Seq { flow, items }, anchor, tag)
            }
            Event::MappingStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let mut entries: Vec<(Node, Node)> = Vec::new();
                let end = loop {
                    match self.need()? {
                        (Event::MappingEnd, end) => break end,
                        key => {
                            let key = self.node(key)?;
                            let value = self.need()?;
                            entries.push((key, self.node(value)?));
                        }
                    }
                };
                let last = entries.last().map(|(key, value)| key.span.end.max(value.span.end));
                range.end = if flow { bytes(&end).end } else { last.unwrap_or(range.end).max(range.end) };
                (Kind::Map { flow, entries }, anchor, tag)
            }
            Event::Alias(anchor) => (Kind::Alias(anchor), 0, None),
            _ => (Kind::Scalar(String::new(), ScalarStyle::Plain), 0, None),
        };
        Ok(Node {
            kind,
            span: range,
            line: span.start.line(),
            anchor,
            tag: tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix())),
        })
    }
}

/// The parser returns byte offsets for every event of a `str`.
fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}
