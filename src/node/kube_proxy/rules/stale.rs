//! The iptables chains and rules that the running mode does not use. Pure.
//!
//! [`super::owners`] lists what may be removed; chains that rules of the running mode or of others reach are kept.

use std::collections::BTreeMap;

use super::iptables_save::{Rule, Save, Table};
use super::owners::{FIREWALL, Owner, jump_modes, owner};
use crate::mode::ProxyMode;

/// The iptables objects of other modes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Tables with stale objects, in order.
    pub tables: Vec<StaleTable>,
    /// What looks like kube-proxy's but is not, or is kube-proxy's but used by something else.
    pub suspicious: Vec<String>,
}

/// The stale part of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaleTable {
    /// The table's name.
    pub name: String,
    /// Rules in chains that are kept, one entry per occurrence.
    pub rules: Vec<StaleRule>,
    /// Chains to remove with all their rules.
    pub chains: Vec<StaleChain>,
}

/// A stale rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleRule {
    /// The mode that created it.
    pub of: &'static str,
    /// The rule.
    pub rule: Rule,
}

/// A stale chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleChain {
    /// The mode that created it.
    pub of: &'static str,
    /// Its name.
    pub name: String,
}

/// Whether the running mode uses these tables: the chain for Services, which each mode rewrites as a whole, jumps to chains
/// that only this mode has. Nftables mode has no such tables.
pub fn is_of(save: &Save, running: ProxyMode) -> bool {
    let only_its_own = |rule: &Rule| {
        let target = rule.target().map(|target| owner("nat", target));
        matches!(target, Some(Owner::KubeProxy([mode])) if *mode == running.name())
    };
    save.table("nat").is_some_and(|table| table.rules_of("KUBE-SERVICES").any(only_its_own))
}

/// What is stale in these tables while `running` runs. If `None`, everything of kube-proxy is: the running mode uses the
/// other variant of iptables, or no kube-proxy runs. With `from`, only what that mode left.
pub fn stale(save: &Save, running: Option<ProxyMode>, from: Option<&str>) -> Stale {
    let mut stale = Stale::default();
    let looks_like_ipvs = is_of(save, ProxyMode::Ipvs);
    for table in &save.tables {
        let judge = Judge::new(table, running.map(ProxyMode::name), from, looks_like_ipvs);
        let found = judge.stale(&mut stale.suspicious);
        if !found.rules.is_empty() || !found.chains.is_empty() {
            stale.tables.push(found);
        }
    }
    stale
}

struct Judge<'a> {
    table: &'a Table,
    running: Option<&'static str>,
    from: Option<&'a str>,
    looks_like_ipvs: bool,
    /// For each rule, the modes that create it, if it is one of kube-proxy's jumps in a built-in chain.
    jumps: Vec<Option<&'static [&'static str]>>,
}

impl<'a> Judge<'a> {
    fn new(table: &'a Table, running: Option<&'static str>, from: Option<&'a str>, looks_like_ipvs: bool) -> Self {
        let hooks = table.hooks();
        let jump = |rule: &Rule| hooks.contains(rule.chain.as_str()).then(|| jump_modes(&table.name, rule)).flatten();
        Self { table, running, from, looks_like_ipvs, jumps: table.rules.iter().map(jump).collect() }
    }

    fn stale(&self, suspicious: &mut Vec<String>) -> StaleTable {
        let mut chains: BTreeMap<&str, &'static str> = BTreeMap::new();
        for chain in &self.table.chains {
            match owner(&self.table.name, &chain.name) {
                Owner::KubeProxy(modes) if self.is_stale(&chain.name, modes) => {
                    let of = self.one_of(modes);
                    if self.wanted(of) {
                        chains.insert(&chain.name, of);
                    }
                }
                Owner::Other if chain.name.starts_with("KUBE-") => {
                    suspicious.push(format!("{}: the chain {} is not kube-proxy's", self.table.name, chain.name));
                }
                _ => {}
            }
        }
        self.keep_what_is_reached(&mut chains, suspicious);
        let rules = self.rules().filter(|(rule, _)| !chains.contains_key(rule.chain.as_str()));
        StaleTable {
            name: self.table.name.clone(),
            rules: rules.filter_map(|(rule, modes)| self.stale_jump(rule, modes?)).collect(),
            chains: chains.into_iter().map(|(name, of)| StaleChain { of, name: name.to_owned() }).collect(),
        }
    }

    fn rules(&self) -> impl Iterator<Item = (&'a Rule, Option<&'static [&'static str]>)> {
        self.table.rules.iter().zip(self.jumps.iter().copied())
    }

    fn is_stale(&self, chain: &str, modes: &[&str]) -> bool {
        if self.is_kept_by_an_old_kubelet(chain) {
            return false;
        }
        let Some(running) = self.running.filter(|running| modes.contains(running)) else { return true };
        // Older versions of either mode do not have this chain: it belongs to the running mode if that jumps to it.
        let reaches = |rule: &Rule, by: &[&str]| rule.target() == Some(FIREWALL) && by.contains(&running);
        chain == FIREWALL && !self.rules().any(|(rule, by)| by.is_some_and(|by| reaches(rule, by)))
    }

    /// Until 1.27 the kubelet creates these itself, together with the chain that marks packets to drop.
    fn is_kept_by_an_old_kubelet(&self, chain: &str) -> bool {
        self.table.name == "nat"
            && matches!(chain, "KUBE-POSTROUTING" | "KUBE-MARK-MASQ")
            && self.table.has_chain("KUBE-MARK-DROP")
    }

    /// The mode to report if several create the object: ipvs if the tables look like it.
    fn one_of(&self, modes: &'static [&'static str]) -> &'static str {
        let preferred = modes.iter().find(|mode| (**mode == "ipvs") == self.looks_like_ipvs);
        preferred.or(modes.first()).copied().unwrap_or_default()
    }

    fn wanted(&self, of: &str) -> bool {
        self.from.is_none_or(|from| from == of)
    }

    /// Removes from `chains` those that a kept rule reaches, directly or through other chains.
    fn keep_what_is_reached(&self, chains: &mut BTreeMap<&str, &'static str>, suspicious: &mut Vec<String>) {
        let mut of_chain: BTreeMap<&str, Vec<(&Rule, bool)>> = BTreeMap::new();
        for (rule, jump) in self.rules() {
            // Stale jumps do not count: they are removed with the chain.
            if jump.is_none_or(|modes| self.stale_jump(rule, modes).is_none()) {
                of_chain.entry(&rule.chain).or_default().push((rule, jump.is_some()));
            }
        }
        let mut left: Vec<&str> = of_chain.keys().copied().filter(|chain| !chains.contains_key(chain)).collect();
        while let Some(chain) = left.pop() {
            let foreign = !matches!(owner(&self.table.name, chain), Owner::KubeProxy(_));
            for (rule, own) in of_chain.get(chain).into_iter().flatten() {
                let Some((target, _)) = rule.target().and_then(|target| chains.remove_entry(target)) else { continue };
                left.push(target);
                if foreign && !own {
                    suspicious.push(format!(
                        "{}: the chain {target} is kept because a rule that is not kube-proxy's jumps to it: {}",
                        self.table.name,
                        rule.line()
                    ));
                }
            }
        }
    }

    /// A jump of another mode in a chain that is kept.
    fn stale_jump(&self, rule: &Rule, modes: &'static [&'static str]) -> Option<StaleRule> {
        let of = self.one_of(modes);
        let runs = self.running.is_some_and(|running| modes.contains(&running));
        let kept = rule.target().is_some_and(|target| self.is_kept_by_an_old_kubelet(target));
        (!runs && !kept && self.wanted(of)).then(|| StaleRule { of, rule: rule.clone() })
    }
}
