//! A bearer token in a file that may change, such as a pod's service account token.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderValue;

use crate::boot_clock::BootInstant;

/// After this time it is read again, as by client-go (`transport/token_source.go`).
const TOKEN_AGE: Duration = Duration::from_secs(60);

/// A bearer token in a file, which may change.
pub(super) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(BootInstant, HeaderValue)>>,
}

impl TokenFile {
    /// Not read yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The header with the token. Surrounding white space is ignored.
    ///
    /// # Errors
    /// If it cannot be read, or contains no token.
    pub(super) fn header(&self) -> Result<HeaderValue, String> {
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, header)) = read.as_ref().filter(|(since, _)| since.elapsed() < TOKEN_AGE) {
            return Ok(header.clone());
        }
        let failed = |why: String| format!("reading the token file {}: {why}", self.path.display());
        let text = match (std::fs::read_to_string(&self.path), read.as_ref()) {
            (Ok(text), _) => text,
            // It may have been removed on purpose; the last token remains valid (kubernetes/kubernetes#68164).
            (Err(_), Some((_, header))) => return Ok(header.clone()),
            (Err(error), None) => return Err(failed(error.to_string())),
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        let mut header = header.map_err(|_| failed("it does not contain a token on one line".to_owned()))?;
        header.set_sensitive(true);
        *read = Some((BootInstant::now(), header.clone()));
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_trimmed_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "abc.def\n").unwrap();
        let file = TokenFile::new(path.clone());
        assert_eq!(file.header().unwrap(), "Bearer abc.def");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.header().unwrap(), "Bearer abc.def", "the last one is still used");
        for (text, why) in
            [("", "it is empty"), (" \n", "it is empty"), ("a\nb\n", "it does not contain a token on one line")]
        {
            std::fs::write(&path, text).unwrap();
            let error = TokenFile::new(path.clone()).header().unwrap_err();
            assert!(error.ends_with(why) && error.contains(path.to_str().unwrap()), "{error}");
        }
    }
}
