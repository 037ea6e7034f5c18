//! kube-proxy's own words about its mode, in the log of its start, for every version since 1.15.
//!
//! Second best: log rotation takes the start away, and then the log says nothing. Never a guess.

use crate::mode::ProxyMode;

/// What a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It runs this mode.
    Mode(ProxyMode),
    /// It was to run ipvs, could not, and runs iptables (kube-proxy ≤ 1.25).
    Fallback,
    /// It could not run ipvs and exited (kube-proxy ≥ 1.26).
    Refused,
    /// Nothing about the mode: too young, or rotated away.
    Nothing,
}

/// What the log of one container run tells about its mode.
///
/// The lines, by version (cmd/kube-proxy/app/server_others.go, later `server_linux.go`): `Using ipvs Proxier.` up to
/// 1.22, `"Using ipvs Proxier"` from 1.23; the fallback's `Can't use the IPVS proxier` is followed by
/// `Using iptables Proxier`, the refusal's by nothing. `"Using iptables proxy"` (1.26 and later) says what an empty
/// mode means, before it is tried.
pub fn told(log: &str) -> Told {
    let mut told = Told::Nothing;
    let mut could_not = false;
    for line in log.lines() {
        let lower = line.to_ascii_lowercase();
        if lower.contains("can't use the ipvs proxier") {
            could_not = true;
            told = Told::Refused;
        }
        for mode in ProxyMode::ALL {
            if lower.contains(&format!("using {mode} proxier")) {
                told = match (mode, could_not) {
                    (ProxyMode::Iptables, true) => Told::Fallback,
                    _ => Told::Mode(mode),
                };
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_version() {
        use ProxyMode::{Iptables, Ipvs, Nftables};
        for (log, expected) in [
            ("I1122 10:06:31.790734 11643 server_others.go:185] Using iptables Proxier.", Told::Mode(Iptables)),
            ("I0101 server_others.go:259] Using ipvs Proxier.", Told::Mode(Ipvs)),
            ("I0101 server_others.go:206] \"Using iptables Proxier\"", Told::Mode(Iptables)),
            ("I0101 server_others.go:269] \"Using ipvs Proxier\"", Told::Mode(Ipvs)),
            (
                "I0101 server_linux.go:66] \"Using iptables proxy\"\nI0101 x] \"Using nftables Proxier\"",
                Told::Mode(Nftables),
            ),
            ("I0101 server_linux.go:66] \"Using iptables proxy\"", Told::Nothing),
            ("W0101 Unknown proxy mode \"\", assuming iptables proxy", Told::Nothing),
            ("E0101 Can't use the IPVS proxier: x\nI0101 Using iptables Proxier.", Told::Fallback),
            ("E0101 \"Can't use the IPVS proxier\" err=\"x\"\nI0101 \"Using iptables Proxier\"", Told::Fallback),
            ("E0101 \"Error running ProxyServer\" err=\"can't use the IPVS proxier: x\"", Told::Refused),
            ("E0101 \"The ipvs proxier is now deprecated and may be removed\"", Told::Nothing),
            ("I0101 service.go:301] Service default/x updated: 1 ports", Told::Nothing),
            ("", Told::Nothing),
        ] {
            assert_eq!(told(log), expected, "{log}");
        }
    }
}
