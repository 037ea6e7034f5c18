//! The objects of other modes on the observed host, and what is removed together. Pure.

use std::collections::BTreeSet;

use super::iptables_save::Save;
use super::ipvs_table::Server;
use super::observe::{Observed, Place};
use super::owners::{LINK, node_port_protocol};
use super::restore_text::restore_text;
use super::stale::{Stale, is_of, stale};
use crate::mode::ProxyMode;
use crate::mode::traits::Carrier;
use crate::node_protocol::{Leftover, LeftoverKind};

/// All leftovers, in the order of removal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Chains and rules, for each family and variant of iptables.
    pub iptables: Vec<(Place, Stale)>,
    /// Tables of nftables, as `ip kube-proxy`.
    pub nft_tables: Vec<String>,
    /// Sets that are not needed any more.
    pub sets: Vec<String>,
    /// kube-proxy's virtual servers.
    pub servers: Vec<Server>,
    /// Sets that identify the virtual servers of node ports as kube-proxy's, which must be removed before them.
    pub node_port_sets: Vec<String>,
    /// `kube-ipvs0`, whose addresses identify all other virtual servers.
    pub link: bool,
    /// What looks like kube-proxy's but is not, or is used by something else.
    pub suspicious: Vec<String>,
}

impl Leftovers {
    /// The leftovers for the running mode; with `from`, only those of that mode. If no mode runs, everything that kube-proxy
    /// made is left over.
    pub fn new(observed: &Observed, running: impl Into<Option<ProxyMode>>, from: Option<&str>) -> Self {
        let running = running.into();
        let mut left = Self::default();
        let wanted = |mode: &str| from.is_none_or(|from| from == mode);
        for (place, save) in &observed.saves {
            let here = running.filter(|running| !is_elsewhere(observed, *place, save, *running));
            let mut found = stale(save, here, from);
            left.suspicious.extend(found.suspicious.drain(..).map(|text| place.with(&text)));
            if !found.tables.is_empty() {
                left.iptables.push((*place, found));
            }
        }
        left.suspicious.extend(observed.sets.suspicious().map(|set| format!("the ipset {set} is not kube-proxy's")));
        let others = ProxyMode::ALL.into_iter().filter(|mode| wanted(mode.name()));
        let carries = running.map(|running| running.traits().carrier);
        for carrier in others.map(|mode| mode.traits().carrier).filter(|carrier| Some(*carrier) != carries) {
            match carrier {
                // Found above, by the owner of each chain: two modes may share one.
                Carrier::IptablesChains => {}
                Carrier::VirtualServers => left.of_ipvs(observed),
                Carrier::NftablesTables => left.nft_tables.clone_from(&observed.nft_tables),
            }
        }
        left
    }

    fn of_ipvs(&mut self, observed: &Observed) {
        let held = self.sets_that_stay_in_use(observed);
        for set in observed.sets.of_ipvs() {
            if let Some(rule) = held.iter().find(|(held, _)| held == set).map(|(_, rule)| rule) {
                self.suspicious
                    .push(format!("the ipset {set} is kept because it is used by a rule that is kept: {rule}"));
            } else if node_port_protocol(set).is_some() {
                self.node_port_sets.push(set.to_owned());
            } else {
                self.sets.push(set.to_owned());
            }
        }
        self.servers = observed.claimed().into_iter().cloned().collect();
        self.link = observed.link;
    }

    /// Sets that are used by rules that are kept, each with one of these rules.
    fn sets_that_stay_in_use(&self, observed: &Observed) -> BTreeSet<(String, String)> {
        let mut held = BTreeSet::new();
        for (place, save) in &observed.saves {
            let going = self.iptables.iter().find(|(at, _)| at == place).map(|(_, stale)| stale);
            for table in &save.tables {
                let chains: BTreeSet<&str> = going
                    .into_iter()
                    .flat_map(|stale| stale.tables.iter().filter(|stale| stale.name == table.name))
                    .flat_map(|stale| stale.chains.iter().map(|chain| chain.name.as_str()))
                    .collect();
                for rule in table.rules.iter().filter(|rule| !chains.contains(rule.chain.as_str())) {
                    held.extend(rule.sets().map(|set| (set.to_owned(), place.with(&rule.line()))));
                }
            }
        }
        held
    }

    /// The input for each restore tool.
    pub fn transactions(&self) -> Vec<(Place, String)> {
        self.iptables.iter().filter_map(|(place, stale)| Some((*place, restore_text(stale)?))).collect()
    }

    /// All leftovers as messages.
    pub fn list(&self) -> Vec<Leftover> {
        let mut list = Vec::new();
        let mut push = |of: &str, kind, place: String, name: String| {
            list.push(Leftover { of: of.to_owned(), kind, place, name });
        };
        for (place, stale) in &self.iptables {
            for table in &stale.tables {
                let at = format!("{} {} ({})", place.family, table.name, place.variant);
                for rule in &table.rules {
                    push(rule.of, LeftoverKind::Rule, at.clone(), rule.rule.line());
                }
                for chain in &table.chains {
                    push(chain.of, LeftoverKind::Chain, at.clone(), chain.name.clone());
                }
            }
        }
        for table in &self.nft_tables {
            push(ProxyMode::Nftables.name(), LeftoverKind::Table, "nftables".to_owned(), table.clone());
        }
        let ipvs = ProxyMode::Ipvs.name();
        for set in self.sets.iter().chain(&self.node_port_sets) {
            push(ipvs, LeftoverKind::Set, String::new(), set.clone());
        }
        for server in &self.servers {
            push(ipvs, LeftoverKind::VirtualServer, String::new(), server.name());
        }
        if self.link {
            push(ipvs, LeftoverKind::Link, String::new(), LINK.to_owned());
        }
        list
    }
}

impl Place {
    fn with(self, text: &str) -> String {
        format!("{} ({}) {text}", self.family, self.variant)
    }
}

/// Whether the running mode uses the other variant of this family, so that none of kube-proxy's objects is in use here.
fn is_elsewhere(observed: &Observed, place: Place, save: &Save, running: ProxyMode) -> bool {
    let other = |(at, _): &&(Place, Save)| at.family == place.family && at.variant != place.variant;
    !is_of(save, running) && observed.saves.iter().find(other).is_some_and(|(_, save)| is_of(save, running))
}
