//! What a YAML 1.1 reader makes of a plain scalar, from the type repository at yaml.org/type and from what
//! go-yaml v2 adds (0o17, y and n), which is what kubeadm reads with. Independent of the emitter's own rule.

/// Whether a YAML 1.1 reader takes this plain scalar for a string.
pub(crate) fn reads_as_string(text: &str) -> bool {
    !(is_word(text) || is_int(text) || is_float(text) || is_time(text) || ["=", "<<"].contains(&text))
}

fn is_word(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", ""];
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Digits of a base, underscores anywhere among them.
fn digits(text: &str, base: u32) -> bool {
    text.chars().any(|c| c.is_digit(base)) && text.chars().all(|c| c == '_' || c.is_digit(base))
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

fn is_int(text: &str) -> bool {
    let text = unsigned(text);
    let based = [("0b", 2), ("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0B", 2)];
    if based.iter().any(|(prefix, base)| text.strip_prefix(prefix).is_some_and(|rest| digits(rest, *base))) {
        return true;
    }
    digits(text, 10) || is_sexagesimal(text)
}

/// `1:30`, `12:30:45.5`
fn is_sexagesimal(text: &str) -> bool {
    let (text, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    text.contains(':')
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && parts.next().is_some_and(|first| digits(first, 10))
        && parts.all(|part| !part.is_empty() && part.len() <= 2 && part.bytes().all(|b| b.is_ascii_digit()))
}

fn is_float(text: &str) -> bool {
    let text = unsigned(text);
    if [".inf", ".nan"].iter().any(|word| word.eq_ignore_ascii_case(text)) || is_sexagesimal(text) {
        return true;
    }
    let text = text.to_ascii_lowercase();
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(unsigned(exponent))),
        None => (text.as_str(), None),
    };
    // The repository's own pattern lets any number of dots in; so be it.
    mantissa.chars().any(|c| c.is_ascii_digit())
        && mantissa.chars().all(|c| c.is_ascii_digit() || c == '_' || c == '.')
        && exponent.is_none_or(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// `2001-12-14`, with or without a time of day.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let number = |part: Option<&str>, most: usize| {
        part.is_some_and(|p| !p.is_empty() && p.len() <= most && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let (year, month) = (number(parts.next(), 4), number(parts.next(), 2));
    year && month && parts.next().is_some_and(|day| day.starts_with(|c: char| c.is_ascii_digit()))
}
