//! The bridge out of iptables mode: a copy of kube-proxy's chains under names that its clean-up does not know. Pure.
//!
//! Only chain names change. Names of `recent` lists stay: the kernel keeps a list, and so session affinity, while any rule
//! refers to it. No copied rule refers to a `KUBE-` chain, which kube-proxy could not remove then.

use std::collections::{BTreeMap, BTreeSet};

use crate::mode::ProxyMode;
use crate::node::kube_proxy::rules::iptables_save::{Rule, Save, Table};
use crate::node::kube_proxy::rules::owners::{Owner, jump_modes, owner};

/// What the names of copied chains start with.
const OURS: &str = "KPX-";
const KUBE_PROXYS: &str = "KUBE-";
/// The tables in which Services are served; kube-proxy has only a canary in `mangle`.
const TABLES: [&str; 2] = ["nat", "filter"];

/// The input for `iptables-restore --noflush` that puts the bridge, in place of an older one; `None` if these tables are not
/// those of iptables mode. `until`: when the kernel itself stops using it, as `2026-01-31T12:00:00` in UTC (`xt_time`).
pub(super) fn put(save: &Save, until: &str) -> Option<String> {
    let mut text = String::new();
    for table in copied(save) {
        let copy = Copy::of(table);
        if copy.jumps.is_empty() && there(table).is_empty() {
            continue;
        }
        text.push_str(&copy.transaction(table, until));
    }
    text.contains("-j KPX-").then_some(text)
}

/// The input for `iptables-restore --noflush` that removes the bridge; `None` if there is none.
pub(super) fn remove(save: &Save) -> Option<String> {
    let with_one = copied(save).filter(|table| !there(table).is_empty());
    let text: String = with_one.map(|table| Copy::default().transaction(table, "")).collect();
    (!text.is_empty()).then_some(text)
}

/// The input for `iptables-restore --noflush` that puts back the bridge that is in these tables, once it was removed.
pub(super) fn again(save: &Save) -> Option<String> {
    let mut text = String::new();
    for table in copied(save).filter(|table| !there(table).is_empty()) {
        let chains = there(table);
        text.push_str(&format!("*{}\n", table.name));
        for chain in &chains {
            text.push_str(&format!(":{chain} - [0:0]\n"));
        }
        for rule in table.rules.iter().filter(|rule| chains.contains(rule.chain.as_str())) {
            text.push_str(&format!("{}\n", rule.line()));
        }
        for hook in table.hooks() {
            let jumps = table.rules_of(hook).enumerate();
            for (at, rule) in jumps.filter(|(_, rule)| rule.target().is_some_and(|target| chains.contains(target))) {
                text.push_str(&format!("-I {hook} {} {}\n", at + 1, rule.text));
            }
        }
        text.push_str("COMMIT\n");
    }
    (!text.is_empty()).then_some(text)
}

/// When the bridge in these tables ends, in the form given to [`put`].
pub(super) fn until(save: &Save) -> Option<String> {
    let jumps = copied(save).flat_map(|table| table.rules.iter().map(move |rule| (table, rule)));
    let mut jumps = jumps.filter(|(table, rule)| rule.target().is_some_and(|target| is_ours(&table.name, target)));
    jumps.find_map(|(_, rule)| rule.value(&["--datestop"]).map(str::to_owned))
}

/// The chains of a bridge in these tables, as `nat KPX-SERVICES`.
pub(super) fn chains(save: &Save) -> Vec<String> {
    copied(save).flat_map(|table| there(table).into_iter().map(|chain| format!("{} {chain}", table.name))).collect()
}

fn copied(save: &Save) -> impl Iterator<Item = &Table> {
    save.tables.iter().filter(|table| TABLES.contains(&table.name.as_str()))
}

/// The bridge's chains in a table.
fn there(table: &Table) -> BTreeSet<&str> {
    table.chains.iter().map(|chain| chain.name.as_str()).filter(|name| is_ours(&table.name, name)).collect()
}

/// Whether the chain is a copy of one of kube-proxy's or the kubelet's; other people's chains may be called `KPX-` too.
fn is_ours(table: &str, chain: &str) -> bool {
    let original = chain.strip_prefix(OURS).map(|name| format!("{KUBE_PROXYS}{name}"));
    original.is_some_and(|original| owner(table, &original) != Owner::Other)
}

/// The copy of a table's chains.
#[derive(Debug, Default)]
struct Copy<'a> {
    /// kube-proxy's jumps from a built-in chain, and the rule's place there.
    jumps: Vec<&'a Rule>,
    /// The chains that they lead to, with their rules.
    chains: BTreeMap<&'a str, Vec<&'a Rule>>,
}

impl<'a> Copy<'a> {
    fn of(table: &'a Table) -> Self {
        let mut rules: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
        // A refusal must not outlive its reason, and the new mode's rules do not come before it.
        for rule in table.rules.iter().filter(|rule| rule.target() != Some("REJECT")) {
            rules.entry(&rule.chain).or_default().push(rule);
        }
        let hooks = table.hooks();
        let is_jump = |rule: &&Rule| {
            hooks.contains(rule.chain.as_str())
                && jump_modes(&table.name, rule).is_some_and(|modes| modes.contains(&ProxyMode::Iptables.name()))
                && rule.target().is_some_and(|target| rules.contains_key(target))
        };
        let jumps: Vec<&Rule> = table.rules.iter().filter(is_jump).collect();
        let mut copy = Self { jumps, chains: BTreeMap::new() };
        let mut left: Vec<&str> = copy.jumps.iter().filter_map(|rule| rule.target()).collect();
        while let Some(chain) = left.pop() {
            if copy.chains.contains_key(chain) {
                continue;
            }
            let of_chain = rules.remove(chain).unwrap_or_default();
            let targets = of_chain.iter().filter_map(|rule| rule.target());
            left.extend(targets.filter(|target| is_copied(table, target)));
            copy.chains.insert(chain, of_chain);
        }
        copy
    }

    fn transaction(&self, table: &Table, until: &str) -> String {
        let old = there(table);
        let new: BTreeSet<String> = self.chains.keys().map(|chain| renamed(chain)).collect();
        let mut text = format!("*{}\n", table.name);
        // Declared, an existing chain is emptied.
        let names = old.iter().copied().chain(new.iter().map(String::as_str)).collect::<BTreeSet<&str>>();
        for name in &names {
            text.push_str(&format!(":{name} - [0:0]\n"));
        }
        let hooks = table.hooks();
        let is_old = |rule: &Rule| rule.target().is_some_and(|target| old.contains(target));
        for rule in table.rules.iter().filter(|rule| hooks.contains(rule.chain.as_str()) && is_old(rule)) {
            text.push_str(&format!("-D {} {}\n", rule.chain, rule.text));
        }
        for (chain, rules) in &self.chains {
            for rule in rules {
                text.push_str(&format!("-A {} {}\n", renamed(chain), copied_text(table, rule, None)));
            }
        }
        for hook in hooks {
            // Behind kube-proxy's own, so that these win while there are any; before what an administrator has put last, such as
            // a rule that drops the rest.
            let in_hook = table.rules_of(hook).filter(|rule| !is_old(rule));
            let last =
                in_hook.enumerate().filter(|(_, rule)| self.jumps.iter().any(|jump| std::ptr::eq(*jump, *rule))).last();
            let Some((last, _)) = last else { continue };
            for (at, jump) in self.jumps.iter().filter(|jump| jump.chain == hook).enumerate() {
                text.push_str(&format!("-I {hook} {} {}\n", last + 2 + at, copied_text(table, jump, Some(until))));
            }
        }
        for name in old.iter().filter(|name| !new.contains(**name)) {
            text.push_str(&format!("-X {name}\n"));
        }
        text.push_str("COMMIT\n");
        text
    }
}

fn is_copied(table: &Table, chain: &str) -> bool {
    chain.starts_with(KUBE_PROXYS) && table.has_chain(chain)
}

fn renamed(chain: &str) -> String {
    format!("{OURS}{}", chain.strip_prefix(KUBE_PROXYS).unwrap_or(chain))
}

/// The rule with the copy's chains as targets; for a jump from a built-in chain with the time of its end.
fn copied_text(table: &Table, rule: &Rule, until: Option<&str>) -> String {
    let mut copied: Vec<String> = Vec::new();
    let mut words = rule.words().peekable();
    while let Some(word) = words.next() {
        match word {
            // kube-proxy removes the counters of its own rules.
            "-m" if words.peek() == Some(&"nfacct") => drop(words.next()),
            "--nfacct-name" => drop(words.next()),
            "-j" | "-g" => {
                if let Some(until) = until {
                    copied.push(format!("-m time --datestop {until}"));
                }
                let target = words.next().unwrap_or_default();
                let target = if is_copied(table, target) { renamed(target) } else { target.to_owned() };
                copied.extend([word.to_owned(), target]);
            }
            "--comment" => copied.extend([word, words.next().unwrap_or_default()].map(str::to_owned)),
            word => copied.push(word.to_owned()),
        }
    }
    copied.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVE: &str = include_str!("../../../../tests/node-leftovers/1.36-nftables-to-iptables/ipv4-nft");

    fn chains_of(text: &str) -> BTreeSet<&str> {
        text.lines().filter_map(|line| line.strip_prefix(':')).filter_map(|line| line.split(' ').next()).collect()
    }

    #[test]
    fn only_names_change() {
        let save = Save::parse(SAVE);
        let text = put(&save, "2026-01-31T12:00:00").unwrap();
        let rules =
            |name: &str| save.table(name).unwrap().rules.iter().filter(|rule| rule.chain.starts_with("KUBE-")).count();
        assert_eq!(chains_of(&text).len(), 13 + 2, "{text}");
        for line in [
            "-I PREROUTING 2 -m comment --comment \"kubernetes service portals\" -m time --datestop 2026-01-31T12:00:00 -j KPX-SERVICES",
            "-I FORWARD 3 -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -m time --datestop 2026-01-31T12:00:00 -j KPX-PROXY-FIREWALL",
            "-A KPX-SVC-WMXB4IV4XJUTQTS2 -m comment --comment \"default/lb:https -> 10.244.0.6:8443\" -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-6C47SHRPP4NZNVS3 --mask 255.255.255.255 --rsource -j KPX-SEP-6C47SHRPP4NZNVS3",
            "-A KPX-FORWARD -m conntrack --ctstate INVALID -j DROP",
            "-A KPX-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        ] {
            assert!(text.lines().any(|there| there == line), "{line}\n{text}");
        }
        assert!(!text.contains("-j KUBE-") && !text.contains("REJECT") && !text.contains("nfacct"), "{text}");
        assert!(!text.contains("KPX-FIREWALL") && !text.contains("CANARY") && !text.contains("mangle"), "{text}");
        // Every rule of nat is copied; of filter none that refuses.
        assert_eq!(text.lines().filter(|line| line.starts_with("-A KPX-")).count(), rules("nat") + 4);
    }

    #[test]
    fn putting_twice_and_removing() {
        let save = Save::parse(SAVE);
        assert_eq!(remove(&save), None);
        let text = put(&save, "2026-01-31T12:00:00").unwrap();
        let after = applied(SAVE, &text);
        let save = Save::parse(&after);
        assert_eq!(chains(&save).len(), 15);
        assert_eq!(until(&save).as_deref(), Some("2026-01-31T12:00:00"));
        // In the place of the first one, with its own time.
        let again = applied(&after, &put(&save, "2026-01-31T13:00:00").unwrap());
        assert_eq!(again, after.replace("T12:", "T13:"));
        let removed = applied(&after, &remove(&save).unwrap());
        assert_eq!(removed, SAVE);
        assert_eq!(applied(&removed, &super::again(&save).unwrap()), after);
        // What kube-proxy leaves when it has removed its own.
        let gone: String = after
            .lines()
            .filter(|line| !line.contains("KUBE-") || line.contains("KPX-"))
            .map(|line| format!("{line}\n"))
            .collect();
        let save = Save::parse(&gone);
        assert_eq!(chains(&save).len(), 15);
        assert!(!applied(&gone, &remove(&save).unwrap()).contains("KPX-"));
    }

    #[test]
    fn other_modes_and_other_peoples_chains() {
        let foreign = "*nat\n:PREROUTING ACCEPT [0:0]\n:KPX-MINE - [0:0]\n:KUBE-LIKE - [0:0]\n-A PREROUTING -j KPX-MINE\n-A PREROUTING -j KUBE-LIKE\nCOMMIT\n";
        assert_eq!((put(&Save::parse(foreign), ""), remove(&Save::parse(foreign))), (None, None));
        assert_eq!(put(&Save::parse(""), ""), None);
    }

    /// What `iptables-restore --noflush` makes of a state.
    fn applied(state: &str, text: &str) -> String {
        let mut save = Save::parse(state);
        let mut table = 0;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = save.tables.iter().position(|table| table.name == name).unwrap();
                continue;
            }
            let table = &mut save.tables[table];
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
            let rule_of = |text: &str| Rule { chain: chain.to_owned(), text: text.to_owned() };
            match command {
                "-A" => table.rules.push(rule_of(rule)),
                "-D" => {
                    let at = table.rules.iter().position(|there| *there == rule_of(rule));
                    table.rules.remove(at.unwrap_or_else(|| panic!("{line}")));
                }
                "-I" => {
                    let (number, rule) = rule.split_once(' ').unwrap();
                    let of_chain: Vec<usize> =
                        (0..table.rules.len()).filter(|at| table.rules[*at].chain == chain).collect();
                    let before = number.parse::<usize>().unwrap() - 1;
                    let at = of_chain.get(before).copied().unwrap_or_else(|| of_chain.last().unwrap() + 1);
                    table.rules.insert(at, rule_of(rule));
                }
                "-X" => table.chains.retain(|there| there.name != rest),
                "COMMIT" => {}
                declared => {
                    let name = declared.strip_prefix(':').unwrap_or_else(|| panic!("{line}"));
                    table.rules.retain(|rule| rule.chain != name);
                    if !table.has_chain(name) {
                        let name = name.to_owned();
                        table.chains.push(crate::node::kube_proxy::rules::iptables_save::Chain { name, policy: None });
                    }
                }
            }
            assert!(table.rules.iter().all(|rule| table.has_chain(&rule.chain)), "{line}");
        }
        written(&save)
    }

    fn written(save: &Save) -> String {
        let mut text = String::new();
        for table in &save.tables {
            text.push_str(&format!("*{}\n", table.name));
            for chain in &table.chains {
                text.push_str(&format!(":{} {} [0:0]\n", chain.name, chain.policy.as_deref().unwrap_or("-")));
            }
            table.rules.iter().for_each(|rule| text.push_str(&format!("{}\n", rule.line())));
            text.push_str("COMMIT\n");
        }
        text
    }
}
