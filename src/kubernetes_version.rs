//! Kubernetes versions as users write them, and as kubeadm accepts them.
//!
//! Only the major and minor version are read. Labels such as `stable-1.36` are resolved by kubeadm itself, over the
//! network, when it runs.

use std::fmt;
use std::str::FromStr;

/// The newest Kubernetes minor version that kpx-prep was checked against.
pub const NEWEST_KNOWN_MINOR: u32 = 37;

/// The oldest minor version whose kubeadm reads an API version that kpx-prep writes (v1beta2).
pub const OLDEST_MINOR: u32 = 15;

/// A Kubernetes version, release label or CI build with a known minor version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesVersion {
    minor: u32,
    for_kubeadm: String,
}

/// Why a text is not a Kubernetes version that kpx-prep supports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// The text has none of the forms that kubeadm accepts.
    #[error("{0:?} is not a Kubernetes version; write it as 1.36, v1.36.3 or stable-1.36 (not as a range)")]
    NotAVersion(String),
    /// A label such as `stable`, which names another minor version every few months.
    #[error(
        "{0:?} has no minor version, which is needed to check the proxy mode; use for example stable-1.{NEWEST_KNOWN_MINOR}"
    )]
    NoMinor(String),
    /// Older than any kubeadm that reads what kpx-prep writes, or not 1.x at all.
    #[error("{0:?} is not supported: kpx-prep writes kubeadm configs for 1.{OLDEST_MINOR} and up")]
    OutOfRange(String),
}

impl KubernetesVersion {
    /// The newest version that kpx-prep knows, as the label of its latest patch release.
    pub fn newest_known() -> Self {
        Self { minor: NEWEST_KNOWN_MINOR, for_kubeadm: format!("stable-1.{NEWEST_KNOWN_MINOR}") }
    }

    /// The minor version: 36 for `v1.36.3`.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// The text for `kubernetesVersion`: as written if kubeadm accepts that, else the label of the same minor version's
    /// latest patch release (kubeadm does not accept `1.36`, but `stable-1.36`).
    pub fn for_kubeadm(&self) -> &str {
        &self.for_kubeadm
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}

/// The forms are kubeadm's own (`cmd/kubeadm/app/util/version.go`), and `1.36` besides.
impl FromStr for KubernetesVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let not_a_version = || VersionError::NotAVersion(text.to_owned());
        let build = ["release/", "ci/", "ci-cross/"].into_iter().find_map(|bucket| text.strip_prefix(bucket));
        let rest = build.unwrap_or(text);
        let label = ["stable", "latest"].into_iter().find_map(|label| rest.strip_prefix(label));
        let (numbers, is_label) = match label {
            Some("" | "-1") => return Err(VersionError::NoMinor(text.to_owned())),
            Some(numbers) => (numbers.strip_prefix('-').ok_or_else(not_a_version)?, true),
            None => (rest.strip_prefix('v').unwrap_or(rest), false),
        };
        let (major, numbers) = numbers.split_once('.').ok_or_else(not_a_version)?;
        let (minor, patch) = match numbers.split_once('.') {
            Some((minor, patch)) => (minor, Some(patch)),
            None => (numbers, None),
        };
        let major = number(major).ok_or_else(not_a_version)?;
        let minor = number(minor).ok_or_else(not_a_version)?;
        let for_kubeadm = match patch {
            Some(patch) if !is_label && is_patch(patch) => text.to_owned(),
            None if is_label => text.to_owned(),
            None if build.is_none() => format!("stable-{major}.{minor}"),
            _ => return Err(not_a_version()),
        };
        if major != 1 || minor < OLDEST_MINOR {
            return Err(VersionError::OutOfRange(text.to_owned()));
        }
        Ok(Self { minor, for_kubeadm })
    }
}

/// A decimal number without sign or leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// A patch number with the suffixes that kubeadm accepts: `3`, `0-rc.1`, `3+k3s1`.
fn is_patch(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    number(&text[..digits]).is_some() && text[digits..].chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
}

/// 20 of `v1.20.2`, `1.20+` and the like.
pub fn minor_of(version: &str) -> Option<u32> {
    let rest = version.strip_prefix('v').unwrap_or(version).strip_prefix("1.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_versions() {
        for (text, minor, for_kubeadm) in [
            ("1.36", 36, "stable-1.36"),
            ("v1.36", 36, "stable-1.36"),
            ("1.36.3", 36, "1.36.3"),
            ("v1.36.3", 36, "v1.36.3"),
            ("v1.20.0", 20, "v1.20.0"),
            ("v1.37.0-rc.1", 37, "v1.37.0-rc.1"),
            ("v1.36.3+vendor.1", 36, "v1.36.3+vendor.1"),
            ("stable-1.36", 36, "stable-1.36"),
            ("latest-1.37", 37, "latest-1.37"),
            ("release/stable-1.36", 36, "release/stable-1.36"),
            ("ci/latest-1.37", 37, "ci/latest-1.37"),
            ("ci/v1.38.0-alpha.1.12+abc", 38, "ci/v1.38.0-alpha.1.12+abc"),
            ("1.15", 15, "stable-1.15"),
            ("1.43", 43, "stable-1.43"),
        ] {
            let version: KubernetesVersion = text.parse().expect(text);
            assert_eq!((version.minor(), version.for_kubeadm()), (minor, for_kubeadm), "{text}");
        }
    }

    #[test]
    fn refused_versions() {
        for text in [
            "",
            "1",
            "v1",
            "one",
            "1.x",
            "1.36.",
            "1.36.x",
            "01.36",
            "1.036",
            "1.36.03",
            "1.36 ",
            "^1.36",
            "1.36.3/x",
            "v",
            ".",
            "1..3",
            "stable1.36",
            "stable-",
            "stable-1.36.3",
            "ci/1.36",
            "-1.36",
            "+1.36.0",
            "1.99999999999",
        ] {
            assert_eq!(text.parse::<KubernetesVersion>(), Err(VersionError::NotAVersion(text.to_owned())), "{text}");
        }
        for text in ["stable", "latest", "stable-1", "ci/latest"] {
            assert_eq!(text.parse::<KubernetesVersion>(), Err(VersionError::NoMinor(text.to_owned())));
        }
        for text in ["1.14", "v1.9.3", "2.1.0", "0.36.0", "stable-1.14"] {
            assert_eq!(text.parse::<KubernetesVersion>(), Err(VersionError::OutOfRange(text.to_owned())));
        }
    }

    #[test]
    fn the_newest_known_version_parses() {
        let newest = KubernetesVersion::newest_known();
        assert_eq!(newest.for_kubeadm().parse(), Ok(newest.clone()));
    }
}
