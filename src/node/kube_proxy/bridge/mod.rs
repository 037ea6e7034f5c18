//! The bridge: carries new connections while kube-proxy itself has no rules.
//!
//! From 1.29 on kube-proxy removes the other family's rules when it starts in or after nftables mode, before its first sync
//! (`platformCleanup`, `cmd/kube-proxy/app/server_linux.go`). A copy of the old rules under names that it does not know serves
//! Services until the new ones are there. The kernel itself stops using it after a time, because everything else may have been
//! killed; `node clean` removes it when the new rules are there.

mod deadline;
mod iptables;
mod nftables;
pub mod put;

use super::process::toolbox::Toolbox;
use super::rules::observe::{Observed, Place};
use super::tools::{restore, run};
use crate::node_protocol::{Leftover, LeftoverKind};

/// The bridge on an observed host; empty if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// For each family and variant of iptables: its chains, and the transactions that remove it and that put it back.
    iptables: Vec<InIptables>,
    /// Its tables of nftables, as `ip kpx-prep-bridge`.
    tables: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct InIptables {
    place: Place,
    chains: Vec<String>,
    /// When it ends, as [`deadline::date`]; empty if no jump leads to it.
    until: String,
    remove: String,
    put_back: String,
}

/// What puts a removed bridge back.
#[derive(Debug, Default)]
pub struct Removed {
    iptables: Vec<(Place, String)>,
    nft: String,
}

impl Bridge {
    /// The bridge on this host.
    pub fn of(observed: &Observed) -> Self {
        let in_iptables = |(place, save): &(Place, super::rules::iptables_save::Save)| {
            Some(InIptables {
                place: *place,
                chains: iptables::chains(save),
                until: iptables::until(save).unwrap_or_default(),
                remove: iptables::remove(save)?,
                put_back: iptables::again(save)?,
            })
        };
        Self {
            iptables: observed.saves.iter().filter_map(in_iptables).collect(),
            tables: observed.bridge_tables.clone(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iptables.is_empty() && self.tables.is_empty()
    }

    /// Whether it carries connections of this family, `ipv4` or `ipv6`.
    pub fn carries(&self, family: &str) -> bool {
        let is_ipv6 = family == "ipv6";
        self.iptables.iter().any(|part| part.place.family == family)
            || self.tables.iter().any(|table| table.starts_with("ip6") == is_ipv6)
    }

    /// Whether there is one that the kernel still uses at this time, in the form of [`deadline::date`]. Of tables it is assumed.
    fn is_alive(&self, now: &str) -> bool {
        !self.tables.is_empty() || self.iptables.iter().any(|part| part.until.as_str() > now)
    }

    /// Its chains and tables as leftovers of kpx-prep.
    pub fn list(&self) -> Vec<Leftover> {
        let leftover = |kind, place: String, name: &str| Leftover {
            of: env!("CARGO_PKG_NAME").to_owned(),
            kind,
            place,
            name: name.to_owned(),
        };
        let mut list = Vec::new();
        for part in &self.iptables {
            for chain in &part.chains {
                let (table, chain) = chain.split_once(' ').unwrap_or_default();
                let place = format!("{} {table} ({})", part.place.family, part.place.variant);
                list.push(leftover(LeftoverKind::Chain, place, chain));
            }
        }
        list.extend(self.tables.iter().map(|table| leftover(LeftoverKind::Table, "nftables".to_owned(), table)));
        list
    }

    /// The transactions that remove it, in the input format of each tool.
    pub fn transactions(&self) -> (Vec<(Place, String)>, String) {
        let nft = self.tables.iter().map(|table| format!("delete table {table}\n")).collect();
        (self.iptables.iter().map(|part| (part.place, part.remove.clone())).collect(), nft)
    }

    /// Removes it, one transaction for each family. Returns what puts it back, and failures, one sentence each.
    pub fn remove(&self, toolbox: &Toolbox) -> (Removed, Vec<String>) {
        let (mut removed, mut failures) = (Removed::default(), Vec::new());
        for part in &self.iptables {
            // It fails table by table: a part of it may be gone, and is put back too.
            failures.extend(restore(toolbox, part.place, &part.remove).err());
            removed.iptables.push((part.place, part.put_back.clone()));
        }
        for table in &self.tables {
            // What is not known could not be put back.
            let removal = listing(toolbox, table).and_then(|listed| {
                run(toolbox, "nft", &["-f", "-"], Some(&format!("delete table {table}\n")))?;
                removed.nft.push_str(&listed);
                Ok(())
            });
            failures.extend(removal.err());
        }
        (removed, failures)
    }
}

impl Removed {
    /// With what was removed later.
    pub fn add(&mut self, later: Self) {
        // What was tried twice is put back once, as it was the second time.
        self.iptables.retain(|(place, _)| later.iptables.iter().all(|(again, _)| again != place));
        self.iptables.extend(later.iptables);
        self.nft.push_str(&later.nft);
    }

    /// Puts the bridge back as it was. Returns failures, one sentence each.
    pub fn put_back(&self, toolbox: &Toolbox) -> Vec<String> {
        let iptables = self.iptables.iter().filter_map(|(place, text)| restore(toolbox, *place, text).err());
        let mut failures: Vec<String> = iptables.collect();
        if !self.nft.is_empty() {
            failures.extend(run(toolbox, "nft", &["-f", "-"], Some(&self.nft)).err());
        }
        failures
    }
}

/// A table as `nft` prints it.
fn listing(toolbox: &Toolbox, table: &str) -> Result<String, String> {
    let nft = toolbox.find("nft").ok_or("nft was not found in kube-proxy's container or on the host")?;
    let mut text = String::new();
    let arguments: Vec<&str> = ["list", "table"].into_iter().chain(table.split(' ')).collect();
    nft.read(&arguments, &mut |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok(text)
}
