//! Escaping of untrusted text that is written to a terminal, an Event or a log: names, versions, images, reasons, log
//! lines, a node's answers, file contents, error bodies.
//!
//! A terminal executes escape sequences, and bidirectional characters can make a line look like another. Neither may pass:
//! [`foreign`] is for a text within a message, [`visible`] for everything that is printed.

use std::borrow::Cow;

/// The limit for a foreign text in a message, in characters.
const LONGEST: usize = 300;

/// One line of at most 300 characters: line ends become `; `, control and bidirectional characters are shown as escapes,
/// and truncation is marked.
pub fn foreign(text: &str) -> String {
    shortened(text, LONGEST)
}

/// Like [`foreign`], with another limit in characters.
pub fn shortened(text: &str, limit: usize) -> String {
    // Escaping only makes it longer, so more characters than this are never needed.
    let mut characters = text.trim().chars();
    let mut line = String::new();
    let mut length = 0;
    let mut gap = false;
    for character in characters.by_ref() {
        if matches!(character, '\n' | '\r') {
            gap = true;
            continue;
        }
        let before = if std::mem::take(&mut gap) && !line.is_empty() { "; " } else { "" };
        let shown = shown(character);
        length += before.len() + shown.as_ref().map_or(1, String::len);
        if length > limit {
            line.push_str("...");
            return line;
        }
        line.push_str(before);
        match shown {
            Some(escape) => line.push_str(&escape),
            None => line.push(character),
        }
    }
    line
}

/// The text with control and bidirectional characters shown as escapes; line ends are kept.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(|character| character == '\n' || shown(character).is_none()) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match shown(character).filter(|_| character != '\n') {
            Some(escape) => safe.push_str(&escape),
            None => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// JSON with the characters that a terminal interprets written as JSON escapes.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    // serde_json itself escapes characters below a space within strings; between strings there are spaces and line ends.
    if json.chars().all(|character| character < ' ' || shown(character).is_none()) {
        return Cow::Borrowed(json);
    }
    let escaped = |character: char| {
        let mut units = [0; 2];
        character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        if character >= ' ' && shown(character).is_some() {
            safe.push_str(&escaped(character));
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// A report whose texts are all [`visible`]: for YAML, where escapes work only in some kinds of quotes.
pub fn visible_texts(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(visible(&text).into_owned()),
        Value::Array(values) => Value::Array(values.into_iter().map(visible_texts).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, visible_texts(value))).collect())
        }
        other => other,
    }
}

/// The replacement of a character that must not be printed.
fn shown(character: char) -> Option<String> {
    let hidden = matches!(character,
        // Bidirectional controls and isolates (UAX 9), marks, and other zero-width characters.
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        // Line and paragraph separators; annotations; tags.
        | '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    match character {
        '\t' => Some(" ".to_owned()),
        _ if character.is_control() && u32::from(character) < 0x100 => Some(format!("\\x{:02x}", u32::from(character))),
        _ if hidden || character.is_control() => Some(format!("\\u{{{:x}}}", u32::from(character))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_texts() {
        for (text, expected) in [
            ("kube-proxy", "kube-proxy"),
            ("  v1.30.1\n", "v1.30.1"),
            ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
            ("<html>\r\n<head>\n\n502 Bad Gateway", "<html>; <head>; 502 Bad Gateway"),
            ("ok\rnode-1: ipvs verified", "ok; node-1: ipvs verified"),
            ("image\u{202e}gpj.exe", "image\\u{202e}gpj.exe"),
            ("\u{9b}31mred", "\\x9b31mred"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("a\tb", "a b"),
            ("Köln 日本", "Köln 日本"),
            ("", ""),
        ] {
            assert_eq!(foreign(text), expected);
        }
        let long = foreign(&"x".repeat(5000));
        assert!(long.chars().count() == LONGEST + 3 && long.ends_with("x..."));
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e} \x1b[2J \u{e0041} ä\n", "b": ["\u{7f}"]});
        let json = serde_json::to_string_pretty(&value).unwrap();
        let safe = visible_json(&json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        assert!(safe.chars().all(|character| character == '\n' || shown(character).is_none()), "{safe}");
    }

    proptest! {
        #[test]
        fn no_hidden_character_passes(text in any::<String>()) {
            let line = foreign(&text);
            prop_assert!(line.chars().all(|character| shown(character).is_none()));
            prop_assert!(line.chars().count() <= LONGEST + 1);
            let safe = visible(&text);
            prop_assert!(safe.chars().all(|character| character == '\n' || shown(character).is_none()));
            prop_assert_eq!(safe.matches('\n').count(), text.matches('\n').count());
        }
    }
}
