//! Taking leftovers away with the tools that made them. Each step can be killed and done again.

use std::thread::sleep;
use std::time::Duration;

use super::leftovers::Leftovers;
use super::observe::Place;
use super::owners::LINK;
use super::toolbox::{Said, Tool, Toolbox};
use crate::node::netlink::links;

/// Seconds to wait for whoever else changes rules right now.
const LOCK_SECONDS: &str = "5";
/// nftables lets go of a set a moment after the rule that used it.
const SET_TRIES: u32 = 15;
const SET_PAUSE: Duration = Duration::from_millis(200);
/// Every version makes it of this kind.
const LINK_KIND: &str = "dummy";

/// Chains and rules of iptables, then tables of nftables. What did not work, each in a sentence.
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

/// What `nft` is to read.
pub fn nft_text(left: &Leftovers) -> String {
    left.nft_tables.iter().map(|table| format!("delete table {table}\n")).collect()
}

/// What `ipset` is to read.
pub fn ipset_text<'a>(sets: impl IntoIterator<Item = &'a String>) -> String {
    sets.into_iter().map(|set| format!("destroy {set}\n")).collect()
}

fn restore(toolbox: &Toolbox, place: Place, text: &str) -> Result<(), String> {
    let Some([_, tool]) = place.tools(toolbox) else {
        return Err(format!("the program to change rules of {} ({}) is gone", place.family, place.variant));
    };
    let first = tool.run(&["--noflush", "-w", LOCK_SECONDS], Some(text));
    let unknown = |said: &Said| {
        !said.success
            && ["unrecognized option", "unknown option", "invalid option"].iter().any(|w| said.stderr.contains(w))
    };
    // Before 1.6.2 it could not wait.
    let result = if first.as_ref().is_ok_and(unknown) { tool.run(&["--noflush"], Some(text)) } else { first };
    said(&tool, result)
}

/// Sets, which nothing may use any more. What did not work, each in a sentence.
pub fn sets(toolbox: &Toolbox, sets: &[String]) -> Vec<String> {
    if sets.is_empty() {
        return Vec::new();
    }
    // All at once, as a rule; it stops at the first that is still in use.
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

/// `kube-ipvs0` with all its addresses.
///
/// # Errors
/// What did not work, in a sentence.
pub fn link() -> Result<(), String> {
    match links::find(LINK) {
        Ok(Some(link)) if link.kind.as_deref() != Some(LINK_KIND) => {
            Err(format!("{LINK} stays: it is no {LINK_KIND} interface, so kube-proxy did not make it"))
        }
        Ok(Some(_)) => links::delete(LINK).map_err(|error| format!("{LINK} stays: {error}")),
        Ok(None) => Ok(()),
        Err(error) => Err(format!("{LINK} could not be looked for: {error}")),
    }
}

fn run(toolbox: &Toolbox, program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), String> {
    let tool = toolbox
        .find(program)
        .ok_or_else(|| format!("{program} is neither in kube-proxy's container nor on the host: install it"))?;
    said(&tool, tool.run(arguments, input))
}

fn said(tool: &Tool, result: std::io::Result<Said>) -> Result<(), String> {
    match result {
        Ok(said) if said.success => Ok(()),
        Ok(said) if said.stderr.is_empty() => Err(format!("{} failed without a word", tool.name())),
        Ok(said) => Err(format!("{}: {}", tool.name(), said.stderr.replace('\n', "; "))),
        Err(error) => Err(format!("{} could not be run: {error}", tool.name())),
    }
}
