//! Bootstrap tokens and certificate keys: their format and sources. They never appear in a message.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use crate::bounded::read_named_text;

/// The environment variable that can hold the bootstrap token.
pub const TOKEN_VARIABLE: &str = "KPX_PREP_TOKEN";
/// The environment variable that can hold the certificate key.
pub const CERTIFICATE_KEY_VARIABLE: &str = "KPX_PREP_CERTIFICATE_KEY";
/// All of them; they must not be passed to other programs.
pub const VARIABLES: [&str; 2] = [TOKEN_VARIABLE, CERTIFICATE_KEY_VARIABLE];
/// Their values from the environment.
static FROM_ENVIRONMENT: OnceLock<Vec<(&str, String)>> = OnceLock::new();

/// Removes the secrets from the environment, so that child processes do not get them, and makes this process not readable
/// by other processes of this user, because `/proc/PID/environ` still has the initial environment.
///
/// Must be called once, by `main`, before a second thread is started.
pub fn hide() {
    let held = VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let _ = FROM_ENVIRONMENT.set(held.collect());
    for name in VARIABLES {
        // SAFETY: there is only one thread, so nothing reads the environment at the same time.
        #[expect(unsafe_code, reason = "the environment is shared by all threads")]
        unsafe {
            std::env::remove_var(name);
        }
    }
    // A kubeconfig's tokens are in memory too. If the kernel refuses, only this protection is missing.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// A secret from the environment, also after [`hide`].
pub fn from_environment(name: &str) -> Option<String> {
    match FROM_ENVIRONMENT.get() {
        Some(held) => held.iter().find(|(held, _)| *held == name).map(|(_, value)| value.clone()),
        None => std::env::var(name).ok(),
    }
}

/// The token in kubeadm's documentation and `kubeadm config print init-defaults`.
pub const EXAMPLE_TOKEN: &str = "abcdef.0123456789abcdef";

/// A text that is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the config that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret as given on the command line: not checked yet, and not printed either.
#[derive(Clone, PartialEq, Eq)]
pub struct Unchecked(pub String);

impl fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unchecked(…)")
    }
}

impl From<String> for Unchecked {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// The kinds of secret in a kubeadm config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[a-z0-9]{6}.[a-z0-9]{16}` (k8s.io/cluster-bootstrap).
    Token,
    /// An AES-256 key: 64 hexadecimal digits.
    CertificateKey,
}

impl Kind {
    /// Checks the format.
    ///
    /// # Errors
    /// The expected format, without the given text.
    pub fn parse(self, text: &str) -> Result<Secret, &'static str> {
        let small = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let valid = match self {
            Self::Token => text
                .split_once('.')
                .is_some_and(|(id, secret)| id.len() == 6 && secret.len() == 16 && small(id) && small(secret)),
            Self::CertificateKey => text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        };
        if valid { Ok(Secret(text.to_owned())) } else { Err(self.format()) }
    }

    fn format(self) -> &'static str {
        match self {
            Self::Token => {
                "not a bootstrap token: expected 6 characters, a dot and 16 characters, each a-z or 0-9 (generate one with kubeadm token generate)"
            }
            Self::CertificateKey => {
                "not a certificate key: expected 64 hexadecimal digits (generate one with kubeadm certs certificate-key)"
            }
        }
    }

    /// Reads it from a file; surrounding white space is ignored.
    ///
    /// # Errors
    /// If the file cannot be read or its content has another format.
    pub fn read(self, file: &Path) -> Result<Secret, String> {
        let text = read_named_text(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
        self.parse(text.trim()).map_err(|error| format!("{}: {error}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let key = "0123456789abcdefABCDEF0123456789abcdefABCDEF01234567890123456789";
        assert!(Kind::Token.parse("07401b.f395accd246ae52d").is_ok());
        assert!(Kind::CertificateKey.parse(key).is_ok());
        for text in [
            "",
            "07401b",
            "07401b.f395accd246ae52",
            "07401B.f395accd246ae52d",
            "07401b.f395accd246ae52d ",
            "074é.f395accd246ae52d",
        ] {
            assert!(Kind::Token.parse(text).is_err(), "{text}");
        }
        for text in ["", &key[1..], &key.replace('0', "g"), &format!("{key}00")] {
            assert!(Kind::CertificateKey.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Kind::Token.parse(EXAMPLE_TOKEN).unwrap();
        assert!(!format!("{secret:?}").contains("abcdef"));
    }
}
