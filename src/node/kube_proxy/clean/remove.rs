//! Removing leftovers with the tools that created them. Each step can be interrupted and repeated.

use std::thread::sleep;
use std::time::Duration;

use crate::node::kube_proxy::bridge::Bridge;
use crate::node::kube_proxy::process::toolbox::Toolbox;
use crate::node::kube_proxy::rules::leftovers::Leftovers;
use crate::node::kube_proxy::rules::observe::Place;
use crate::node::kube_proxy::rules::owners::LINK;
use crate::node::kube_proxy::tools::{restore, run};
use crate::node::netlink::links;

/// nftables releases a set slightly later than the rule that used it.
const SET_TRIES: u32 = 15;
const SET_PAUSE: Duration = Duration::from_millis(200);
/// The kind that every version creates.
const LINK_KIND: &str = "dummy";

/// Removes iptables chains and rules, then nftables tables. Returns failures, one sentence each.
pub fn rules(toolbox: &Toolbox, left: &Leftovers) -> Vec<String> {
    let mut failures = Vec::new();
    for (place, text) in left.transactions() {
        failures.extend(restore(toolbox, place, &text).err());
    }
    if !left.nft_tables.is_empty() {
        failures.extend(run(toolbox, "nft", &["-f", "-"], Some(&nft_text(left))).err());
    }
    failures
}

/// Every transaction that removes these, each in the input format of its tool; `late` are further sets.
pub fn transactions(bridge: &Bridge, left: &Leftovers, late: &[String]) -> Vec<String> {
    let command = |place: &Place| if place.family == "ipv6" { "ip6tables" } else { "iptables" };
    let (of_bridge, nft_of_bridge) = bridge.transactions();
    let mut transactions: Vec<String> = of_bridge
        .into_iter()
        .chain(left.transactions())
        .map(|(place, text)| format!("# {}-{}-restore --noflush\n{text}", command(&place), place.variant))
        .collect();
    if !left.nft_tables.is_empty() || !nft_of_bridge.is_empty() {
        transactions.push(format!("# nft -f -\n{nft_of_bridge}{}", nft_text(left)));
    }
    if !left.sets.is_empty() || !late.is_empty() {
        transactions.push(format!("# ipset restore\n{}", ipset_text(left.sets.iter().chain(late))));
    }
    transactions
}

/// The input for `nft`.
pub fn nft_text(left: &Leftovers) -> String {
    left.nft_tables.iter().map(|table| format!("delete table {table}\n")).collect()
}

/// The input for `ipset`.
pub fn ipset_text<'a>(sets: impl IntoIterator<Item = &'a String>) -> String {
    sets.into_iter().map(|set| format!("destroy {set}\n")).collect()
}

/// Removes sets, which must not be in use any more. Returns failures, one sentence each.
pub fn sets(toolbox: &Toolbox, sets: &[String]) -> Vec<String> {
    if sets.is_empty() {
        return Vec::new();
    }
    // Usually all at once; it stops at the first one that is still in use.
    if run(toolbox, "ipset", &["restore"], Some(&ipset_text(sets))).is_ok() {
        return Vec::new();
    }
    let mut failures = Vec::new();
    for set in sets {
        let mut tries = 0;
        while let Err(error) = run(toolbox, "ipset", &["destroy", set], None) {
            tries += 1;
            if error.contains("does not exist") {
                break;
            }
            if tries == SET_TRIES || !error.contains("in use") {
                failures.push(error);
                break;
            }
            sleep(SET_PAUSE);
        }
    }
    failures
}

/// Removes `kube-ipvs0` with all its addresses.
///
/// # Errors
/// The failure, in one sentence.
pub fn link() -> Result<(), String> {
    match links::find(LINK) {
        Ok(Some(link)) if link.kind.as_deref() != Some(LINK_KIND) => {
            Err(format!("{LINK} was kept: it is not a {LINK_KIND} interface, so kube-proxy did not create it"))
        }
        Ok(Some(_)) => links::delete(LINK).map_err(|error| format!("{LINK} was not removed: {error}")),
        Ok(None) => Ok(()),
        Err(error) => Err(format!("looking up {LINK} failed: {error}")),
    }
}
