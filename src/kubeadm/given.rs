//! A text and the place that it was given at.

/// A text and where it comes from: an option, or a line and field of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Where it comes from, for messages.
    pub place: String,
    /// The text.
    pub text: String,
}

impl Given {
    /// The text of an option, if it was given.
    pub fn option(flag: &str, text: Option<&String>) -> Option<Self> {
        text.map(|text| Self { place: flag.to_owned(), text: text.clone() })
    }
}
