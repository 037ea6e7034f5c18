//! A text and its origin.

/// A text and its origin: an option, or a line and field of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The origin, for messages.
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
