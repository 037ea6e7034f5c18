//! Scalars that a YAML 1.1 reader and a 1.2 reader both take for the string they are.

use std::fmt::Write as _;

/// Words that some reader takes for a boolean or for null, in any case.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A string as YAML: plain where every reader takes the plain form for this string, else in double quotes.
///
/// What YAML 1.1 makes something else of and is therefore quoted: `yes`, `On`, `n`, `1_000`, `1:30`, `0o17`, `017`,
/// `.5`, `1e3`, dates, `~`, `=`, `<<` and anything with a meaning in the syntax. The rule is a list of what
/// is safe, so that a form nobody thought of ends up in quotes.
pub fn scalar(text: &str) -> String {
    if is_plain_everywhere(text) { text.to_owned() } else { quoted(text) }
}

/// A string in double quotes, with escapes that JSON has too.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What YAML does not print, or folds as a line break in 1.1. All of it lies in the basic plane.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The same in single quotes, or `None` where those cannot hold it.
pub(super) fn single_quoted(text: &str) -> Option<String> {
    text.chars()
        .all(|c| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric())
        .then(|| format!("'{}'", text.replace('\'', "''")))
}

/// Whether the text, written plain, is this string to every reader, in block and in flow style.
pub(super) fn is_plain_everywhere(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=~^-".contains(c);
    if !text.chars().all(inner) || text.ends_with(':') {
        return false;
    }
    if first.is_ascii_digit() {
        // No number, time or date of any version has a slash in it, or ends in a unit of time.
        return text.contains('/') || is_duration(text);
    }
    (first.is_ascii_alphabetic() || first == '/') && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Digits and units of time in turn, such as `1h30m`.
fn is_duration(text: &str) -> bool {
    text.ends_with(['h', 'm', 's']) && text.chars().all(|c| c.is_ascii_digit() || "hmsu.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_1_1_would_change_is_quoted() {
        for text in [
            "",
            "y",
            "Y",
            "n",
            "yes",
            "Yes",
            "NO",
            "on",
            "Off",
            "true",
            "FALSE",
            "null",
            "Null",
            "~",
            "1_000",
            "1:30",
            "12:30:45",
            "0o17",
            "017",
            "0x1f",
            "0b1",
            ".5",
            "5.",
            "1e3",
            "1.5e+3",
            "-1",
            "+1",
            ".inf",
            "-.INF",
            ".NaN",
            "2001-12-14",
            "2001-12-14t21:59:43.10-05:00",
            "=",
            "<<",
            " a",
            "a ",
            "a: b",
            "a #b",
            "#a",
            "-",
            "- a",
            "?",
            ": a",
            "a:",
            "[a]",
            "{a}",
            "a,b",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%a",
            "@a",
            "`a`",
            "'a'",
            "\"a\"",
            "a\nb",
            "a\tb",
            "\u{85}",
            "\u{feff}a",
            "---",
            "...",
            "10.0.0.1",
            "1.36",
            "é",
            "1234567890123456",
            "12e45678",
            "_1",
        ] {
            let written = scalar(text);
            assert!(written.starts_with('"') && written.ends_with('"'), "{text:?} → {written}");
        }
    }

    #[test]
    fn what_is_safe_stays_plain() {
        for text in [
            "ipvs",
            "rr",
            "v1.36.3",
            "stable-1.36",
            "10.244.0.0/16",
            "fd00:10:244::/56",
            "1h30m",
            "30s",
            "unix:///run/containerd/containerd.sock",
            "/run/containerd.sock",
            "registry.k8s.io",
            "kubeadm.k8s.io/v1beta4",
            "k8s.example.com:6443",
            "24h0m0s",
            "1.5s",
            "system:bootstrappers",
        ] {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn quotes_escape_what_needs_it() {
        assert_eq!(quoted("a\"b\\c\n\u{7}\u{2028}é"), r#""a\"b\\c\n\u0007\u2028é""#);
        assert_eq!(single_quoted("it's"), Some("'it''s'".to_owned()));
        assert_eq!(single_quoted("a\nb"), None);
    }
}
