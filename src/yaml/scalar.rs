//! Scalars that YAML 1.1 and 1.2 readers both read as the same string.

use std::fmt::Write as _;

/// Words that some reader treats as a boolean or null, in any case.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A string as YAML: plain if every reader reads the plain form as this string, else in double quotes.
///
/// Quoted, because YAML 1.1 reads them as another type: `yes`, `On`, `n`, `1_000`, `1:30`, `0o17`, `017`, `.5`, `1e3`,
/// dates, `~`, `=`, `<<` and anything with a meaning in the syntax. The rule lists what is safe, so that any other form
/// is quoted.
pub fn scalar(text: &str) -> String {
    if is_plain_everywhere(text) { text.to_owned() } else { quoted(text) }
}

/// A string in double quotes, with escapes that JSON supports too.
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
            // Not printable in YAML, or a line break in 1.1. All are in the basic plane.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A string in single quotes, or `None` if those cannot represent it.
pub(super) fn single_quoted(text: &str) -> Option<String> {
    text.chars()
        .all(|c| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric())
        .then(|| format!("'{}'", text.replace('\'', "''")))
}

/// Whether every reader reads the plain text as this string, in block and in flow style.
pub(super) fn is_plain_everywhere(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let inner = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=~^-".contains(c);
    if !text.chars().all(inner) || text.ends_with(':') {
        return false;
    }
    if first.is_ascii_digit() {
        // No number, time or date in any YAML version contains a slash or ends in a unit of time.
        return text.contains('/') || is_duration(text);
    }
    (first.is_ascii_alphabetic() || first == '/') && !RESERVED.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Alternating digits and time units, such as `1h30m`.
fn is_duration(text: &str) -> bool {
    text.ends_with(['h', 'm', 's']) && text.chars().all(|c| c.is_ascii_digit() || "hmsu.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_what_yaml_1_1_reads_as_another_type() {
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
    fn safe_strings_are_plain() {
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
    fn quoted_strings_are_escaped() {
        assert_eq!(quoted("a\"b\\c\n\u{7}\u{2028}é"), r#""a\"b\\c\n\u0007\u2028é""#);
        assert_eq!(single_quoted("it's"), Some("'it''s'".to_owned()));
        assert_eq!(single_quoted("a\nb"), None);
    }
}
