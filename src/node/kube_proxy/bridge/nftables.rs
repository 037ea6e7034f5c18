//! The bridge out of nftables mode: a copy of kube-proxy's table under another name. Pure.
//!
//! Its base chains of nat run one priority later than kube-proxy's: of several at the same priority the newest comes first
//! (`nf_hook_entries_grow`, net/netfilter/core.c), and a copy must not come before rules that are kept up to date.

use crate::node::kube_proxy::rules::owners::{BRIDGE_TABLE as TABLE, NFT_TABLE as ORIGINAL};

/// Numbers of the names that `nft` prints for priorities of these chains.
const PRIORITIES: [(&str, i32); 3] = [("dstnat", -100), ("srcnat", 100), ("filter", 0)];

/// The only rule of chains of type filter that is copied: `loadBalancerSourceRanges`.
const KEPT: &str = " jump firewall-check";

/// Reads what `nft list table FAMILY kube-proxy` prints, and makes of it the input for `nft -f` that puts the copy, in place of
/// an older one.
#[derive(Debug)]
pub(super) struct Copy {
    /// When the kernel itself stops using it, in seconds since 1970 (`meta time`, Linux 5.4).
    until: u64,
    text: String,
    /// The chain that is being read.
    chain: Option<Vec<String>>,
    nat_chains: usize,
    wrong: Option<String>,
}

impl Copy {
    /// Before the first line.
    pub(super) fn new(until: u64) -> Self {
        Self { until, text: String::new(), chain: None, nat_chains: 0, wrong: None }
    }

    /// Reads the next line.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(chain) = &mut self.chain {
            chain.push(line.to_owned());
            if line == "\t}" {
                let chain = self.chain.take().unwrap_or_default();
                self.end_of(&chain);
            }
        } else if line.starts_with("\tchain ") {
            self.chain = Some(vec![line.to_owned()]);
        } else if let Some(family) = table_line(line) {
            self.text.push_str(&remove(family));
            self.add(&format!("table {family} {TABLE} {{"));
        } else if !line.starts_with("\tcomment ") {
            self.add(line);
        }
    }

    /// The input for `nft -f`.
    ///
    /// # Errors
    /// What was not understood.
    pub(super) fn end(self) -> Result<String, String> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None if self.nat_chains < 3 => {
                Err(format!("the table {ORIGINAL} has only {} chains of nat", self.nat_chains))
            }
            None => Ok(self.text),
        }
    }

    fn end_of(&mut self, chain: &[String]) {
        let hook = chain.iter().find(|line| line.starts_with("\t\ttype "));
        let Some(hook) = hook else {
            for line in chain {
                self.add(line);
            }
            return;
        };
        let is_nat = hook.starts_with("\t\ttype nat ");
        self.nat_chains += usize::from(is_nat);
        if !is_nat && !chain.iter().any(|line| line.ends_with(KEPT)) {
            return;
        }
        for line in chain.iter().filter(|line| is_nat || !refuses(line)) {
            if line == hook && is_nat {
                match later(line) {
                    Some(later) => self.add(&later),
                    None => self.wrong = Some(format!("the priority of a chain was not understood: {}", line.trim())),
                }
            } else {
                self.add(line);
            }
            if line == hook {
                self.add(&format!("\t\tmeta time >= {} accept", self.until));
            }
        }
    }

    fn add(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Whether a rule of a base chain of type filter refuses what has no endpoints, or no Service: it has no reason any more when
/// the new mode knows better. kube-proxy has these at priority -110 and -90 up to 1.32, later at `filter` (`setupNFTables`,
/// pkg/proxy/nftables/proxier.go).
fn refuses(line: &str) -> bool {
    line.ends_with("-check") && !line.ends_with(KEPT)
}

/// The input for `nft -f` that removes the copy, whether there is one or not.
pub(super) fn remove(family: &str) -> String {
    format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n")
}

fn table_line(line: &str) -> Option<&str> {
    let family = line.strip_prefix("table ")?.strip_suffix(" {")?.strip_suffix(ORIGINAL)?.trim_end();
    ["ip", "ip6"].contains(&family).then_some(family)
}

/// The line with the next higher priority.
fn later(line: &str) -> Option<String> {
    let (before, rest) = line.split_once(" priority ")?;
    let (priority, after) = rest.split_once(';')?;
    let compact: String = priority.split_whitespace().collect();
    let named = PRIORITIES.iter().find_map(|(name, number)| Some((compact.strip_prefix(name)?, *number)));
    let (offset, base) = named.unwrap_or((&compact, 0));
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    Some(format!("{before} priority {};{after}", base + offset + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULESET: &str = include_str!("../../../../tests/node-leftovers/1.36-iptables-to-nftables/nft-ruleset");

    fn copy(text: &str) -> Result<String, String> {
        let mut copy = Copy::new(1_800_000_000);
        for line in text.lines() {
            copy.line(line);
        }
        copy.end()
    }

    fn families() -> [&'static str; 2] {
        RULESET.split_at(RULESET.find("table ip6 ").unwrap()).into()
    }

    #[test]
    fn a_table_of_its_own_that_runs_later() {
        let [ipv4, ipv6] = families();
        let text = copy(ipv4).unwrap();
        assert!(
            text.starts_with("table ip kpx-prep-bridge\ndelete table ip kpx-prep-bridge\ntable ip kpx-prep-bridge {\n")
        );
        for line in [
            "\t\ttype nat hook prerouting priority -99; policy accept;\n\t\tmeta time >= 1800000000 accept\n\t\tjump services",
            "\t\ttype nat hook output priority -99; policy accept;",
            "\t\ttype nat hook postrouting priority 101; policy accept;",
            "\t\ttype filter hook prerouting priority dstnat - 10; policy accept;\n\t\tmeta time >= 1800000000 accept\n\t\tct state new jump firewall-check",
            "\t\tupdate @affinity-C5QV7OTU-default/lb/tcp/https__10.244.0.6/8443 { ip saddr }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("priority filter") && !text.contains("kube-proxy"), "{text}");
        assert_eq!(text.matches("meta time").count(), 5);
        assert!(copy(ipv6).unwrap().contains("table ip6 kpx-prep-bridge {"));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    /// Where kube-proxy refused what has no endpoints before 1.33: before its own chains of nat.
    #[test]
    fn of_1_31_as_of_1_36_nothing_that_refuses_is_copied() {
        const OF_1_31: &str = include_str!("../../../../tests/captured/v1.31.14/nftables/nft");
        for family in <[&str; 2]>::from(OF_1_31.split_at(OF_1_31.find("table ip6 ").unwrap())) {
            let text = copy(family).unwrap();
            assert_eq!(text.matches("jump firewall-check").count(), 2, "{text}");
            for check in [
                "jump nodeport-endpoints-check",
                "jump service-endpoints-check",
                "jump cluster-ips-check",
                "filter-input",
                "post-dnat",
            ] {
                assert!(!text.contains(check), "{check}\n{text}");
            }
            assert_eq!(text.matches("meta time").count(), 5, "{text}");
        }
    }

    #[test]
    fn priorities() {
        for (priority, expected) in [
            ("dstnat", Some("-99")),
            ("-100", Some("-99")),
            ("dstnat + 5", Some("-94")),
            ("dstnat - 10", Some("-109")),
            ("srcnat", Some("101")),
            ("100", Some("101")),
            ("mangle", None),
            ("", Some("1")),
        ] {
            let line = |priority: &str| format!("\t\ttype nat hook output priority {priority}; policy accept;");
            assert_eq!(later(&line(priority)), expected.map(line), "{priority}");
        }
    }

    #[test]
    fn what_is_no_table_of_kube_proxys() {
        let [ipv4, _] = families();
        for text in [
            "",
            "table inet kube-proxy {\n}\n",
            "table ip other {\n}\n",
            &ipv4.replace("priority srcnat", "priority x"),
        ] {
            assert!(copy(text).is_err(), "{text}");
        }
    }
}
