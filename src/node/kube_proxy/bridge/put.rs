//! `node bridge`: puts the bridge before kube-proxy is replaced.

use std::thread::sleep;
use std::time::Duration;

use super::nftables::Copy;
use super::{Bridge, deadline, iptables, listing};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::mode::traits::Carrier;
use crate::node::kube_proxy::process::toolbox::{Known, Toolbox};
use crate::node::kube_proxy::process::{answers, shares_network};
use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::kube_proxy::rules::stale::is_of;
use crate::node::kube_proxy::tools::{restore, run};
use crate::node::lock::NodeLock;
use crate::node::root::Root;
use crate::node_protocol::{BridgeOutcome, BridgeReport};
use crate::proxy_ports::ProxyPorts;
use crate::report::{API_VERSION, Level, finding};

/// Rules may change between reading and copying them; the copy is then refused as a whole and retried.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Options of `node bridge`.
#[derive(Clone, Debug)]
pub struct BridgeOptions {
    /// kube-proxy's ports.
    pub ports: ProxyPorts,
    /// The mode in which kube-proxy will start.
    pub to: ProxyMode,
    /// How long the kernel uses it.
    pub keep: Duration,
    /// What is known about kube-proxy.
    pub known: Known,
}

/// Copies the rules that kube-proxy removes when it starts in the given mode.
///
/// # Errors
/// If another run is in progress on this node, or the node cannot be inspected.
pub fn put(root: &Root, options: &BridgeOptions) -> anyhow::Result<(BridgeReport, Exit)> {
    let lock = NodeLock::take(root)?;
    lock.held()?;
    if !shares_network(root) {
        return Ok(ended(BridgeOutcome::Refused, "this process is not in the host's network namespace".to_owned()));
    }
    let running = answers::mode_of(root, &options.known, options.ports.metrics);
    let running = running.as_deref().and_then(|mode| mode.parse::<ProxyMode>().ok());
    let synced = running.is_some() && answers::last_sync(options.ports).is_ok();
    let toolbox = Toolbox::new(root, &options.known);
    let mut tries = 0..TRIES;
    let copied = loop {
        let observed = Observed::new(root, &toolbox)?;
        // What cannot be read cannot be copied, and must not pass for nothing.
        if let Some(unread) = observed.findings.iter().find(|finding| finding.level == Level::Error) {
            return Ok(ended(BridgeOutcome::Failed, format!("{}; nothing was changed", unread.message)));
        }
        let source = match source(&observed, running.filter(|_| synced), options.to) {
            Ok(source) => source,
            Err((outcome, summary)) => return Ok(ended(outcome, summary)),
        };
        let until = deadline::after(options.keep);
        let copied = match source {
            Source::Iptables => of_iptables(&toolbox, &observed, until),
            Source::Nftables => of_nftables(&toolbox, &observed, until),
        };
        tries.next();
        // Another program may have changed the rules in between.
        if copied.is_ok() || tries.is_empty() {
            break copied.map(|families| (families, until));
        }
        sleep(PAUSE);
    };
    Ok(match copied {
        Ok((families, until)) => ended(
            BridgeOutcome::Put,
            format!("rules copied for {families} address families, until {} UTC", deadline::date(until)),
        ),
        Err(why) => {
            // A half one would serve one address family only.
            let there = Observed::new(root, &toolbox).map(|observed| Bridge::of(&observed));
            let gone = there.is_ok_and(|there| there.remove(&toolbox).1.is_empty());
            let state = if gone { "no copy is there" } else { "parts of a copy may be left: run node clean" };
            ended(BridgeOutcome::Failed, format!("{why}; {state}"))
        }
    })
}

/// Whose rules are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Iptables,
    Nftables,
}

/// What kube-proxy will remove when it starts in `to`, or why nothing is copied. `synced`: the mode that runs, if it has synced.
///
/// Where it has not, a bridge that is there serves, and its own rules may be incomplete.
fn source(observed: &Observed, synced: Option<ProxyMode>, to: ProxyMode) -> Result<Source, (BridgeOutcome, String)> {
    let iptables = observed.saves.iter().any(|(_, save)| is_of(save, ProxyMode::Iptables));
    let virtual_servers = observed.saves.iter().any(|(_, save)| is_of(save, ProxyMode::Ipvs));
    let nftables = !observed.nft_tables.is_empty();
    if synced.is_none() && Bridge::of(observed).is_alive(&deadline::date(deadline::after(Duration::ZERO))) {
        return Err((BridgeOutcome::Put, "kube-proxy has not synced; the bridge that is there is kept".to_owned()));
    }
    let serves = synced.map(|mode| mode.traits().carrier);
    let serves = serves.or(nftables.then_some(Carrier::NftablesTables));
    let serves = serves.or(virtual_servers.then_some(Carrier::VirtualServers));
    match (serves.or(iptables.then_some(Carrier::IptablesChains)), to.traits().carrier) {
        (Some(Carrier::IptablesChains), Carrier::NftablesTables) if iptables => Ok(Source::Iptables),
        (Some(Carrier::VirtualServers), Carrier::NftablesTables) => {
            let why = "virtual servers of ipvs mode cannot be copied; switch to iptables mode first";
            Err((BridgeOutcome::Refused, why.to_owned()))
        }
        (Some(Carrier::NftablesTables), Carrier::IptablesChains | Carrier::VirtualServers) if nftables => {
            Ok(Source::Nftables)
        }
        (Some(Carrier::IptablesChains), Carrier::NftablesTables) => Err(not_found(ProxyMode::Iptables)),
        (Some(Carrier::NftablesTables), Carrier::IptablesChains | Carrier::VirtualServers) => {
            Err(not_found(ProxyMode::Nftables))
        }
        _ => {
            Err((BridgeOutcome::NothingToCopy, format!("no rules that kube-proxy removes when it starts in {to} mode")))
        }
    }
}

fn not_found(mode: ProxyMode) -> (BridgeOutcome, String) {
    (
        BridgeOutcome::Failed,
        format!("kube-proxy runs in {mode} mode, but its rules were not found; nothing was changed"),
    )
}

/// The number of copied families.
fn of_iptables(toolbox: &Toolbox, observed: &Observed, until: u64) -> Result<usize, String> {
    let mut copied = 0;
    for (place, save) in observed.saves.iter().filter(|(_, save)| is_of(save, ProxyMode::Iptables)) {
        let Some(text) = iptables::put(save, &deadline::date(until)) else { continue };
        restore(toolbox, *place, &text)?;
        copied += 1;
    }
    if copied == 0 { Err("no chain of iptables mode leads to a Service".to_owned()) } else { Ok(copied) }
}

fn of_nftables(toolbox: &Toolbox, observed: &Observed, until: u64) -> Result<usize, String> {
    let mut text = String::new();
    for table in &observed.nft_tables {
        let mut copy = Copy::new(until);
        for line in listing(toolbox, table)?.lines() {
            copy.line(line);
        }
        text.push_str(&copy.end()?);
    }
    if !text.is_empty() {
        run(toolbox, "nft", &["-f", "-"], Some(&text))?;
    }
    Ok(observed.nft_tables.len())
}

fn ended(outcome: BridgeOutcome, summary: String) -> (BridgeReport, Exit) {
    let exit = match outcome {
        BridgeOutcome::Put | BridgeOutcome::NothingToCopy => Exit::Done,
        BridgeOutcome::Refused => Exit::CheckSaysNo,
        BridgeOutcome::Failed => Exit::Failed,
    };
    let hint = "see kube-proxy's log; to switch without a bridge, give remediate the option --direct";
    let findings = match outcome {
        BridgeOutcome::Put | BridgeOutcome::NothingToCopy => Vec::new(),
        BridgeOutcome::Refused | BridgeOutcome::Failed => {
            vec![finding(Level::Error, "no-bridge", summary.clone(), hint)]
        }
    };
    let kind = "BridgeReport".to_owned();
    (BridgeReport { api_version: API_VERSION.to_owned(), kind, outcome, summary, findings }, exit)
}
