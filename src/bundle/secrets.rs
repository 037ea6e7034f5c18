//! Removes secrets from text: tokens, keys, passwords. kpx-prep collects nothing that holds them by intention; logs and error
//! messages of other programs may.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_lite::{Captures, Regex};

/// What is written in place of a secret, as by `kubectl config view`.
pub const REMOVED: &str = "REDACTED";

/// The names of fields that hold a secret, or how they end.
macro_rules! fields {
    () => {
        concat!(
            "token|passw(?:or)?d|passphrase|secret|credentials?|api[-_]?key|private[-_]?key|",
            "access[-_]?key|certificate[-_]?key|(?:key|certificate|certificate[-_]authority|ca)[-_]data"
        )
    };
}

/// A name of such a field.
static FIELD: LazyLock<Regex> = LazyLock::new(|| compiled(concat!("(?i)(?:", fields!(), ")$")));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("internal error: {error}"))
}

/// Whether a field of this name holds a secret.
pub fn names_a_secret(field: &str) -> bool {
    FIELD.is_match(field)
}

/// Each with the secret as its last group, and what stays before it as its first.
static SECRETS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let all = [
        // PEM: keys; certificates too, because they name machines and organizations. Also cut off before its end.
        r"()(-----BEGIN [A-Z0-9 ]+-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z0-9 ]+-----)?)",
        // The user and password of a URL.
        r"([A-Za-z][A-Za-z0-9+.-]*://)([^\s/@]+)@",
        // HTTP's Authorization, and its schemes elsewhere.
        r"(?i)(\b(?:bearer|basic)\s+)([A-Za-z0-9._~+/=-]{8,})",
        // JSON Web Tokens, such as those of service accounts.
        r"()(\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?)",
        // Bootstrap tokens (k8s.io/cluster-bootstrap).
        r"()(\b[a-z0-9]{6}\.[a-z0-9]{16}\b)",
        // Access keys of AWS.
        r"()(\b(?:AKIA|ASIA)[A-Z0-9]{16}\b)",
        // Fields by their name, in YAML, JSON, flags, and structured logs.
        concat!(r#"(?i)((?:"#, fields!(), r#")["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s"',;}\]]+)"#),
        // A key of kubeadm, and other keys in hexadecimal: not a digest, which has its algorithm before it.
        r"((?:sha256:)?)(\b[0-9a-fA-F]{64}\b)",
    ];
    all.map(compiled).into()
});

/// The text without what looks like a secret.
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut kept = Cow::Borrowed(text);
    for pattern in SECRETS.iter() {
        if let Cow::Owned(changed) = pattern.replace_all(&kept, replaced) {
            kept = Cow::Owned(changed);
        }
    }
    kept
}

fn replaced(found: &Captures<'_>) -> String {
    let (all, before, secret) = (&found[0], &found[1], &found[2]);
    if before == "sha256:" || is_no_secret(secret) {
        return all.to_owned();
    }
    let quote = secret.chars().next().filter(|quote| matches!(quote, '"' | '\'') && secret.len() > 1);
    let quote = quote.map(String::from).unwrap_or_default();
    let after = &all[before.len() + secret.len()..];
    format!("{before}{quote}{REMOVED}{quote}{after}")
}

/// Values of such fields that say something and hide nothing.
fn is_no_secret(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'']);
    value.is_empty() || matches!(value, "true" | "false" | "null" | "none" | "<nil>" | "{}" | "[]" | REMOVED)
}
