//! The `nft` programs of a host and of kube-proxy: their versions, and a trial transaction of the kind that kube-proxy makes.
//!
//! `nft --check` has the kernel build the whole transaction, and then discards it: nothing is committed. Only the modules
//! of its expressions may get loaded, so it is not tried before they are.

use super::process::toolbox::{Known, Tool, Toolbox};
use super::process::{self};
use crate::mode::nftables::is_old_nft;
use crate::node::host::nft::{Nft, NftFacts, NftProbe, Trial};
use crate::node::root::Root;

/// The commands of the transaction, each with the module that it needs besides `nf_tables`. In capitals what depends on the
/// family. They are those of `setupNFTables` and `syncProxyRules` (pkg/proxy/nftables/proxier.go, 1.31 to 1.36) for a
/// Service with two endpoints, a node port, session affinity and none of its own names.
const COMMANDS: [(&str, Option<&str>); 32] = [
    ("add table FAMILY TABLE", None),
    ("add set FAMILY TABLE cluster-ips { type TYPE ; }", None),
    ("add set FAMILY TABLE hairpin { type TYPE . TYPE . inet_proto . inet_service ; }", None),
    ("add set FAMILY TABLE affinity { type TYPE ; flags dynamic,timeout ; timeout 10800s ; }", None),
    ("add map FAMILY TABLE service-ips { type TYPE . inet_proto . inet_service : verdict ; }", None),
    ("add map FAMILY TABLE service-nodeports { type inet_proto . inet_service : verdict ; }", None),
    ("add chain FAMILY TABLE filter-prerouting { type filter hook prerouting priority -110 ; }", None),
    ("add chain FAMILY TABLE filter-input { type filter hook input priority 0 ; }", None),
    ("add chain FAMILY TABLE filter-forward { type filter hook forward priority 0 ; }", None),
    ("add chain FAMILY TABLE filter-output { type filter hook output priority 0 ; }", None),
    ("add chain FAMILY TABLE nat-prerouting { type nat hook prerouting priority -100 ; }", Some("nft_chain_nat")),
    ("add chain FAMILY TABLE nat-output { type nat hook output priority -100 ; }", Some("nft_chain_nat")),
    ("add chain FAMILY TABLE nat-postrouting { type nat hook postrouting priority 100 ; }", Some("nft_chain_nat")),
    ("add chain FAMILY TABLE endpoints-check", None),
    ("add chain FAMILY TABLE reject-chain", None),
    ("add chain FAMILY TABLE services", None),
    ("add chain FAMILY TABLE service", None),
    ("add chain FAMILY TABLE endpoint", None),
    ("add chain FAMILY TABLE masquerading", None),
    ("add rule FAMILY TABLE filter-input ct state new jump endpoints-check", Some("nft_ct")),
    ("add rule FAMILY TABLE endpoints-check MATCH daddr @cluster-ips drop", None),
    ("add rule FAMILY TABLE reject-chain reject", Some("nft_reject_VERSION")),
    ("add rule FAMILY TABLE services MATCH daddr . meta l4proto . th dport vmap @service-ips", None),
    (
        "add rule FAMILY TABLE services fib daddr type local meta l4proto . th dport vmap @service-nodeports",
        Some("nft_fib_VERSION"),
    ),
    ("add rule FAMILY TABLE service meta mark set mark or 0x4000", None),
    ("add rule FAMILY TABLE service MATCH saddr @affinity goto endpoint", None),
    (
        "add rule FAMILY TABLE service numgen random mod 2 vmap { 0 : goto endpoint , 1 : goto endpoint }",
        Some("nft_numgen"),
    ),
    ("add rule FAMILY TABLE endpoint update @affinity { MATCH saddr }", None),
    ("add rule FAMILY TABLE endpoint meta l4proto tcp dnat to ENDPOINT", Some("nft_nat")),
    (
        "add rule FAMILY TABLE masquerading ct status dnat MATCH saddr . MATCH daddr . meta l4proto . th dport @hairpin masquerade fully-random",
        Some("nft_masq"),
    ),
    ("add element FAMILY TABLE cluster-ips { ADDRESS }", None),
    ("add element FAMILY TABLE service-ips { ADDRESS . tcp . 80 : goto service }", None),
];

/// A name that no other program uses.
const TABLE: &str = "kpx-prep-trial";

/// A command or module with its family; the addresses are those for documentation (RFC 5737, RFC 3849).
fn of_family(text: &str, family: &str) -> String {
    let ipv6 = family == "ip6";
    let pick = |four: &'static str, six: &'static str| if ipv6 { six } else { four };
    text.replace("FAMILY", family)
        .replace("TABLE", TABLE)
        .replace("TYPE", pick("ipv4_addr", "ipv6_addr"))
        .replace("MATCH", family)
        .replace("ADDRESS", pick("192.0.2.1", "2001:db8::1"))
        .replace("ENDPOINT", pick("192.0.2.2:80", "[2001:db8::2]:80"))
        .replace("VERSION", pick("ipv4", "ipv6"))
}

/// The text of the transaction in a family.
fn transaction(family: &str) -> String {
    COMMANDS.iter().map(|(command, _)| of_family(command, family) + "\n").collect()
}

/// The modules that the transaction in a family needs besides `nf_tables` and `nf_conntrack`.
#[cfg(test)]
fn modules(family: &str) -> std::collections::BTreeSet<String> {
    COMMANDS.iter().filter_map(|(_, module)| Some(of_family((*module)?, family))).collect()
}

/// Finds and runs the programs of a host, when they are asked.
pub struct Programs<'a> {
    /// The host.
    pub root: &'a Root,
    /// What is known about its kube-proxy.
    pub known: &'a Known,
}

impl NftProbe for Programs<'_> {
    fn probe(&self, families: &[&'static str], not_now: Option<String>) -> NftFacts {
        let of_host = Toolbox::of_host(self.root).find("nft");
        let toolbox = Toolbox::new(self.root, self.known);
        let of_kube_proxy = toolbox.has_kube_proxys().then(|| toolbox.find_kube_proxys("nft"));
        let program = match &of_kube_proxy {
            Some(own) => own.as_ref(),
            None => of_host.as_ref(),
        };
        let hosts = version(of_host.as_ref());
        // It may not understand what kube-proxy's does.
        let too_old =
            hosts.version().filter(|version| of_kube_proxy.is_none() && is_old_nft(version)).map(str::to_owned);
        let trial = match (program, not_now) {
            (None, _) => Trial::NotRun("there is no nft to make it with".to_owned()),
            (_, Some(why)) => Trial::NotRun(why),
            _ if !process::shares_network(self.root) => {
                Trial::NotRun("this process is not in the host's network namespace".to_owned())
            }
            (Some(program), None) => match too_old {
                Some(version) => Trial::NotRun(format!("the host's nft {version} is too old for it")),
                None => try_all(program, families),
            },
        };
        NftFacts { of_host: hosts, of_kube_proxy: of_kube_proxy.map(|program| version(program.as_ref())), trial }
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)`
fn version(program: Option<&Tool>) -> Nft {
    let Some(program) = program else { return Nft::Absent };
    let said = program.run(&["--version"], None).ok();
    let version = said.and_then(|said| Some(said.stdout.split_whitespace().nth(1)?.trim_start_matches('v').to_owned()));
    let is_version = |text: &String| text.starts_with(|c: char| c.is_ascii_digit()) && text.len() < 32;
    version.filter(is_version).map_or(Nft::Unknown, Nft::Version)
}

fn try_all(program: &Tool, families: &[&'static str]) -> Trial {
    for family in families {
        let refused = |command, why| Trial::Refused { family, command, why };
        match program.run(&["--check", "-f", "-"], Some(&transaction(family))) {
            Err(error) => return refused(None, format!("nft could not be run: {error}")),
            Ok(said) if said.success => {}
            Ok(said) => {
                if let Some(signal) = said.signal {
                    return Trial::Crashed { arguments: "--check -f -", signal };
                }
                let why = said.stderr.lines().next().unwrap_or("it printed no reason");
                return refused(command_of(why, family), reason(why).to_owned());
            }
        }
    }
    // Up to 1.35, kube-proxy lists the sets of all tables at each sync, where older programs crash (kubernetes issue 136786).
    match program.run(&["--terse", "list", "sets"], None) {
        Ok(said) => match said.signal {
            Some(signal) => Trial::Crashed { arguments: "--terse list sets", signal },
            None => Trial::Passed(families.to_vec()),
        },
        // A list that exceeds the limits was read.
        Err(_) => Trial::Passed(families.to_vec()),
    }
}

/// The command to which a message belongs: `/dev/stdin:24:41-64: Error: …`.
fn command_of(message: &str, family: &str) -> Option<(String, Option<&'static str>)> {
    let line: usize = message.split("stdin:").nth(1)?.split(':').next()?.parse().ok()?;
    let (command, module) = COMMANDS.get(line.checked_sub(1)?)?;
    let module = module.map(|module| match (module, family) {
        ("nft_fib_VERSION", "ip6") => "nft_fib_ipv6",
        ("nft_fib_VERSION", _) => "nft_fib_ipv4",
        ("nft_reject_VERSION", "ip6") => "nft_reject_ipv6",
        ("nft_reject_VERSION", _) => "nft_reject_ipv4",
        (other, _) => other,
    });
    Some((of_family(command, family), module))
}

/// A message without its place.
fn reason(message: &str) -> &str {
    message.split_once("Error: ").map_or(message, |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mode::nftables::{IPV6_MODULES, MODULES};

    #[test]
    fn the_transaction_is_of_its_family_and_of_our_own_table() {
        for family in ["ip", "ip6"] {
            let text = transaction(family);
            assert!(text.lines().count() == COMMANDS.len() && text.len() < 4096);
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                assert_eq!((words[0], words[2], words[3]), ("add", family, TABLE), "{line}");
                assert!(!line.contains(|c: char| c.is_ascii_uppercase()), "{line}");
            }
        }
    }

    /// Each module that a node is prepared with is tried, and no other one is needed.
    #[test]
    fn the_transaction_needs_what_is_prepared() {
        // They come with those of a family, or with nft_ct.
        let implied = ["nf_tables", "nf_conntrack", "nft_fib", "nft_reject"];
        let prepared: std::collections::BTreeSet<String> = MODULES
            .iter()
            .chain(&IPV6_MODULES)
            .filter(|name| !implied.contains(name))
            .map(|name| (*name).to_owned())
            .collect();
        assert_eq!(&modules("ip") | &modules("ip6"), prepared);
    }

    #[test]
    fn messages_name_the_command() {
        let at = COMMANDS.iter().position(|(command, _)| command.contains("fib daddr")).unwrap() + 1;
        let said = format!("/dev/stdin:{at}:41-64: Error: Could not process rule: No such file or directory");
        let (command, module) = command_of(&said, "ip6").unwrap();
        assert!(command.contains("fib daddr type local") && module == Some("nft_fib_ipv6"), "{command}");
        assert_eq!(reason(&said), "Could not process rule: No such file or directory");
        for message in [
            "",
            "netlink: Error: cache initialization failed: Operation not permitted",
            "/dev/stdin:0:1-2: x",
            "/dev/stdin:999:1-2: x",
        ] {
            assert_eq!(command_of(message, "ip"), None, "{message}");
        }
    }
}
