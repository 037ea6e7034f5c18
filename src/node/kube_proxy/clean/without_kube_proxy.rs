//! `node clean --no-kube-proxy`: removes everything that kube-proxy made, where another data plane has replaced it.
//!
//! No mode runs that would have to take over. Instead the other data plane must answer for the API Service in a way that
//! kube-proxy's rules cannot ([`translated`]), before the removal and after it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::drain::drain;
use super::outcome::{count, empty, exit_of, refused, tell_cut, tell_failures};
use super::{CleanOptions, TRIES, own_connections, remove};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::node::kube_proxy::bridge::Bridge;
use crate::node::kube_proxy::process::candidate::in_hosts_network;
use crate::node::kube_proxy::process::toolbox::Toolbox;
use crate::node::kube_proxy::process::{self, answers, shares_network};
use crate::node::kube_proxy::ready::carries::{Target, carried};
use crate::node::kube_proxy::ready::nft_targets;
use crate::node::kube_proxy::ready::translated::{translated, wait_translated};
use crate::node::kube_proxy::rules::leftovers::Leftovers;
use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::netlink::conntrack;
use crate::node::root::Root;
use crate::node_protocol::{CleanOutcome, CleanReport, Leftover};
use crate::report::{Level, finding};

/// How long the API Service may be silent after the removal, such as while the API server restarts.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Removes everything that kube-proxy made, if no kube-proxy runs and another data plane answers for `service`.
pub(super) fn clean(root: &Root, options: &CleanOptions, service: SocketAddr) -> anyhow::Result<(CleanReport, Exit)> {
    if let Err(why) = alone(root, options) {
        let hint = "stop kube-proxy on this node first: it would write its rules again";
        return Ok(refused("kube-proxy-runs", why, hint));
    }
    let wait = if options.dry_run { Duration::ZERO } else { options.wait };
    match wait_translated(root, service, Instant::now() + wait) {
        Ok(endpoint) => Removal { root, options, service, endpoint, failures: Vec::new() }.run(),
        Err(why) => Ok(refused(
            "no-data-plane",
            format!("no other data plane is verified to answer for the API Service: {why}"),
            "check that the CNI translates Services on this node when a connection is opened; or restart the node, which leaves nothing of kube-proxy",
        )),
    }
}

/// Checks that no kube-proxy runs on this host, also not as another user or in another pod.
fn alone(root: &Root, options: &CleanOptions) -> Result<(), String> {
    if !shares_network(root) {
        return Err(
            "this process is not in the host's network namespace; run it on the host or in a pod with hostNetwork"
                .to_owned(),
        );
    }
    let (candidates, place) = process::observe(root);
    if let Some(found) = in_hosts_network(&candidates, &place).next() {
        return Err(format!("a kube-proxy runs on this host (process {})", found.id));
    }
    let port = options.ports.metrics;
    match answers::mode_of(root, &options.known, port) {
        Some(_) => Err(format!("a kube-proxy answers on 127.0.0.1:{port}/proxyMode")),
        None => Ok(()),
    }
}

struct Removal<'a> {
    root: &'a Root,
    options: &'a CleanOptions,
    service: SocketAddr,
    /// Where connections to it lead.
    endpoint: SocketAddr,
    failures: Vec<String>,
}

/// What is on the host now.
struct Seen {
    toolbox: Toolbox,
    observed: Observed,
    bridge: Bridge,
    left: Leftovers,
}

impl Seen {
    fn list(&self) -> Vec<Leftover> {
        [self.bridge.list(), self.left.list()].concat()
    }

    /// Whether something could not be read, so that more may be there.
    fn is_partial(&self) -> bool {
        self.observed.findings.iter().any(|note| note.level != Level::Info)
    }

    /// The sets that nothing needs any more. Those of node ports identify virtual servers.
    fn sets(&self) -> Vec<String> {
        let late: &[String] = if self.left.servers.is_empty() { &self.left.node_port_sets } else { &[] };
        [&self.left.sets, late].concat()
    }

    /// The Services' UDP ports that iptables or nftables rules carry.
    fn udp(&self) -> Vec<(IpAddr, u16)> {
        let nft = nft_targets(&self.toolbox, &self.observed).unwrap_or_default();
        let of = |mode, nft: BTreeSet<Target>| carried(&self.observed, mode, nft);
        let targets = of(ProxyMode::Iptables, BTreeSet::new()).into_iter().chain(of(ProxyMode::Nftables, nft));
        targets.filter(|(protocol, ..)| protocol == "UDP").map(|(_, address, port)| (address, port)).collect()
    }
}

impl Removal<'_> {
    fn run(mut self) -> anyhow::Result<(CleanReport, Exit)> {
        let mut seen = self.look()?;
        let before = seen.list();
        if self.options.dry_run {
            return Ok(self.would(&seen, before));
        }
        let mut cut = 0;
        // First: connections through IPVS need kube-proxy's rules for masquerading and forwarding until they end.
        if seen.left.link || !seen.left.servers.is_empty() {
            own_connections::come_from_the_host(&seen.observed);
            let alone = || {
                alone(self.root, self.options).map_err(|why| format!("{why}; stopped without removing anything else"))
            };
            let drained = drain(self.root, &mut seen.observed, self.options.drain, &alone)?;
            cut = drained.cut;
            self.failures.extend(drained.failures);
            seen = self.look()?;
        }
        self.rules_and_sets(&mut seen)?;
        if seen.left.link && seen.left.servers.is_empty() {
            self.failures.extend(self.still().and_then(|()| remove::link()).err());
            seen = self.look()?;
        }
        Ok(self.report(&seen, &before, cut))
    }

    fn rules_and_sets(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let udp = seen.udp();
        let (mut sets_tried, mut failures) = (false, Vec::new());
        for _ in 0..TRIES {
            let sets = seen.sets();
            let left = &seen.left;
            let no_rules = seen.bridge.is_empty() && left.iptables.is_empty() && left.nft_tables.is_empty();
            if no_rules && (sets.is_empty() || sets_tried) {
                break;
            }
            if let Err(why) = self.still() {
                failures = vec![why];
                break;
            }
            failures = seen.bridge.remove(&seen.toolbox).1;
            failures.extend(remove::rules(&seen.toolbox, left));
            if failures.is_empty() {
                failures = remove::sets(&seen.toolbox, &sets);
                sets_tried = true;
            }
            *seen = self.look()?;
        }
        self.failures.extend(failures);
        // kube-proxy would have removed these when an endpoint ends: a client that keeps its port would go on asking it.
        if seen.left.iptables.is_empty()
            && seen.left.nft_tables.is_empty()
            && !udp.is_empty()
            && let Err(error) = conntrack::forget_udp(&udp)
        {
            self.failures.push(format!("conntrack still has UDP connections to Services: {error}"));
        }
        Ok(())
    }

    /// Checks, before each removal, that it is still safe: this process may have been suspended, or waiting for connections.
    fn still(&self) -> Result<(), String> {
        alone(self.root, self.options)
            .and_then(|()| translated(self.root, self.service).map(|_| ()))
            .map_err(|why| format!("{why}; stopped without removing anything else"))
    }

    fn look(&self) -> anyhow::Result<Seen> {
        let toolbox = Toolbox::new(self.root, &self.options.known);
        let observed = Observed::new(self.root, &toolbox)?;
        let (bridge, left) = (Bridge::of(&observed), Leftovers::new(&observed, None::<ProxyMode>, None));
        Ok(Seen { toolbox, observed, bridge, left })
    }

    fn would(self, seen: &Seen, before: Vec<Leftover>) -> (CleanReport, Exit) {
        let outcome = match () {
            () if seen.is_partial() => CleanOutcome::Failed,
            () if before.is_empty() => CleanOutcome::NothingToClean,
            () => CleanOutcome::WouldClean,
        };
        let mut report = new_report(outcome, seen);
        report.transactions = remove::transactions(&seen.bridge, &seen.left, &seen.left.node_port_sets);
        report.summary = match outcome {
            CleanOutcome::NothingToClean => self.nothing(),
            _ => format!("dry run, nothing was changed: would remove {}; {}", count(before.len()), self.instead()),
        };
        report.removed = before;
        (report, exit_of(outcome))
    }

    fn report(self, seen: &Seen, before: &[Leftover], cut: u32) -> (CleanReport, Exit) {
        let remaining = seen.list();
        let removed: Vec<Leftover> = before.iter().filter(|leftover| !remaining.contains(leftover)).cloned().collect();
        let afterwards = wait_translated(self.root, self.service, Instant::now() + AFTERWARDS);
        let partial = seen.is_partial();
        let outcome = match () {
            () if !remaining.is_empty() || partial || afterwards.is_err() => CleanOutcome::Failed,
            () if removed.is_empty() => CleanOutcome::NothingToClean,
            () => CleanOutcome::Cleaned,
        };
        let mut report = new_report(outcome, seen);
        report.summary = match outcome {
            CleanOutcome::NothingToClean => self.nothing(),
            CleanOutcome::Cleaned => {
                format!("{} removed; nothing of kube-proxy remains; {}", count(removed.len()), self.instead())
            }
            _ => {
                let unread = if partial { "; not everything could be read" } else { "" };
                format!("{} removed, {} remaining{unread}", count(removed.len()), remaining.len())
            }
        };
        tell_failures(&mut report, self.failures.iter());
        if let Err(why) = afterwards {
            report.findings.push(finding(
                Level::Error,
                "no-data-plane",
                format!("the other data plane answered for the API Service before, and does not any more: {why}"),
                "let kube-proxy run on this node again: it writes its rules itself",
            ));
        }
        tell_cut(&mut report, cut);
        (report.removed, report.remaining) = (removed, remaining);
        (report, exit_of(outcome))
    }

    fn nothing(&self) -> String {
        format!("nothing of kube-proxy found; {}", self.instead())
    }

    fn instead(&self) -> String {
        format!("another data plane translates {} to {}", self.service, self.endpoint)
    }
}

fn new_report(outcome: CleanOutcome, seen: &Seen) -> CleanReport {
    let mut report = empty(outcome, None);
    report.suspicious.clone_from(&seen.left.suspicious);
    report.findings.clone_from(&seen.observed.findings);
    report
}
