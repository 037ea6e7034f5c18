//! Bootstrap tokens and certificate keys: their format, where they come from, and never in a message.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use crate::bounded::read_named_text;

/// The environment variable that can hold the bootstrap token.
pub const TOKEN_VARIABLE: &str = "KPX_PREP_TOKEN";
/// The environment variable that can hold the certificate key.
pub const CERTIFICATE_KEY_VARIABLE: &str = "KPX_PREP_CERTIFICATE_KEY";
/// All of them: no other program is to see these.
pub const VARIABLES: [&str; 2] = [TOKEN_VARIABLE, CERTIFICATE_KEY_VARIABLE];
/// What the environment held of them.
static FROM_ENVIRONMENT: OnceLock<Vec<(&str, String)>> = OnceLock::new();

/// Takes the secrets out of the environment, so that no program that is started gets them, and lets no other process of this
/// user look into this one: what the kernel keeps of the first environment (`/proc/PID/environ`) is still there.
///
/// To be called once, by `main`, before there is a second thread.
pub fn hide() {
    let held = VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let _ = FROM_ENVIRONMENT.set(held.collect());
    for name in VARIABLES {
        // SAFETY: there is only one thread, and so nobody who reads the environment at the same time.
        #[expect(unsafe_code, reason = "the environment is shared by all threads")]
        unsafe {
            std::env::remove_var(name);
        }
    }
    // Tokens of a kubeconfig are in memory as well. Where the kernel refuses, nothing is lost but this.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// A secret that the environment holds, or held before [`hide`].
pub fn from_environment(name: &str) -> Option<String> {
    match FROM_ENVIRONMENT.get() {
        Some(held) => held.iter().find(|(held, _)| *held == name).map(|(_, value)| value.clone()),
        None => std::env::var(name).ok(),
    }
}

/// The token in kubeadm's documentation and `kubeadm config print init-defaults`.
pub const EXAMPLE_TOKEN: &str = "abcdef.0123456789abcdef";

/// A text that shows itself to nobody by accident.
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

/// A secret as given on the command line, not checked yet, and not shown either.
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

/// The kinds of secret that a kubeadm config can hold.
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
    /// What the format is; not what was given.
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
                "not a bootstrap token: 6 characters, a dot and 16 characters, each a-z or 0-9 (kubeadm token generate makes one)"
            }
            Self::CertificateKey => {
                "not a certificate key: 64 hexadecimal digits (kubeadm certs certificate-key makes one)"
            }
        }
    }

    /// Reads it from a file; white space around it does not count.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn read(self, file: &Path) -> Result<Secret, String> {
        let text = read_named_text(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
        self.parse(text.trim()).map_err(|error| format!("{} holds no such thing: {error}", file.display()))
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
    fn a_secret_does_not_print_itself() {
        let secret = Kind::Token.parse(EXAMPLE_TOKEN).unwrap();
        assert!(!format!("{secret:?}").contains("abcdef"));
    }
}
