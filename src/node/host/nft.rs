//! What the `nft` programs of a host say of themselves and of its kernel. Finding and running them is
//! [`crate::node::kube_proxy::nft_trial`].

/// The result of the trial transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It was not tried; with the reason.
    NotRun(String),
    /// The kernel accepts it in each of these families (`ip`, `ip6`).
    Passed(Vec<&'static str>),
    /// It was refused.
    Refused {
        /// `ip` or `ip6`.
        family: &'static str,
        /// The command of the transaction that was refused first, with the module that it needs, if that is known.
        command: Option<(String, Option<&'static str>)>,
        /// The reason that `nft` gave, in one line.
        why: String,
    },
    /// `nft` was ended by a signal.
    Crashed {
        /// The arguments with which it ran.
        arguments: &'static str,
        /// The signal.
        signal: i32,
    },
}

/// An `nft` that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nft {
    /// There is none.
    Absent,
    /// Its version is unknown: it could not be run, or printed something else.
    Unknown,
    /// Its version, such as `1.0.6`.
    Version(String),
}

impl Nft {
    /// Its version, if it is known.
    pub fn version(&self) -> Option<&str> {
        match self {
            Self::Version(version) => Some(version),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// What the `nft` programs say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftFacts {
    /// The host's own.
    pub of_host: Nft,
    /// That of kube-proxy's container or image; `None` if there is no kube-proxy here, or it may not be run.
    pub of_kube_proxy: Option<Nft>,
    /// The trial transaction, with kube-proxy's program, or else with the host's.
    pub trial: Trial,
}

/// Asks the `nft` programs of a host.
pub trait NftProbe {
    /// Their versions, and the result of the trial transaction in these families. `not_now`: why it must not be tried.
    fn probe(&self, families: &[&'static str], not_now: Option<String>) -> NftFacts;
}
