//! Where lines end, as every reader sees it: with a line feed.
//!
//! A carriage return alone, and Unicode's NEL, LS and PS, end a line to YAML 1.1 (libyaml, and so Kubernetes' goyaml); not the
//! last three to YAML 1.2, and none of them to the splitter of documents that kubeadm and kubectl use, which looks for
//! `---` behind a line feed (`k8s.io/apimachinery/pkg/util/yaml`). So what one takes for a comment or a value is a key, or
//! another document, to the other.

use super::error::EditError;

/// Refuses a text that readers cut into other lines than each other.
///
/// # Errors
/// [`EditError::LineEnds`], with the first place.
pub fn check_line_ends(text: &str) -> Result<(), EditError> {
    let mut line = 1;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line += 1,
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => return Err(EditError::LineEnds { line, character }),
            _ => {}
        }
    }
    Ok(())
}
