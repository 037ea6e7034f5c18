//! A problem of a field.

/// A field that kube-proxy does not accept: it exits at its next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedField {
    /// The field, such as `ipvs.strictARP`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl std::fmt::Display for RefusedField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
