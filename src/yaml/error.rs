//! Why an edit was refused. The text is unchanged in every case.

/// A refused edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not YAML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// The parser's message.
        message: String,
    },
    /// A line ends with a character other than a line feed, which not every reader accepts.
    #[error(
        "line {line}: contains {character:?}, which only some readers treat as a line end; use line feeds (in a quoted string, use an escape)"
    )]
    LineEnds {
        /// The line, counted from 1 by line feeds.
        line: usize,
        /// The character.
        character: char,
    },
    /// The document does not exist.
    #[error("there is no document {index} (counted from 0): the text has {count}")]
    NoDocument {
        /// The requested document, counted from 0.
        index: usize,
        /// The number of documents.
        count: usize,
    },
    /// A parent of the key is not a mapping.
    #[error("line {line}: {path} is not a mapping, so no key can be set in it")]
    NotAMapping {
        /// The keys up to the place, joined by dots.
        path: String,
        /// Its line, counted from 1.
        line: usize,
    },
    /// A duplicate key; which one applies depends on the reader.
    #[error("line {second}: duplicate key {path} (first at line {first}); remove one of them")]
    DuplicateKey {
        /// The key with the keys above it.
        path: String,
        /// Line of the first.
        first: usize,
        /// Line of the second.
        second: usize,
    },
    /// A parent of the key is an alias, whose anchor is used elsewhere too.
    #[error("line {line}: {path} is an alias, and editing its anchor would change other places; write the value out")]
    Alias {
        /// The keys up to the place.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value carries an anchor that other places use.
    #[error("line {line}: {path} has an anchor that other places use, so they would change too; write the value out")]
    SharedAnchor {
        /// The keys up to the place.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The key may come from a merge (`<<`).
    #[error(
        "line {line}: {path} has a merge key (<<), so the effect of a new key is not known; write the merged keys out"
    )]
    MergeKey {
        /// The keys up to the mapping.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value is a block scalar (`|` or `>`).
    #[error("line {line}: {path} is a block scalar, which cannot be edited; write it on one line")]
    BlockScalar {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value has a tag.
    #[error("line {line}: {path} has a tag, which may not match the new value; remove the tag")]
    Tagged {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value to replace contains comments.
    #[error("line {line}: {path} contains comments that would be lost; edit it manually")]
    CommentInside {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The text ends in a block scalar without a line end: a line end added to it would belong to the value.
    #[error(
        "line {line}: the text ends in a block scalar without a line end, so appending would change its value; add a line end"
    )]
    OpenEnd {
        /// The last line, counted from 1.
        line: usize,
    },
    /// The edited text, parsed again, differs in more than the key, or not as intended.
    #[error("{path} cannot be set without changing something else; edit the file manually")]
    NotVerified {
        /// The key with the keys above it.
        path: String,
    },
}
