//! The modes and their names.

use std::fmt;
use std::str::FromStr;

/// Declares the modes in one list, so that none can be missing in [`ProxyMode::ALL`].
macro_rules! modes {
    ($($(#[$about:meta])* $mode:ident = $name:literal,)+) => {
        /// A proxy mode that kube-proxy runs on Linux.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        #[serde(rename_all = "lowercase")]
        pub enum ProxyMode {
            $($(#[$about])* $mode,)+
        }

        impl ProxyMode {
            /// Every mode that can be requested.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$mode),+];

            /// The mode's name as kube-proxy spells it: always lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mode => $name,)+
                }
            }
        }
    };
}

modes! {
    /// Rules of the iptables family; the default below 1.40.
    Iptables = "iptables",
    /// Virtual servers of the kernel's IPVS.
    Ipvs = "ipvs",
    /// Rules of nftables; from 1.29.
    Nftables = "nftables",
}

impl fmt::Display for ProxyMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is not a mode; the message suggests what was probably meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Correct except for its case; kube-proxy compares case-sensitively and would not start.
    #[error("{text:?} is not a proxy mode: kube-proxy accepts modes in lower case only; did you mean {meant}?")]
    WrongCase {
        /// What was written.
        text: String,
        /// The mode with these letters.
        meant: ProxyMode,
    },
    /// `userspace`, which kube-proxy had until 1.25.
    #[error("userspace mode was removed in kube-proxy 1.26; choose ipvs, iptables or nftables")]
    Userspace,
    /// `kernelspace`, the mode of Windows nodes.
    #[error("kernelspace is for Windows nodes only; choose ipvs, iptables or nftables")]
    Kernelspace,
    /// Something else.
    #[error("{0:?} is not a proxy mode; choose ipvs, iptables or nftables")]
    Unknown(String),
}

impl FromStr for ProxyMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let lower = text.trim().to_ascii_lowercase();
        match Self::ALL.into_iter().find(|mode| mode.name() == lower) {
            Some(mode) if mode.name() == text => Ok(mode),
            Some(meant) => Err(ModeError::WrongCase { text: text.to_owned(), meant }),
            None if lower == "userspace" => Err(ModeError::Userspace),
            None if lower == "kernelspace" => Err(ModeError::Kernelspace),
            None => Err(ModeError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_near_misses_get_a_suggestion() {
        for mode in ProxyMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
            for error in [ModeError::Userspace, ModeError::Kernelspace, ModeError::Unknown(String::new())] {
                assert!(error.to_string().contains(mode.name()), "{error} does not offer {mode}");
            }
        }
        for (text, meant) in [
            ("IPVS", ProxyMode::Ipvs),
            ("Ipvs", ProxyMode::Ipvs),
            (" ipvs", ProxyMode::Ipvs),
            ("IPTables", ProxyMode::Iptables),
            ("NFTables", ProxyMode::Nftables),
        ] {
            let error = text.parse::<ProxyMode>().unwrap_err();
            assert!(error.to_string().ends_with(&format!("did you mean {meant}?")), "{error}");
        }
        assert_eq!("userspace".parse::<ProxyMode>(), Err(ModeError::Userspace));
        assert_eq!("kernelspace".parse::<ProxyMode>(), Err(ModeError::Kernelspace));
        for text in ["", "ip_vs", "bogus"] {
            assert_eq!(text.parse::<ProxyMode>(), Err(ModeError::Unknown(text.to_owned())));
        }
    }
}
