//! Which Kubernetes version runs which mode, and for how long.
//!
//! Sources: ipvs is deprecated since 1.35 (kubernetes/kubernetes pull request 134539), behind the
//! gate `KubeProxyIPVS` since 1.37 (pull request 139397), off by default from 1.40 and gone from 1.43 (KEP-5495).
//! nftables is alpha in 1.29 and 1.30, beta from 1.31, stable from 1.33 (KEP-3866), the default from 1.40 (KEP-5343).

use super::proxy_mode::ProxyMode;

/// How a Kubernetes version supports a mode that it can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The feature gate that must be `true` in kube-proxy's config; without it kube-proxy does not start.
    pub gate: Option<&'static str>,
    /// A warning for the operator who chooses this mode.
    pub warning: Option<String>,
    /// The mode to move to, if this one is deprecated.
    pub successor: Option<ProxyMode>,
}

/// A mode that a Kubernetes version cannot run, with the alternative.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Kubernetes 1.{minor} has no {mode} mode: {reason}; {way_out}")]
pub struct ModeRefused {
    /// The requested mode.
    pub mode: ProxyMode,
    /// The minor version that does not have it.
    pub minor: u32,
    /// Since or until when.
    pub reason: &'static str,
    /// What to do instead.
    pub way_out: &'static str,
    /// A mode that this version runs.
    pub instead: ProxyMode,
}

/// The ipvs timeline in one sentence, for warnings.
pub const IPVS_TIMELINE: &str = "ipvs is deprecated since 1.35, needs a feature gate from 1.40 and is removed in 1.43; \
     nftables (stable since 1.33, needs kernel 5.13 or newer) is its successor";

/// How Kubernetes 1.`minor` supports `mode`.
///
/// # Errors
/// When that version cannot run the mode at all.
pub fn policy(mode: ProxyMode, minor: u32) -> Result<Policy, ModeRefused> {
    match (mode, minor) {
        (ProxyMode::Ipvs, 43..) => Err(ModeRefused {
            mode,
            minor,
            reason: "it was removed in 1.43",
            instead: ProxyMode::Nftables,
            way_out: "use --mode nftables (kernel 5.13 or newer), or Kubernetes 1.42 or older",
        }),
        (ProxyMode::Ipvs, 40..) => Ok(Policy {
            successor: Some(ProxyMode::Nftables),
            gate: Some("KubeProxyIPVS"),
            warning: Some(format!(
                "{IPVS_TIMELINE}. Kubernetes 1.{minor} runs ipvs only with the gate KubeProxyIPVS, which is therefore set"
            )),
        }),
        (ProxyMode::Ipvs, 35..) => {
            Ok(Policy { successor: Some(ProxyMode::Nftables), gate: None, warning: Some(IPVS_TIMELINE.to_owned()) })
        }
        (ProxyMode::Nftables, ..29) => Err(ModeRefused {
            mode,
            minor,
            reason: "it was added in 1.29",
            instead: ProxyMode::Iptables,
            way_out: "use --mode ipvs or --mode iptables, or a newer Kubernetes",
        }),
        (ProxyMode::Nftables, 29..33) => Ok(Policy {
            successor: None,
            gate: (minor < 31).then_some("NFTablesProxyMode"),
            warning: Some(format!(
                "nftables mode is {} in Kubernetes 1.{minor} and stable from 1.33; it needs kernel 5.13 or newer",
                if minor < 31 { "alpha (behind the gate NFTablesProxyMode, which is therefore set)" } else { "beta" }
            )),
        }),
        (ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Nftables, _) => Ok(Policy::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_of_each_mode_by_version() {
        use ProxyMode::{Iptables, Ipvs, Nftables};
        // mode, first and last minor version, gate, warned, refused
        for (mode, versions, gate, warned, refused) in [
            (Iptables, 15..=60, None, false, false),
            (Ipvs, 15..=34, None, false, false),
            (Ipvs, 35..=39, None, true, false),
            (Ipvs, 40..=42, Some("KubeProxyIPVS"), true, false),
            (Ipvs, 43..=60, None, false, true),
            (Nftables, 15..=28, None, false, true),
            (Nftables, 29..=30, Some("NFTablesProxyMode"), true, false),
            (Nftables, 31..=32, None, true, false),
            (Nftables, 33..=60, None, false, false),
        ] {
            for minor in versions {
                let outcome = policy(mode, minor);
                assert_eq!(outcome.is_err(), refused, "{mode} on 1.{minor}");
                if let Ok(policy) = outcome {
                    assert_eq!(policy.gate, gate, "{mode} on 1.{minor}");
                    assert_eq!(policy.warning.is_some(), warned, "{mode} on 1.{minor}");
                }
            }
        }
    }

    #[test]
    fn messages_name_the_next_step() {
        let refused = policy(ProxyMode::Ipvs, 43).unwrap_err().to_string();
        assert!(refused.contains("--mode nftables"), "{refused}");
        let warning = policy(ProxyMode::Ipvs, 36).unwrap().warning.unwrap();
        for version in ["1.35", "1.40", "1.43"] {
            assert!(warning.contains(version), "{warning}");
        }
    }
}
