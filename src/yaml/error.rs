//! Why an edit was refused. Every variant leaves the text as it was.

/// An edit that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not YAML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// A line ends with something else than a line feed, which not every reader takes for an end.
    #[error(
        "line {line}: has {character:?} in it, where some readers end the line and others do not; use line feeds for line ends (in a quoted text, write an escape)"
    )]
    LineEnds {
        /// The line, counted from 1 by line feeds.
        line: usize,
        /// What is there.
        character: char,
    },
    /// There are not that many documents.
    #[error("there is no document {index} (counted from 0): the text has {count}")]
    NoDocument {
        /// The document that was asked for, counted from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// Something on the way to the key is not a mapping.
    #[error("line {line}: {path} is not a mapping, so nothing can be set in it")]
    NotAMapping {
        /// The keys up to the place, joined by dots.
        path: String,
        /// Its line, counted from 1.
        line: usize,
    },
    /// A key is there twice; which one counts depends on the reader.
    #[error("line {second}: {path} is there twice (first in line {first}); remove one of them")]
    DuplicateKey {
        /// The key with the keys above it.
        path: String,
        /// Line of the first.
        first: usize,
        /// Line of the second.
        second: usize,
    },
    /// The way to the key leads through an alias: the text it stands for is used elsewhere too.
    #[error("line {line}: {path} is an alias, and editing what it stands for would change other places; write it out")]
    Alias {
        /// The keys up to the place.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value carries an anchor that other places use.
    #[error("line {line}: {path} carries an anchor that other places use, and they would change too; write it out")]
    SharedAnchor {
        /// The keys up to the place.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The key may come from a merge (`<<`).
    #[error("line {line}: {path} has a merge key (<<), so what a new key would replace cannot be told; write it out")]
    MergeKey {
        /// The keys up to the mapping.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value is a block scalar (`|` or `>`).
    #[error("line {line}: {path} is a block scalar, which is not edited; write it on one line")]
    BlockScalar {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value has a tag.
    #[error("line {line}: {path} has a tag, which the new value may not fit; remove the tag")]
    Tagged {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The value that would be replaced has comments in it.
    #[error("line {line}: {path} has comments inside, which replacing it would lose; edit it by hand")]
    CommentInside {
        /// The key with the keys above it.
        path: String,
        /// Its line.
        line: usize,
    },
    /// The text ends in a block scalar without a line end: one behind it would belong to the value.
    #[error(
        "line {line}: the text ends in a block scalar without a line end, which adding to it would change; end the line"
    )]
    OpenEnd {
        /// The last line, counted from 1.
        line: usize,
    },
    /// The edited text, parsed again, differs in more than the key (or not as intended).
    #[error("{path} cannot be set here without changing something else; edit it by hand")]
    NotVerified {
        /// The key with the keys above it.
        path: String,
    },
}
