//! `node clean`: make before break. Removes what other modes left once the running mode has taken over.
//!
//! Stateless: each run starts from what it observes, and reports as removed only what it observed to be gone.

pub mod drain;
mod firewall_jumps;
mod outcome;
pub mod own_connections;
pub mod remove;
mod without_kube_proxy;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::process::toolbox::{Known, Toolbox};
use super::process::{answers, shares_network};
use super::ready::{wait_serving, wait_synced};
use super::rules::leftovers::Leftovers;
use super::rules::observe::Observed;
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::node::kube_proxy::bridge::Bridge;
use crate::node::lock::NodeLock;
use crate::node::root::Root;
use crate::node_protocol::{CleanOutcome, CleanReport, Leftover, ServicePort};
use crate::proxy_ports::ProxyPorts;
use crate::report::{Level, finding};
use drain::drain;
use firewall_jumps::FirewallJumps;
use outcome::{count, empty, exit_of, stopped, tell_cut, tell_failures, without_bridge};

/// How long Services may be silent once the bridge is gone, before it is put back.
const WITHOUT_BRIDGE: Duration = Duration::from_secs(5);
/// How long a kube-proxy that was started just now, whose Services are waited for, may be silent: on a busy node it programs
/// its rules before it answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// kube-proxy may write rules between reading and changing them; the change is then refused as a whole and retried.
const TRIES: u32 = 3;

/// Options of `node clean`.
#[derive(Clone, Debug)]
pub struct CleanOptions {
    /// Clean only what this mode left; otherwise what any mode but the running one left.
    pub from: Option<ProxyMode>,
    /// Only report what would be done.
    pub dry_run: bool,
    /// kube-proxy's ports.
    pub ports: ProxyPorts,
    /// The Service ports that the running mode must have programmed.
    pub services: Vec<ServicePort>,
    /// How long to wait for that.
    pub wait: Duration,
    /// Do not remove the virtual servers and what identifies them.
    pub keep_virtual_servers: bool,
    /// How long virtual servers may remain after their mode was left.
    pub drain: Duration,
    /// Remove only the bridge.
    pub keep_leftovers: bool,
    /// No kube-proxy runs on the node any more, and another data plane answers for this Service: remove everything that
    /// kube-proxy made.
    pub without: Option<SocketAddr>,
    /// What is known about kube-proxy.
    pub known: Known,
}

/// Cleans a node.
///
/// # Errors
/// If another run is in progress on this node, or the node cannot be inspected. An object that cannot be removed is not
/// an error but a report with [`CleanOutcome::Failed`].
pub fn clean(root: &Root, options: &CleanOptions) -> anyhow::Result<(CleanReport, Exit)> {
    let lock = if options.dry_run { None } else { Some(NodeLock::take(root)?) };
    lock.as_ref().map_or(Ok(()), NodeLock::held)?;
    if let Some(service) = options.without {
        return without_kube_proxy::clean(root, options, service);
    }
    let running = match running(root, options) {
        Ok(running) => running,
        Err((mode, why)) => return Ok(stopped(CleanOutcome::Refused, mode, why)),
    };
    let name = Some(running.name().to_owned());
    let deadline = Instant::now() + if options.dry_run { Duration::ZERO } else { options.wait };
    let mut jumps = FirewallJumps::new(running, !options.dry_run && !options.keep_leftovers);
    let mut each = || jumps.remove(root, &options.known);
    let waited = wait_synced(root, running, options.ports, &options.services, &options.known, deadline, &mut each)?;
    let seen = match waited {
        Ok(seen) => seen,
        Err(why) => return Ok(stopped(CleanOutcome::NotSynced, name, why)),
    };
    let bridge = Bridge::of(&seen.1);
    if options.dry_run || bridge.is_empty() {
        if let Err(why) = wait_serving(&options.services, deadline) {
            return Ok(stopped(CleanOutcome::NotServing, name, why));
        }
        return Cleaning { root, options, running, bridge, bridge_failures: Vec::new(), failures: Vec::new() }
            .run(seen);
    }
    let (toolbox, observed) = seen;
    // While it is there, it would answer instead of kube-proxy's own rules.
    let (mut removed, mut failures) = bridge.remove(&toolbox);
    for _ in 1..TRIES {
        if failures.is_empty() {
            break;
        }
        let rest = Bridge::of(&Observed::new(root, &toolbox)?);
        let again = rest.remove(&toolbox);
        removed.add(again.0);
        failures = again.1;
    }
    drop(observed);
    if let Err(why) = wait_serving(&options.services, Instant::now() + WITHOUT_BRIDGE) {
        failures.extend(removed.put_back(&toolbox));
        let state = match &failures[..] {
            [] => "the copy of the old rules was put back and serves until it expires".to_owned(),
            failures => format!("the copy of the old rules could not be put back: {}", failures.join("; ")),
        };
        return Ok(without_bridge(name, &why, &state));
    }
    let observed = Observed::new(root, &toolbox)?;
    Cleaning { root, options, running, bridge, bridge_failures: failures, failures: Vec::new() }
        .run((toolbox, observed))
}

/// The running mode if cleaning is possible, otherwise the reason.
fn running(root: &Root, options: &CleanOptions) -> Result<ProxyMode, (Option<String>, String)> {
    if !shares_network(root) {
        return Err((
            None,
            "this process is not in the host's network namespace; run it on the host or in a pod with hostNetwork"
                .to_owned(),
        ));
    }
    let waits = !options.dry_run && !options.services.is_empty();
    let wait = if waits { options.wait.min(ANSWERS_WITHIN) } else { Duration::ZERO };
    let deadline = Instant::now() + wait;
    let mode = loop {
        match answers::mode_of(root, &options.known, options.ports.metrics) {
            Some(mode) => break mode,
            None if Instant::now() < deadline => std::thread::sleep(ASK_AGAIN),
            None => {
                return Err((None, format!("no kube-proxy answers on 127.0.0.1:{}/proxyMode", options.ports.metrics)));
            }
        }
    };
    match mode.parse::<ProxyMode>() {
        Ok(running) if options.from == Some(running) => {
            let why = format!("kube-proxy runs in {running} mode, so the objects of that mode are in use");
            Err((Some(mode), why))
        }
        Ok(running) => Ok(running),
        Err(error) => Err((Some(mode), error.to_string())),
    }
}

struct Cleaning<'a> {
    root: &'a Root,
    options: &'a CleanOptions,
    running: ProxyMode,
    /// The bridge that was there at the start.
    bridge: Bridge,
    bridge_failures: Vec<String>,
    failures: Vec<String>,
}

impl Cleaning<'_> {
    fn run(mut self, (mut toolbox, mut observed): (Toolbox, Observed)) -> anyhow::Result<(CleanReport, Exit)> {
        let mut left = self.judge(&observed);
        if self.options.keep_leftovers {
            return Ok(self.kept(&observed, &left));
        }
        let before = [self.bridge.list(), left.list()].concat();
        if self.options.dry_run {
            return Ok(self.would(&observed, &left, before));
        }
        // First, so that fewer connections remain to be drained at the end.
        if self.running.traits().holds_connections {
            own_connections::come_from_the_service(&observed);
        } else if left.link {
            own_connections::come_from_the_host(&observed);
        }
        // Reading starts a process for each table, so it is done once after rules and sets.
        let mut sets_tried = false;
        for _ in 0..TRIES {
            let no_rules = left.iptables.is_empty() && left.nft_tables.is_empty();
            if no_rules && (left.sets.is_empty() || sets_tried) {
                break;
            }
            if let Err(why) = self.still_runs() {
                self.failures = vec![why];
                break;
            }
            self.failures = remove::rules(&toolbox, &left);
            if self.failures.is_empty() {
                self.failures = remove::sets(&toolbox, &left.sets);
                sets_tried = true;
            }
            toolbox = Toolbox::new(self.root, &self.options.known);
            (observed, left) = self.look(&toolbox)?;
        }
        let mut cut = 0;
        if !self.options.keep_virtual_servers
            && (left.link || !left.servers.is_empty() || !left.node_port_sets.is_empty())
        {
            let drained = drain(self.root, &mut observed, self.options.drain, &|| self.still_runs())?;
            cut = drained.cut;
            self.failures.extend(drained.failures);
            if observed.claimed().is_empty() {
                // These two identify kube-proxy's virtual servers, so they are removed last.
                self.failures.extend(remove::sets(&toolbox, &left.node_port_sets));
                self.failures.extend(remove::link().err());
            }
            (observed, left) = self.look(&toolbox)?;
        }
        Ok(self.report(&observed, &left, &before, cut))
    }

    /// Checks that kube-proxy still runs the same mode. Called before each removal: this process may have been suspended or
    /// waiting for connections while kube-proxy was switched.
    fn still_runs(&self) -> Result<(), String> {
        match answers::mode_of(self.root, &self.options.known, self.options.ports.metrics) {
            Some(mode) if mode == self.running.name() => Ok(()),
            Some(mode) => Err(format!("kube-proxy was switched to {mode}; stopped without removing anything else")),
            None => Err("kube-proxy does not answer any more; stopped without removing anything else".to_owned()),
        }
    }

    fn look(&self, toolbox: &Toolbox) -> anyhow::Result<(Observed, Leftovers)> {
        let observed = Observed::new(self.root, toolbox)?;
        let left = self.judge(&observed);
        Ok((observed, left))
    }

    fn judge(&self, observed: &Observed) -> Leftovers {
        Leftovers::new(observed, self.running, self.options.from.map(ProxyMode::name))
    }

    /// The number of objects that are kept on request.
    fn is_kept(&self, left: &Leftovers) -> usize {
        if self.options.keep_virtual_servers {
            left.servers.len() + left.node_port_sets.len() + usize::from(left.link)
        } else {
            0
        }
    }

    /// Only the bridge was removed.
    fn kept(self, observed: &Observed, left: &Leftovers) -> (CleanReport, Exit) {
        let remaining = [Bridge::of(observed).list(), left.list()].concat();
        let removed: Vec<Leftover> = self.bridge.list().into_iter().filter(|one| !remaining.contains(one)).collect();
        let outcome = match () {
            () if !self.bridge_failures.is_empty() => CleanOutcome::Failed,
            () if remaining.is_empty() => CleanOutcome::NothingToClean,
            () => CleanOutcome::WouldClean,
        };
        let mut report = self.new_report(outcome, observed, left);
        report.summary = format!("{} kept; kube-proxy runs in {} mode", count(remaining.len()), self.running);
        for failure in &self.bridge_failures {
            report.findings.push(finding(Level::Error, "not-removed", failure.clone(), "run it again"));
        }
        (report.removed, report.remaining) = (removed, remaining);
        (report, exit_of(outcome))
    }

    fn would(self, observed: &Observed, left: &Leftovers, before: Vec<Leftover>) -> (CleanReport, Exit) {
        let outcome = if before.is_empty() { CleanOutcome::NothingToClean } else { CleanOutcome::WouldClean };
        let mut report = self.new_report(outcome, observed, left);
        let late: &[String] = if self.options.keep_virtual_servers { &[] } else { &left.node_port_sets };
        report.transactions = remove::transactions(&self.bridge, left, late);
        report.summary = match outcome {
            CleanOutcome::NothingToClean => self.nothing(),
            _ => format!(
                "dry run, nothing was changed: would remove {}; kube-proxy runs in {} mode",
                count(before.len()),
                self.running
            ),
        };
        report.removed = before;
        (report, Exit::Done)
    }

    fn report(self, observed: &Observed, left: &Leftovers, before: &[Leftover], cut: u32) -> (CleanReport, Exit) {
        let remaining = [Bridge::of(observed).list(), left.list()].concat();
        let removed: Vec<Leftover> = before.iter().filter(|leftover| !remaining.contains(leftover)).cloned().collect();
        let kept = self.is_kept(left);
        let blind = observed.findings.iter().any(|note| note.level == Level::Error);
        let outcome = match () {
            () if remaining.len() > kept || blind => CleanOutcome::Failed,
            () if removed.is_empty() => CleanOutcome::NothingToClean,
            () => CleanOutcome::Cleaned,
        };
        let mut report = self.new_report(outcome, observed, left);
        report.summary = match outcome {
            CleanOutcome::NothingToClean if kept == 0 => self.nothing(),
            CleanOutcome::Failed => format!("{} removed, {} remaining", count(removed.len()), remaining.len() - kept),
            _ if kept > 0 => format!(
                "{} removed; {kept} IPVS objects kept until the command is run without --keep-virtual-servers",
                count(removed.len())
            ),
            _ => format!("{} removed; only the objects of {} mode remain", count(removed.len()), self.running),
        };
        tell_failures(&mut report, self.bridge_failures.iter().chain(&self.failures));
        tell_cut(&mut report, cut);
        (report.removed, report.remaining) = (removed, remaining);
        let exit = exit_of(outcome);
        (report, exit)
    }

    fn new_report(&self, outcome: CleanOutcome, observed: &Observed, left: &Leftovers) -> CleanReport {
        let mut report = empty(outcome, Some(self.running.name().to_owned()));
        report.suspicious.clone_from(&left.suspicious);
        report.findings.clone_from(&observed.findings);
        report
    }

    fn nothing(&self) -> String {
        let of = self.options.from.map_or_else(|| "another mode".to_owned(), |from| format!("{from} mode"));
        format!("no leftovers of {of} found; kube-proxy runs in {} mode", self.running)
    }
}
