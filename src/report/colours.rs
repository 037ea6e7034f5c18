//! Colours in the output for people.

use std::fmt::Write as _;

/// Colours the levels of findings at the start of a line.
pub(super) fn levels(text: &str) -> String {
    const COLOURS: [(&str, anstyle::AnsiColor); 3] = [
        ("error", anstyle::AnsiColor::Red),
        ("warning", anstyle::AnsiColor::Yellow),
        ("info", anstyle::AnsiColor::Cyan),
    ];
    let mut coloured = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let level = COLOURS.iter().find(|(word, _)| line.strip_prefix(word).is_some_and(|rest| rest.starts_with(" [")));
        match level {
            Some((word, colour)) => {
                let style = colour.on_default();
                let _ = write!(coloured, "{style}{word}{style:#}{}", &line[word.len()..]);
            }
            None => coloured.push_str(line),
        }
    }
    coloured
}
