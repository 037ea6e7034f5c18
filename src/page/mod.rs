//! A report as a page for a change ticket: Markdown, or one HTML file that loads nothing (`--report FILE`).
//!
//! What a page says is a list of [`Block`]s, made from a result without side effects; the renderers escape every text, because
//! names, reasons and messages belong to others.

mod html;
mod markdown;
pub mod timeline;

use std::path::Path;

use crate::report::Finding;
use timeline::Timeline;

/// How a result is to be taken; the colour of its headline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Look at it.
    Attention,
    /// Failed.
    Bad,
}

/// A part of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// Names and values.
    Facts(Vec<(String, String)>),
    /// A table: its heads, then its rows.
    Table(Vec<String>, Vec<Vec<String>>),
    /// What checks found.
    Findings(Vec<Finding>),
    /// Text with its line ends, in a fixed-width font.
    Code(String),
    /// A unified diff.
    Diff(String),
    /// What happened when, node by node.
    Timeline(Timeline),
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The title.
    pub title: String,
    /// The result in a few words.
    pub headline: String,
    /// How the result is to be taken.
    pub tone: Tone,
    /// Its parts.
    pub blocks: Vec<Block>,
}

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFormat {
    /// `CommonMark` with tables, as forges and ticket systems render it.
    Markdown,
    /// One HTML file.
    Html,
}

impl PageFormat {
    /// By the file's ending: `.md`, `.markdown`, `.html` or `.htm`.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

impl Page {
    /// The page as a file's content.
    pub fn render(&self, format: PageFormat) -> String {
        match format {
            PageFormat::Markdown => markdown::render(self),
            PageFormat::Html => html::render(self),
        }
    }
}

#[cfg(test)]
mod tests;
