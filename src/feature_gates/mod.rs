//! Which feature gates each kube-proxy version accepts. With an unknown gate, or one that is locked to the other value,
//! kube-proxy exits at start: `utilfeature.DefaultMutableFeatureGate.SetFromMap` returns an error, and so does
//! `Options.Complete` (`component-base/featuregate/feature_gate.go`, `cmd/kube-proxy/app`), in every release of Kubernetes
//! from 1.15 to 1.37.
//!
//! Some builds differ: `OpenShift`'s tree carries a patch ("warn only about unknown feature gates"), and binaries of
//! 1.32.13 and 1.36.2 that only logged an unknown gate came from there. With a locked gate those exit too.

pub mod in_config;

use std::fmt;

/// The newest minor version whose gates are all in the table.
pub const READ_UP_TO: u32 = 36;

/// Up to this minor version, kube-proxy certainly exits with an unknown gate: tested with 1.20.2, 1.25.1, 1.27.1 and
/// 1.29.1. For newer ones, a build that only logs it exists, so there it is a warning.
const CERTAIN_UP_TO: u32 = 31;

/// The gates; the file describes how it was generated.
const TABLE: &str = include_str!("gates.txt");

/// Gates for a whole stage: `AllAlpha` in every version, `AllBeta` from 1.17 on (by component-base's tags).
const STAGES: [(&str, u32); 2] = [("AllAlpha", 15), ("AllBeta", 17)];

/// Why kube-proxy of a version does not start with a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Removed; with the last minor version that had it.
    Gone(u32),
    /// Not added yet; with the first minor version that has it.
    NotYet(u32),
    /// Unknown in all versions; with the gate whose name differs only in case, if any.
    Never(Option<&'static str>),
    /// Locked to this value.
    Locked(bool),
}

/// Whether kube-proxy accepts a gate with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// kube-proxy accepts it.
    Taken,
    /// kube-proxy exits.
    Refused(Refused),
    /// The version is newer than the table, and the gate is not in it.
    Unknown,
}

impl Refused {
    /// Whether every known build of kube-proxy 1.`minor` exits; otherwise only those of the Kubernetes releases do.
    pub fn is_certain(&self, minor: u32) -> bool {
        matches!(self, Self::Locked(_)) || minor <= CERTAIN_UP_TO
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone(last) => write!(f, "was removed after 1.{last}"),
            Self::NotYet(first) => write!(f, "was added in 1.{first}"),
            Self::Never(None) => f.write_str("does not exist in any version"),
            Self::Never(Some(meant)) => write!(f, "does not exist in any version; did you mean {meant}?"),
            Self::Locked(value) => write!(f, "is locked to {value}"),
        }
    }
}

struct Gate {
    name: &'static str,
    first: u32,
    last: Option<u32>,
    locked: Option<(u32, bool)>,
}

fn gates() -> impl Iterator<Item = Gate> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split(' ');
        let (name, first, last) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok());
        let locked = words.next().and_then(|from| Some((from.parse().ok()?, words.next()? == "true")));
        Some(Gate { name, first, last, locked })
    })
}

/// Whether kube-proxy 1.`minor` accepts the gate `name` with this value.
pub fn verdict(name: &str, value: bool, minor: u32) -> Verdict {
    if let Some((_, first)) = STAGES.iter().find(|(stage, _)| *stage == name) {
        return if minor >= *first { Verdict::Taken } else { Verdict::Refused(Refused::NotYet(*first)) };
    }
    let Some(gate) = gates().find(|gate| gate.name == name) else {
        let meant = gates().find(|gate| gate.name.eq_ignore_ascii_case(name)).map(|gate| gate.name);
        // A new version may have new gates, but hardly two that differ only in case.
        return if minor > READ_UP_TO && meant.is_none() {
            Verdict::Unknown
        } else {
            Verdict::Refused(Refused::Never(meant))
        };
    };
    if let Some(last) = gate.last.filter(|last| minor > *last) {
        return Verdict::Refused(Refused::Gone(last));
    }
    if minor < gate.first {
        return Verdict::Refused(Refused::NotYet(gate.first));
    }
    match gate.locked {
        Some((from, locked)) if minor >= from && value != locked => Verdict::Refused(Refused::Locked(locked)),
        // A gate is locked before it is removed.
        Some((from, _)) if minor > READ_UP_TO && from <= READ_UP_TO => Verdict::Unknown,
        _ => Verdict::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes_version::{NEWEST_KNOWN_MINOR, OLDEST_MINOR};
    use crate::mode::{ProxyMode, policy};

    #[test]
    fn the_table_is_in_order() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        let all: Vec<Gate> = gates().collect();
        assert!(all.len() == lines && lines > 400, "{} of {lines} lines are read", all.len());
        assert!(all.is_sorted_by(|a, b| a.name.to_ascii_lowercase() <= b.name.to_ascii_lowercase()));
        for gate in all {
            let last = gate.last.unwrap_or(NEWEST_KNOWN_MINOR);
            assert!(OLDEST_MINOR <= gate.first && gate.first <= last, "{}", gate.name);
            assert!(gate.locked.is_none_or(|(from, _)| gate.first <= from && from <= last), "{}", gate.name);
        }
    }

    #[test]
    fn gates_by_version() {
        use Refused::{Gone, Locked, Never, NotYet};
        for (name, value, minor, expected) in [
            ("SupportIPVSProxyMode", true, 19, None),
            ("SupportIPVSProxyMode", true, 20, Some(Gone(19))),
            ("SupportIPVSProxyMode", true, 37, Some(Gone(19))),
            ("IPv6DualStack", true, 20, None),
            ("IPv6DualStack", false, 22, None),
            ("IPv6DualStack", false, 23, Some(Locked(true))),
            ("IPv6DualStack", true, 24, None),
            ("IPv6DualStack", true, 25, Some(Gone(24))),
            ("EndpointSliceProxying", false, 21, None),
            ("EndpointSliceProxying", false, 22, Some(Locked(true))),
            ("ServiceTopology", true, 21, None),
            ("ServiceTopology", true, 22, Some(Gone(21))),
            ("NFTablesProxyMode", true, 28, Some(NotYet(29))),
            ("NFTablesProxyMode", true, 29, None),
            ("NFTablesProxyMode", false, 33, Some(Locked(true))),
            ("ContextualLogging", true, 26, Some(NotYet(27))),
            ("ContextualLogging", true, 27, None),
            // The kubelet's and the API server's are in the binary too.
            ("RotateKubeletServerCertificate", true, 31, None),
            ("APIServerIdentity", true, 31, None),
            ("AllAlpha", true, 15, None),
            ("AllBeta", true, 16, Some(NotYet(17))),
            ("AllBeta", false, 36, None),
            ("allalpha", true, 36, Some(Never(None))),
            ("ipv6dualstack", true, 20, Some(Never(Some("IPv6DualStack")))),
            ("nftablesproxymode", true, 40, Some(Never(Some("NFTablesProxyMode")))),
            ("SupportIPVS", true, 20, Some(Never(None))),
            ("", true, 20, Some(Never(None))),
            ("KubeProxyIPVS", true, 36, Some(NotYet(37))),
            ("KubeProxyIPVS", false, 37, None),
            ("KubeProxyIPVS", true, 40, None),
        ] {
            let expected = expected.map_or(Verdict::Taken, Verdict::Refused);
            assert_eq!(verdict(name, value, minor), expected, "{name}={value} in 1.{minor}");
        }
        assert_eq!(verdict("SomethingNew", true, 37), Verdict::Unknown);
        assert_eq!(verdict("NFTablesProxyMode", true, 38), Verdict::Unknown, "it may be removed by then");
    }

    /// Results of running kube-proxy 1.20.2.
    #[test]
    fn results_of_kube_proxy_1_20_2() {
        for (name, value, taken) in [
            ("CustomResourceDefaulting", true, false),
            ("CustomResourceDefaulting", false, false),
            ("CSINodeInfo", false, false),
            ("CSINodeInfo", true, true),
            ("KubeletPodResources", true, true),
            ("ContextualLogging", true, false),
            ("SupportIPVSProxyMode", true, false),
        ] {
            assert_eq!(verdict(name, value, 20) == Verdict::Taken, taken, "{name}={value}");
        }
    }

    #[test]
    fn gates_that_kpx_prep_sets_are_accepted() {
        for minor in OLDEST_MINOR..=43 {
            for mode in ProxyMode::ALL {
                if let Some(gate) = policy(mode, minor).ok().and_then(|policy| policy.gate) {
                    assert_eq!(verdict(gate, true, minor), Verdict::Taken, "{gate} in 1.{minor}");
                }
            }
        }
    }
}
