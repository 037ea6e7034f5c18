//! Line ends: only a line feed is one for every reader.
//!
//! In YAML 1.1 (libyaml, and so Kubernetes' goyaml) a single carriage return and Unicode's NEL, LS and PS end a line;
//! in YAML 1.2 the last three do not, and the document splitter of kubeadm and kubectl, which looks for `---` after a
//! line feed (`k8s.io/apimachinery/pkg/util/yaml`), accepts none of them. So a comment or a value for one reader can be
//! a key or another document for another.

use super::error::EditError;

/// Refuses a text that readers split into different lines.
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
