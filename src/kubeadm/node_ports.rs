//! Checks the addresses that node ports answer on.
//!
//! As kube-proxy: ranges, or `primary` alone (`validateKubeProxyNodePortAddress` in
//! pkg/proxy/apis/config/validation/validation.go of 1.34; tested with 1.20, 1.31, 1.34 and 1.36). From 1.37 on also `localhost` and
//! `all`, in any combination (kubernetes#138427).

use super::findings::Findings;
use super::given::Given;
use crate::cidr::Cidr;
use crate::mode::ProxyMode;
use crate::proxy_config::{KEYWORDS_FROM, PRIMARY_FROM};

/// The first version in which nftables mode serves `localhost` without a feature gate (KEP-6032: beta in 1.38).
const LOCALHOST_FROM: u32 = 38;

/// Checks all of them; `mode` is that of kube-proxy, if it is valid.
pub(super) fn check(addresses: &[Given], mode: Option<ProxyMode>, minor: u32, findings: &mut Findings) {
    for given in addresses {
        let since = match given.text.as_str() {
            "primary" => PRIMARY_FROM,
            "localhost" | "all" => KEYWORDS_FROM,
            text => {
                findings.accept(&given.place, Cidr::around(text));
                continue;
            }
        };
        if minor < since {
            let message =
                format!("{}: not supported by Kubernetes 1.{minor}; it was added in 1.{since}; use ranges", given.text);
            findings.problem(&given.place, message);
        } else if given.text == "localhost" && mode == Some(ProxyMode::Nftables) && minor < LOCALHOST_FROM {
            let message = format!(
                "{} localhost: Kubernetes 1.{minor} serves it in nftables mode only with the gate KubeProxyNFTablesLocalhostNodePorts, which is off by default",
                given.place
            );
            findings.warn("feature-gates", message);
        }
    }
    if let [_, second, ..] = addresses
        && minor < KEYWORDS_FROM
        && addresses.iter().any(|given| given.text == "primary")
    {
        findings.problem(&second.place, format!("primary cannot be combined with others before 1.{KEYWORDS_FROM}"));
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
            ("primary", Nftables, 29, false),
            ("primary,localhost", Nftables, 36, false),
            ("primary,localhost", Nftables, 37, true),
            ("primary,localhost,10.0.0.0/8", Iptables, 37, true),
            ("all", Iptables, 36, false),
            ("all", Iptables, 37, true),
        ] {
            let given = |text: &str| Given { place: "x".to_owned(), text: text.to_owned() };
            let mut findings = Findings::default();
            check(&text.split(',').map(given).collect::<Vec<_>>(), Some(mode), minor, &mut findings);
            assert_eq!(findings.problems.is_empty(), right, "{text:?}, {mode}, 1.{minor}");
            let warns = text.contains("localhost") && minor == 37 && mode == Nftables;
            assert_eq!(!findings.remarks.is_empty(), warns, "{text:?}, {mode}, 1.{minor}");
        }
    }
}
