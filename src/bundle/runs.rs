//! Splits text into runs of the characters of names and addresses, and the rest.

/// Separators within a run.
pub(super) const SEPARATORS: [char; 4] = ['.', '-', '_', ':'];

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Letters, digits and [`SEPARATORS`] only.
    Run(&'a str),
    /// Anything else.
    Other(&'a str),
}

fn of_run(character: char) -> bool {
    character.is_ascii_alphanumeric() || SEPARATORS.contains(&character)
}

/// The parts of a text, in order; together they are the text.
pub(super) fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let is_run = of_run(rest.chars().next()?);
        let end = rest.find(|character| of_run(character) != is_run).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(if is_run { Part::Run(part) } else { Part::Other(part) })
    })
}

/// The positions in a run at which a name may begin and end: of its words between separators.
pub(super) fn words(run: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in run.char_indices().chain([(run.len(), '.')]) {
        match (SEPARATORS.contains(&character), start) {
            (true, Some(from)) => {
                words.push((from, at));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    words
}
