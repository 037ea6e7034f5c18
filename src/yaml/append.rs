//! Appending a document to a text.

use super::error::EditError;
use super::line_ends::check_line_ends;
use super::place::line_ending;
use super::second_reader::only_added;
use super::tree::parse_with_comments;

/// Appends a document to a text, after a `---`, with the text's own line endings.
///
/// # Errors
/// If the text is not YAML, or its existing documents would change.
pub fn append_document(text: &str, document: &str) -> Result<String, EditError> {
    check_line_ends(text)?;
    let (old, comments) = parse_with_comments(text)?;
    let ending = line_ending(text);
    let document = document.replace('\n', ending);
    if old.is_empty() && text.trim().is_empty() {
        return Ok(format!("{text}{document}"));
    }
    let gap = if text.ends_with('\n') { "" } else { ending };
    let edited = format!("{text}{gap}---{ending}{document}");
    let (new, kept) = parse_with_comments(&edited)?;
    let same = old.iter().zip(&new).all(|(old, new)| old.root.same(&new.root));
    if new.len() > old.len() && same && kept.starts_with(&comments) && only_added(text, &edited) {
        Ok(edited)
    } else if !text.ends_with('\n') && !only_added(text, &edited) && only_added(&format!("{text}{ending}"), &edited) {
        Err(EditError::OpenEnd { line: text.lines().count() })
    } else {
        Err(EditError::NotVerified { path: "a new document".to_owned() })
    }
}
