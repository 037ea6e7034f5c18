//! The difference between two texts.

use similar::TextDiff;

/// A unified diff.
pub fn diff(name: &str, old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(2)
        .header(&format!("{name} (now)"), &format!("{name} (planned)"))
        .to_string()
}
