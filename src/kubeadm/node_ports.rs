//! Checks the addresses that node ports answer on.
//!
//! As kube-proxy: `primary` alone, or ranges (`validateKubeProxyNodePortAddress` in
//! pkg/proxy/apis/config/validation/validation.go of 1.34); beside `primary` also `localhost`, in nftables mode (KEP-6032:
//! alpha in 1.37, beta in 1.38).

use super::findings::Findings;
use super::given::Given;
use crate::cidr::Cidr;
use crate::mode::ProxyMode;
use crate::proxy_config::PRIMARY_FROM;

/// The first version in which `localhost` needs no feature gate.
const LOCALHOST_FROM: u32 = 38;

/// Checks all of them; `mode` is that of kube-proxy, if it is valid.
pub(super) fn check(addresses: &[Given], mode: Option<ProxyMode>, minor: u32, findings: &mut Findings) {
    for given in addresses {
        match given.text.as_str() {
            "primary" if minor < PRIMARY_FROM => findings.problem(
                &given.place,
                format!("primary: not supported by Kubernetes 1.{minor}; it was added in 1.{PRIMARY_FROM}; use ranges"),
            ),
            "localhost" if mode.is_some_and(|mode| mode != ProxyMode::Nftables) => {
                findings.problem(&given.place, "localhost: is for nftables mode only; use a range such as 127.0.0.0/8");
            }
            "localhost" if minor < LOCALHOST_FROM => findings.problem(
                &given.place,
                format!("localhost: Kubernetes 1.{minor} does not serve node ports on localhost in nftables mode, or only behind a feature gate (1.37)"),
            ),
            "primary" | "localhost" => {}
            text => {
                findings.accept(&given.place, Cidr::around(text));
            }
        }
    }
    let has = |word: &str| addresses.iter().any(|given| given.text == word);
    let ranges = addresses.iter().find(|given| !matches!(given.text.as_str(), "primary" | "localhost"));
    if let Some(range) = ranges.filter(|_| has("primary")) {
        findings.problem(&range.place, "primary cannot be combined with ranges");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_kube_proxy_accepts_them() {
        use ProxyMode::{Iptables, Nftables};
        for (text, mode, minor, right) in [
            ("primary", Nftables, 34, true),
            ("primary", Iptables, 34, true),
            ("primary", Iptables, 20, false),
            ("0.0.0.0/0,::/0", Nftables, 34, true),
            ("10.0.0.0/8", Iptables, 15, true),
            // kube-proxy reads the range that it is in.
            ("10.0.0.1/8", Iptables, 34, true),
            ("127.0.0.0/8", Iptables, 34, true),
            ("10.0.0.1", Iptables, 34, false),
            ("10.0.0.0/33", Iptables, 34, false),
            ("", Iptables, 34, false),
            ("Primary", Nftables, 34, false),
            ("all", Nftables, 34, false),
            ("primary,10.0.0.0/8", Nftables, 34, false),
            ("10.0.0.0/8,primary", Nftables, 34, false),
            ("primary,localhost", Nftables, 34, false),
            ("primary,localhost", Nftables, 37, false),
            ("primary,localhost", Nftables, 38, true),
            ("primary,localhost", Iptables, 38, false),
        ] {
            let given = |text: &str| Given { place: "x".to_owned(), text: text.to_owned() };
            let mut findings = Findings::default();
            check(&text.split(',').map(given).collect::<Vec<_>>(), Some(mode), minor, &mut findings);
            assert_eq!(findings.problems.is_empty(), right, "{text:?}, {mode}, 1.{minor}");
        }
    }
}
