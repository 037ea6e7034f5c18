//! A client that never pauses. One process, no threads: new processes are what a guest is slow at.
//!
//! Every `--every` milliseconds it opens `--burst` new connections, to the targets of the list in turns; besides it keeps
//! `--keep` TCP connections open that exchange a byte every 100 ms. It ends at SIGTERM, when what is under way has ended
//! as well.
//!
//! Each new connection has a source port of this process's own, [`ports::PORTS`] from `--first-port` on, not used for
//! minutes. The kernel's own choice may give two connections to two Services the same port, which is right, as they go to
//! different addresses; but if both end at the same backend, IPVS makes them one to it, and the second hangs: it changes no
//! source port, and masked by a node's address those from its pods and from outside meet as well. With all Services before
//! the same two backends that was 2 in 100 here, in a cluster that always ran ipvs as well.
//!
//! Time in which this process did not get to run, on a machine with too much to do, is nobody's delay: beyond 200 ms it is
//! recorded, and not counted against a connection.
//!
//! `OUT.log` has a record of each failure, as it happens, and of what took more than a second where nothing but the machine
//! is in the way; `OUT.now` one of how far it is, once a second; `OUT.sum` those that sum up, at the end.

mod client;
mod outcomes;
mod ports;
mod targets;

use std::fs::{self, File};
use std::io::{self, LineWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeVal;
use nix::time::{ClockId, clock_gettime};

use client::Client;
use outcomes::Outcomes;

use crate::record::{Now, Record};

/// A long-lived connection exchanges a byte this often.
const BEAT: i64 = 100;
/// Longer than this between two rounds, and this process did not get to run.
const LATE: i64 = 200;
/// How often what is under way is looked at once no more is asked.
const LAST: i64 = 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The node and the place on it that connections come from, for the records
    #[arg(long)]
    node: String,
    #[arg(long)]
    place: String,
    /// The list of targets
    #[arg(long)]
    targets: PathBuf,
    /// Where to write: OUT.log, OUT.now and OUT.sum
    #[arg(long)]
    out: PathBuf,
    /// Milliseconds between two bursts
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// New connections in each burst
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Long-lived connections
    #[arg(long, default_value_t = 0)]
    keep: u32,
    /// First of its source ports
    #[arg(long)]
    first_port: u16,
}

/// Milliseconds since the machine started, whether it was awake or not.
fn now() -> i64 {
    // It can only fail on a kernel older than 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
}

/// Milliseconds of a processor that this process took.
fn cpu_time() -> nix::Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let ms = |time: TimeVal| time.tv_sec() * 1000 + time.tv_usec() / 1000;
    Ok(ms(usage.user_time()) + ms(usage.system_time()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("creating {}", path.display()))
}

/// # Errors
/// If it cannot ask, for want of files, sockets or ports. A connection that fails is none: it is counted.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;

    let list =
        fs::read_to_string(&arguments.targets).with_context(|| format!("reading {}", arguments.targets.display()))?;
    let targets = targets::parse(&list).with_context(|| format!("in {}", arguments.targets.display()))?;
    let log = LineWriter::new(create(&with_suffix(&arguments.out, ".log"))?);
    let mut progress = create(&with_suffix(&arguments.out, ".now"))?;
    let outcomes = Outcomes::new(&arguments.node, &arguments.place, &targets, log);
    let mut client = Client::new(arguments, targets, outcomes, signals)?;
    client.keep(arguments.keep)?;

    let every = i64::from(arguments.every);
    let began = now();
    let (mut tick, mut ran, mut told, mut beaten) = (began, began, 0, 0);
    while !client.ending() {
        let time = now();
        client.ran(time, time - ran)?;
        ran = time;
        client.wait_until(tick)?;
        let time = now();
        // Late ticks are made up for, but not all at once after a long stop.
        if time - tick > 1000 {
            tick = time;
        }
        tick += every;
        for _ in 0..arguments.burst {
            client.ask()?;
        }
        let time = now();
        let beat = time - beaten >= BEAT;
        client.look_after(time, beat)?;
        if beat {
            beaten = time;
        }
        if time - told >= 1000 {
            told = time;
            tell(&mut progress, client.outcomes.now())?;
        }
    }
    let ended = now();
    while client.look_after(now(), false)? > 0 {
        client.wait_until(now() + LAST)?;
    }
    let mut summary = io::BufWriter::new(create(&with_suffix(&arguments.out, ".part"))?);
    client.outcomes.sum_up(client.targets(), ended - began, cpu_time()?, &mut summary)?;
    summary.flush()?;
    // Whole or not there.
    fs::rename(with_suffix(&arguments.out, ".part"), with_suffix(&arguments.out, ".sum"))?;
    Ok(())
}

/// In place of what was told before, in one write.
fn tell(file: &mut File, now: Now) -> io::Result<()> {
    let mut line = Vec::with_capacity(128);
    Record::Now(now).write(&mut line)?;
    file.rewind()?;
    file.write_all(&line)?;
    // Fewer may be kept than before.
    file.set_len(line.len() as u64)
}
