//! Which chains, jumps, sets and tables kube-proxy creates in each mode, and which belong to the kubelet. Pure.
//!
//! For kube-proxy 1.20 to 1.36, from its sources: `pkg/proxy/iptables/proxier.go` (`iptablesJumpChains`, the canary that
//! only iptables mode keeps), `pkg/proxy/ipvs/proxier.go` (`iptablesJumpChain`, `iptablesChains`) and `ipset.go`;
//! `pkg/kubelet/kubelet_network_linux.go`. Anything not listed here does not belong to kube-proxy, whatever its name.

use super::iptables_save::Rule;

const IPTABLES: &[&str] = &["iptables"];
const IPVS: &[&str] = &["ipvs"];
/// Until 1.25.
const USERSPACE: &[&str] = &["userspace"];
const BOTH: &[&str] = &["iptables", "ipvs"];

/// table, chain, the modes that create it
const CHAINS: [(&str, &str, &[&str]); 24] = [
    ("filter", "KUBE-SERVICES", IPTABLES),
    ("filter", "KUBE-EXTERNAL-SERVICES", IPTABLES),
    ("filter", "KUBE-NODEPORTS", IPTABLES),
    ("filter", "KUBE-PROXY-CANARY", IPTABLES),
    ("mangle", "KUBE-PROXY-CANARY", IPTABLES),
    ("nat", "KUBE-PROXY-CANARY", IPTABLES),
    ("nat", "KUBE-NODEPORTS", IPTABLES),
    ("filter", "KUBE-FORWARD", BOTH),
    ("filter", FIREWALL, BOTH),
    ("nat", "KUBE-SERVICES", BOTH),
    ("nat", "KUBE-POSTROUTING", BOTH),
    ("nat", "KUBE-MARK-MASQ", BOTH),
    ("filter", "KUBE-NODE-PORT", IPVS),
    ("filter", "KUBE-SOURCE-RANGES-FIREWALL", IPVS),
    ("filter", "KUBE-IPVS-FILTER", IPVS),
    ("filter", "KUBE-IPVS-OUT-FILTER", IPVS),
    ("nat", "KUBE-NODE-PORT", IPVS),
    ("nat", "KUBE-LOAD-BALANCER", IPVS),
    // Until 1.25. The chain of the same name in the filter table belongs to the kubelet.
    ("nat", "KUBE-FIREWALL", IPVS),
    ("nat", "KUBE-PORTALS-CONTAINER", USERSPACE),
    ("nat", "KUBE-PORTALS-HOST", USERSPACE),
    ("nat", "KUBE-NODEPORT-CONTAINER", USERSPACE),
    ("nat", "KUBE-NODEPORT-HOST", USERSPACE),
    ("filter", "KUBE-NODEPORT-NON-LOCAL", USERSPACE),
];

/// The chain that both modes have and reach through different jumps.
pub const FIREWALL: &str = "KUBE-PROXY-FIREWALL";

/// Chains of iptables mode for each Service and endpoint: these prefixes and sixteen base32 characters, in nat.
const HASHED: [&str; 6] = ["KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SVL-", "KUBE-XLB-"];

/// Tables (empty: any) and chains of the kubelet.
const KUBELET: [(&str, &str); 4] =
    [("filter", "KUBE-FIREWALL"), ("nat", "KUBE-MARK-DROP"), ("", "KUBE-KUBELET-CANARY"), ("", "KUBE-IPTABLES-HINT")];

/// Names of ipvs mode's sets after `KUBE-`, or `KUBE-6-` for IPv6, truncated to 31 bytes there.
const SETS: [&str; 19] = [
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-SOURCE-IP",
    "LOAD-BALANCER-SOURCE-CIDR",
    "NODE-PORT-TCP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP",
    "NODE-PORT-LOCAL-SCTP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
];

/// The longest ipset name that the kernel accepts.
const SET_NAME_BYTES: usize = 31;

/// The link that ipvs mode binds the addresses of Services to.
pub const LINK: &str = "kube-ipvs0";

/// The table of nftables mode, one in family `ip` and one in `ip6`.
pub const NFT_TABLE: &str = "kube-proxy";

/// kpx-prep's own copy of that table (`super::super::bridge`), in family `ip` and in `ip6`.
pub const BRIDGE_TABLE: &str = "kpx-prep-bridge";

/// The owner of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// kube-proxy, in these modes.
    KubeProxy(&'static [&'static str]),
    /// The kubelet; its chains are never changed.
    Kubelet,
    /// Neither.
    Other,
}

/// The owner of the chain.
pub fn owner(table: &str, chain: &str) -> Owner {
    if KUBELET.iter().any(|(of, name)| (of.is_empty() || *of == table) && *name == chain) {
        return Owner::Kubelet;
    }
    if let Some((.., modes)) = CHAINS.iter().find(|(of, name, _)| *of == table && *name == chain) {
        return Owner::KubeProxy(modes);
    }
    if table == "nat" && HASHED.iter().any(|prefix| chain.strip_prefix(prefix).is_some_and(is_hash)) {
        return Owner::KubeProxy(IPTABLES);
    }
    Owner::Other
}

fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
}

/// The modes that create this rule, if it is one of kube-proxy's jumps in a built-in chain. Each version's jumps have known
/// comments; a rule with any other match does not belong to kube-proxy.
pub fn jump_modes(table: &str, rule: &Rule) -> Option<&'static [&'static str]> {
    let target = rule.target()?;
    let Owner::KubeProxy(modes) = owner(table, target) else { return None };
    let (mut new, mut local) = (false, false);
    let mut words = rule.words();
    while let Some(word) = words.next() {
        match (word, words.next()?) {
            ("-j" | "--comment", _) | ("-m", "comment" | "conntrack" | "addrtype") => {}
            ("--ctstate", "NEW") => new = true,
            ("--dst-type", "LOCAL") => local = true,
            _ => return None,
        }
    }
    let comment = rule.comment()?;
    let known = if modes == USERSPACE {
        ["handle ClusterIPs; NOTE: ", "handle service NodePorts; NOTE: ", "Ensure that non-local NodePort traffic"]
            .iter()
            .any(|start| comment.starts_with(start))
    } else {
        !local && (comment.starts_with("kubernetes ") || comment.starts_with("kube-proxy "))
    };
    let modes = if target == FIREWALL { if new { IPTABLES } else { IPVS } } else { modes };
    known.then_some(modes)
}

/// Whether ipvs mode creates a set of this name.
pub fn is_set(name: &str) -> bool {
    let cut = |name: String| name.chars().take(SET_NAME_BYTES).collect::<String>();
    SETS.iter().any(|set| name == cut(format!("KUBE-{set}")) || name == cut(format!("KUBE-6-{set}")))
}

/// The protocol of a node port set; `None` for other sets.
pub fn node_port_protocol(set: &str) -> Option<&'static str> {
    let rest = set.strip_prefix("KUBE-6-").or_else(|| set.strip_prefix("KUBE-"))?.strip_prefix("NODE-PORT-")?;
    let rest = rest.strip_prefix("LOCAL-").unwrap_or(rest);
    ["TCP", "UDP", "SCTP"].into_iter().find(|protocol| rest.starts_with(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_chains() {
        for (table, chain, expected) in [
            ("nat", "KUBE-SVC-CDGGSHYLG3RE2FKL", Owner::KubeProxy(IPTABLES)),
            ("nat", "KUBE-XLB-CDGGSHYLG3RE2FKL", Owner::KubeProxy(IPTABLES)),
            ("filter", "KUBE-SVC-CDGGSHYLG3RE2FKL", Owner::Other),
            ("nat", "KUBE-SVC-LIKE", Owner::Other),
            ("nat", "KUBE-SVC-cdggshylg3re2fkl", Owner::Other),
            ("nat", "KUBE-LIKE", Owner::Other),
            ("nat", "KUBE-FIREWALL", Owner::KubeProxy(IPVS)),
            ("filter", "KUBE-FIREWALL", Owner::Kubelet),
            ("mangle", "KUBE-KUBELET-CANARY", Owner::Kubelet),
            ("nat", "KUBE-MARK-DROP", Owner::Kubelet),
        ] {
            assert_eq!(owner(table, chain), expected, "{table} {chain}");
        }
    }

    #[test]
    fn sets_of_every_version() {
        for name in ["KUBE-LOOP-BACK", "KUBE-6-NODE-PORT-LOCAL-SCTP-HAS", "KUBE-6-LOAD-BALANCER-SOURCE-CID"] {
            assert!(is_set(name), "{name}");
        }
        for name in ["KUBE-LIKE", "KUBE-6-NODE-PORT-LOCAL-SCTP-HASH", "LOOP-BACK", "cali40all-ipam-pools"] {
            assert!(!is_set(name), "{name}");
        }
        assert_eq!(node_port_protocol("KUBE-NODE-PORT-TCP"), Some("TCP"));
        assert_eq!(node_port_protocol("KUBE-6-NODE-PORT-LOCAL-SCTP-HAS"), Some("SCTP"));
        assert_eq!(node_port_protocol("KUBE-HEALTH-CHECK-NODE-PORT"), None);
    }
}
