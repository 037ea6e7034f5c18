//! What kube-proxy's nftables mode needs on a node, beyond what every mode needs: kernel, modules, and versions of `nft`.

use std::cmp::Ordering;

/// The first kernel on which kube-proxy starts in nftables mode (cmd/kube-proxy/app/server_linux.go, since
/// kubernetes/kubernetes pull request 124152; `nftables.skipKernelVersionCheck` is for developers only).
pub const MIN_KERNEL: (u32, u32) = (5, 13);

/// The first `nft` that kube-proxy accepts for itself (knftables, `New`). An older one on the host reads every table at each
/// transaction, and may fail on those of kube-proxy (kubernetes/kubernetes issue 122743, pull request 124152).
pub const MIN_NFT: &str = "1.0.1";

/// The modules of the expressions, chain types and statements in kube-proxy's tables (pkg/proxy/nftables/proxier.go,
/// `setupNFTables` and `syncProxyRules`), by their names in Linux 5.13 and later. Sets, maps, verdicts, marks and payloads belong
/// to `nf_tables` itself (net/netfilter/Makefile). kube-proxy uses no other ones, in particular no `limit` or `counter`.
pub const MODULES: [&str; 11] = [
    "nf_tables",
    // Besides `ct`: kube-proxy sets its sysctls at the start, and exits if they do not exist (kubernetes/kops issue 17915).
    "nf_conntrack",
    // `type nat hook …`
    "nft_chain_nat",
    // `ct state new`, `ct status dnat`
    "nft_ct",
    // `fib daddr type local`, with a module for each family
    "nft_fib",
    "nft_fib_ipv4",
    // `masquerade fully-random`
    "nft_masq",
    // `dnat to`
    "nft_nat",
    // `numgen random mod N`
    "nft_numgen",
    // `reject`, with a module for each family
    "nft_reject",
    "nft_reject_ipv4",
];

/// Those for IPv6, which kube-proxy also serves in an IPv4 cluster where the kernel has it (`newDualStackProxier`).
pub const IPV6_MODULES: [&str; 2] = ["nft_fib_ipv6", "nft_reject_ipv6"];

/// The option in a kernel's configuration, without `CONFIG_`, to which a module of nftables belongs.
pub fn kernel_option(module: &str) -> String {
    match module {
        "nft_chain_nat" => "NFT_NAT".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// Whether the kernel with this `uname -r` is too old. `None` if the release does not start with two numbers.
pub fn is_too_old(release: &str) -> Option<bool> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??) < MIN_KERNEL)
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

/// Compares two versions of `nft`, such as `1.0.6.1` and `1.0.7`.
pub fn compare_nft(one: &str, other: &str) -> Ordering {
    numbers(one).cmp(&numbers(other))
}

/// Whether this `nft` is older than [`MIN_NFT`].
pub fn is_old_nft(version: &str) -> bool {
    compare_nft(version, MIN_NFT) == Ordering::Less
}

/// Whether an `nft` of the version `reader` may crash when it reads sets that one of the version `writer` wrote.
///
/// From kubernetes/kubernetes issue 136786 (the matrix of 2026-05-20, each version from 1.0.1 to 1.1.6 against each): sets
/// written by 1.0.6.1, and by 1.1.2 and later, crash readers without the fix, which are those before 1.1.2 except 1.0.6.1
/// (kubernetes/kubernetes pull request 140405). Seen with readers 1.0.6 and 1.1.0 in projectcalico/calico issues 11750 and
/// 13068, and on nodes in kubernetes/kubernetes issue 140898. A distribution may have fixed its package without a new
/// version.
pub fn may_crash(reader: &str, writer: &str) -> bool {
    const FIXED: [u32; 3] = [1, 1, 2];
    const ALSO_FIXED: [u32; 4] = [1, 0, 6, 1];
    let (reader, writer) = (numbers(reader), numbers(writer));
    let is_new = |version: &[u32]| version >= &FIXED[..] || version.starts_with(&ALSO_FIXED);
    !reader.is_empty() && !is_new(&reader) && is_new(&writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for (release, too_old) in [
            ("5.13.0", Some(false)),
            ("5.12.19-300.fc34.x86_64", Some(true)),
            ("6.1.0-18-amd64", Some(false)),
            ("4.18.0-513.el8.x86_64", Some(true)),
            ("10.0", Some(false)),
            ("5.4-rc1", Some(true)),
            ("6", None),
            ("next", None),
            ("", None),
        ] {
            assert_eq!(is_too_old(release), too_old, "{release}");
        }
    }

    #[test]
    fn versions_of_nft() {
        for (version, old) in [("1.0.1", false), ("1.0.0", true), ("0.9.8", true), ("1.0.6.1", false), ("1.1", false)] {
            assert_eq!(is_old_nft(version), old, "{version}");
        }
    }

    #[test]
    fn who_crashes_whom() {
        // reader, writer, as in the matrix
        for (reader, writer, crashes) in [
            ("1.0.1", "1.0.1", false),
            ("1.0.1", "1.0.6", false),
            ("1.0.1", "1.0.6.1", true),
            ("1.0.6", "1.0.6.1", true),
            ("1.0.4", "1.1.1", false),
            ("1.0.4", "1.1.2", true),
            ("1.1.0", "1.1.6", true),
            ("1.0.6", "1.1.3", true),
            ("1.0.6.1", "1.1.3", false),
            ("1.1.2", "1.1.6", false),
            ("1.1.6", "1.0.1", false),
            ("", "1.1.6", false),
        ] {
            assert_eq!(may_crash(reader, writer), crashes, "{reader} reads {writer}");
        }
    }

    #[test]
    fn options_of_modules() {
        assert_eq!(kernel_option("nft_fib_ipv4"), "NFT_FIB_IPV4");
        assert_eq!(kernel_option("nft_chain_nat"), "NFT_NAT");
    }
}
