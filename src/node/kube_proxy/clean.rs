//! `node clean`: make before break. Once the running mode has taken over, what others left goes.
//!
//! Nothing is remembered: each run goes on from what it observes, and says gone only of what it saw gone.

use std::time::{Duration, Instant};

use super::answers;
use super::drain::drain;
use super::leftovers::Leftovers;
use super::observe::{Observed, Place};
use super::own_connections;
use super::process::shares_network;
use super::ready::{wait_serving, wait_synced};
use super::remove;
use super::toolbox::{Known, Toolbox};
use crate::exit_code::Exit;
use crate::messages::{CleanOutcome, CleanReport, Leftover, Note, ServicePort};
use crate::mode::ProxyMode;
use crate::node::lock::NodeLock;
use crate::node::root::Root;
use crate::report::{API_VERSION, Level};

/// kube-proxy may write rules between our look and our change, which then is refused as a whole: look again.
const TRIES: u32 = 3;

/// How to go about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only what this mode left; otherwise what any mode left but the running one.
    pub from: Option<ProxyMode>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Where kube-proxy answers.
    pub port: u16,
    /// What the running mode has to carry.
    pub services: Vec<ServicePort>,
    /// How long it may take until it does.
    pub wait: Duration,
    /// Stop before the virtual servers, and what they are known by.
    pub keep_virtual_servers: bool,
    /// How long virtual servers may outlive their mode.
    pub drain: Duration,
    /// What is known of kube-proxy.
    pub known: Known,
}

/// Cleans a node.
///
/// # Errors
/// When another run is at work here, or the node cannot be observed. What cannot be removed is no error but a report
/// with [`CleanOutcome::Failed`].
pub fn clean(root: &Root, options: &Options) -> anyhow::Result<(CleanReport, Exit)> {
    let lock = if options.dry_run { None } else { Some(NodeLock::take(root)?) };
    lock.as_ref().map_or(Ok(()), NodeLock::held)?;
    let running = match running(root, options) {
        Ok(running) => running,
        Err((mode, why)) => return Ok(stopped(CleanOutcome::Refused, mode, why)),
    };
    let name = Some(running.name().to_owned());
    let deadline = Instant::now() + if options.dry_run { Duration::ZERO } else { options.wait };
    let seen = match wait_synced(root, running, options.port, &options.services, &options.known, deadline)? {
        Ok(seen) => seen,
        Err(why) => return Ok(stopped(CleanOutcome::NotSynced, name, why)),
    };
    if let Err(why) = wait_serving(&options.services, deadline) {
        return Ok(stopped(CleanOutcome::NotServing, name, why));
    }
    Cleaning { root, options, running, failures: Vec::new() }.run(seen)
}

/// The mode that runs, if it may be cleaned beside it; otherwise why not.
fn running(root: &Root, options: &Options) -> Result<ProxyMode, (Option<String>, String)> {
    if !shares_network(root) {
        return Err((None, "this process is not in the host's network: run it with hostNetwork".to_owned()));
    }
    let Some(mode) = answers::mode_of(root, &options.known, options.port) else {
        return Err((None, format!("no kube-proxy answers on 127.0.0.1:{}/proxyMode", options.port)));
    };
    match mode.parse::<ProxyMode>() {
        Ok(running) if options.from == Some(running) => {
            let why = format!("kube-proxy runs {running} mode, so what that made is in use");
            Err((Some(mode), why))
        }
        Ok(running) => Ok(running),
        Err(error) => Err((Some(mode), error.to_string())),
    }
}

fn stopped(outcome: CleanOutcome, running: Option<String>, why: String) -> (CleanReport, Exit) {
    let (id, hint) = match outcome {
        CleanOutcome::NotSynced => {
            ("not-synced", "run it again when kube-proxy has synced; its log says what keeps it")
        }
        CleanOutcome::NotServing => ("not-serving", "find out why before anything is taken away: nothing was changed"),
        _ => {
            ("refused", "see that kube-proxy runs the mode that is to stay, and give --metrics-port if it is not 10249")
        }
    };
    let mut report = empty(outcome, running);
    report.summary = format!("{why}; nothing was changed");
    report.findings.push(Note { level: Level::Error, id: id.to_owned(), message: why, hint: Some(hint.to_owned()) });
    (report, exit_of(outcome))
}

fn empty(outcome: CleanOutcome, running: Option<String>) -> CleanReport {
    CleanReport {
        api_version: API_VERSION.to_owned(),
        kind: "CleanReport".to_owned(),
        outcome,
        summary: String::new(),
        running,
        removed: Vec::new(),
        remaining: Vec::new(),
        transactions: Vec::new(),
        connections_cut: 0,
        suspicious: Vec::new(),
        findings: Vec::new(),
    }
}

/// The exit status that goes with an outcome.
pub fn exit_of(outcome: CleanOutcome) -> Exit {
    match outcome {
        CleanOutcome::Cleaned | CleanOutcome::NothingToClean | CleanOutcome::WouldClean => Exit::Done,
        CleanOutcome::NotSynced => Exit::TimedOut,
        CleanOutcome::NotServing | CleanOutcome::Refused => Exit::CheckSaysNo,
        CleanOutcome::Failed => Exit::Failed,
    }
}

struct Cleaning<'a> {
    root: &'a Root,
    options: &'a Options,
    running: ProxyMode,
    failures: Vec<String>,
}

impl Cleaning<'_> {
    fn run(mut self, (mut toolbox, mut observed): (Toolbox, Observed)) -> anyhow::Result<(CleanReport, Exit)> {
        let mut left = self.judge(&observed);
        let before = left.list();
        if self.options.dry_run {
            return Ok(self.would(&observed, &left, before));
        }
        // Before anything else: the sooner, the fewer connections to wait for at the end.
        if self.running == ProxyMode::Ipvs {
            own_connections::come_from_the_service(&observed);
        } else if left.link {
            own_connections::come_from_the_host(&observed);
        }
        // A look starts a process for each table: one after both, rules and sets, is enough.
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
                // By these two virtual servers are known to be kube-proxy's: they go last.
                self.failures.extend(remove::sets(&toolbox, &left.node_port_sets));
                self.failures.extend(remove::link().err());
            }
            (observed, left) = self.look(&toolbox)?;
        }
        Ok(self.report(&observed, &left, &before, cut))
    }

    /// Whether kube-proxy still runs the mode that all of this is about. Asked before anything is removed: this process may
    /// have stood still, or waited for connections, while kube-proxy was switched.
    fn still_runs(&self) -> Result<(), String> {
        match answers::mode_of(self.root, &self.options.known, self.options.port) {
            Some(mode) if mode == self.running.name() => Ok(()),
            Some(mode) => Err(format!("kube-proxy was switched to {mode}: nothing more is removed")),
            None => Err("kube-proxy does not answer any more: nothing more is removed".to_owned()),
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

    /// What stays because it was asked for.
    fn is_kept(&self, left: &Leftovers) -> usize {
        if self.options.keep_virtual_servers {
            left.servers.len() + left.node_port_sets.len() + usize::from(left.link)
        } else {
            0
        }
    }

    fn would(self, observed: &Observed, left: &Leftovers, before: Vec<Leftover>) -> (CleanReport, Exit) {
        let outcome = if before.is_empty() { CleanOutcome::NothingToClean } else { CleanOutcome::WouldClean };
        let mut report = self.new_report(outcome, observed, left);
        let command = |place: &Place| if place.family == "ipv6" { "ip6tables" } else { "iptables" };
        for (place, text) in left.transactions() {
            report.transactions.push(format!("# {}-{}-restore --noflush\n{text}", command(&place), place.variant));
        }
        if !left.nft_tables.is_empty() {
            report.transactions.push(format!("# nft -f -\n{}", remove::nft_text(left)));
        }
        let late: &[String] = if self.options.keep_virtual_servers { &[] } else { &left.node_port_sets };
        if !left.sets.is_empty() || !late.is_empty() {
            let text = remove::ipset_text(left.sets.iter().chain(late));
            report.transactions.push(format!("# ipset restore\n{text}"));
        }
        report.summary = match outcome {
            CleanOutcome::NothingToClean => self.nothing(),
            _ => format!("dry run, nothing was changed: {} beside {} mode", count(before.len()), self.running),
        };
        report.removed = before;
        (report, Exit::Done)
    }

    fn report(self, observed: &Observed, left: &Leftovers, before: &[Leftover], cut: u32) -> (CleanReport, Exit) {
        let remaining = left.list();
        let removed: Vec<Leftover> = before.iter().filter(|leftover| !remaining.contains(leftover)).cloned().collect();
        let kept = self.is_kept(left);
        let blind = observed.notes.iter().any(|note| note.level == Level::Error);
        let outcome = match () {
            () if remaining.len() > kept || blind => CleanOutcome::Failed,
            () if removed.is_empty() => CleanOutcome::NothingToClean,
            () => CleanOutcome::Cleaned,
        };
        let mut report = self.new_report(outcome, observed, left);
        report.summary = match outcome {
            CleanOutcome::NothingToClean if kept == 0 => self.nothing(),
            CleanOutcome::Failed => format!("{} gone, {} still there", count(removed.len()), remaining.len() - kept),
            _ if kept > 0 => format!(
                "{} gone; {kept} more, of IPVS, stay until the same command drains them without --keep-virtual-servers",
                count(removed.len())
            ),
            _ => format!("{} gone; only {} mode is left", count(removed.len()), self.running),
        };
        for failure in &self.failures {
            // What went well at a later try is no failure.
            let level = if outcome == CleanOutcome::Failed { Level::Error } else { Level::Info };
            let hint = (level == Level::Error).then(|| "run it again: it goes on from what is there".to_owned());
            report.findings.push(Note { level, id: "not-removed".to_owned(), message: failure.clone(), hint });
        }
        if cut > 0 {
            report.findings.push(Note {
                level: Level::Warning,
                id: "connections-cut".to_owned(),
                message: format!("{cut} connections were still alive when their time was over, and ended"),
                hint: Some("give --drain more time where connections live long".to_owned()),
            });
        }
        (report.removed, report.remaining, report.connections_cut) = (removed, remaining, cut);
        let exit = exit_of(outcome);
        (report, exit)
    }

    fn new_report(&self, outcome: CleanOutcome, observed: &Observed, left: &Leftovers) -> CleanReport {
        let mut report = empty(outcome, Some(self.running.name().to_owned()));
        report.suspicious.clone_from(&left.suspicious);
        report.findings.clone_from(&observed.notes);
        report
    }

    fn nothing(&self) -> String {
        let of = self.options.from.map_or_else(|| "another mode".to_owned(), |from| format!("{from} mode"));
        format!("nothing is left of {of}; kube-proxy runs {}", self.running)
    }
}

fn count(number: usize) -> String {
    if number == 1 { "1 leftover".to_owned() } else { format!("{number} leftovers") }
}
