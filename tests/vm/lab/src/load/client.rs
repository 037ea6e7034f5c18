//! The connections of a client, as long as they live.

use std::fs::File;
use std::io::LineWriter;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::sockopt::{SocketError, TcpNoDelay};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, connect, getsockopt, setsockopt, socket};
use nix::unistd::{read, write};

use super::outcomes::{End, Outcomes};
use super::ports::Ports;
use super::targets::Target;
use super::{Arguments, LATE, now};
use crate::record::Outcome;

/// A new connection that is not answered within this hangs.
const DEADLINE: i64 = 5000;
/// One that must not be answered is given up sooner.
const DENIED: i64 = 1000;
/// A long-lived one that says nothing for so long has stalled.
const STALLED: i64 = 10_000;
/// With UDP it is the program that asks again, as resolvers do, from the same port: so does this one.
const AGAIN: i64 = 1000;
/// At most so many connections at a time.
const SLOTS: usize = 2048;
/// The event that is no connection's.
const SIGNAL: u64 = u64::MAX;

struct Slot {
    socket: OwnedFd,
    port: u16,
    target: usize,
    /// How often it was asked.
    asked: i64,
    /// When it was asked last that has not answered; of a new one, when it began.
    since: i64,
    /// How much this process had not run by then.
    asleep: i64,
    lasting: Option<Lasting>,
}

/// How far a long-lived connection is: its first answer is a name, then each byte comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Unnamed,
    Quiet,
    Waiting,
}

pub(super) struct Client {
    targets: Vec<Target>,
    slots: Vec<Option<Slot>>,
    epoll: Epoll,
    signals: SignalFd,
    ports: Ports,
    turn: usize,
    /// How long this process did not get to run.
    asleep: i64,
    ending: bool,
    pub(super) outcomes: Outcomes<LineWriter<File>>,
}

impl Client {
    pub(super) fn new(
        arguments: &Arguments,
        targets: Vec<Target>,
        outcomes: Outcomes<LineWriter<File>>,
        signals: SignalFd,
    ) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&signals, EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL))?;
        let rate = 1000 * i64::from(arguments.burst) / i64::from(arguments.every);
        Ok(Self {
            targets,
            slots: Vec::new(),
            epoll,
            signals,
            ports: Ports::new(arguments.first_port, now(), rate),
            turn: 0,
            asleep: 0,
            ending: false,
            outcomes,
        })
    }

    /// Whether it was told to end.
    pub(super) fn ending(&self) -> bool {
        self.ending
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// `gap`: since it ran before.
    pub(super) fn ran(&mut self, time: i64, gap: i64) -> anyhow::Result<()> {
        if gap > LATE {
            self.asleep += gap;
        }
        self.outcomes.ran(time, gap)
    }

    /// Opens the long-lived ones, to the targets that take them in turns.
    pub(super) fn keep(&mut self, count: u32) -> anyhow::Result<()> {
        let lasting: Vec<_> = (0..self.targets.len()).filter(|index| self.targets[*index].lasting()).collect();
        for target in lasting.iter().cycle().take(count as usize * usize::from(!lasting.is_empty())) {
            self.start(*target, Some(Lasting::Unnamed))?;
        }
        Ok(())
    }

    /// Opens a new one, to the next target.
    pub(super) fn ask(&mut self) -> anyhow::Result<()> {
        let target = self.turn;
        self.turn = (self.turn + 1) % self.targets.len();
        self.start(target, None)
    }

    fn start(&mut self, index: usize, lasting: Option<Lasting>) -> anyhow::Result<()> {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if free == SLOTS {
            bail!("more than {SLOTS} connections at a time");
        }
        let target = &self.targets[index];
        let family = if target.ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let kind = if target.udp { SockType::Datagram } else { SockType::Stream };
        let socket =
            socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None).context("a socket")?;
        let port = self.ports.bind(&socket, target.ipv6)?;
        if lasting.is_some() {
            setsockopt(&socket, TcpNoDelay, &true)?;
        }
        self.outcomes.asked(lasting.is_some());
        let mut slot = Slot { socket, port, target: index, asked: 0, since: now(), asleep: self.asleep, lasting };
        match connect(slot.socket.as_raw_fd(), &target.address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return self.failed(slot, error),
        }
        let mut events = EpollFlags::EPOLLIN;
        if target.udp {
            slot.asked = 1;
            if let Err(error) = write(&slot.socket, b"x") {
                return self.failed(slot, error);
            }
        } else {
            events |= EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        }
        self.epoll.add(slot.socket.as_fd(), EpollEvent::new(events, free as u64))?;
        if free == self.slots.len() {
            self.slots.push(Some(slot));
        } else {
            self.slots[free] = Some(slot);
        }
        Ok(())
    }

    /// How long a connection has been waited for, while this process ran.
    fn took(&self, slot: &Slot, time: i64) -> i64 {
        time - slot.since - (self.asleep - slot.asleep)
    }

    /// It came to its end, and is closed.
    #[expect(clippy::needless_pass_by_value, reason = "the connection is closed with it")]
    fn ended(&mut self, slot: Slot, outcome: Outcome, error: Option<Errno>) -> anyhow::Result<()> {
        let time = now();
        let end = End { time, took: self.took(&slot, time), port: slot.port, outcome, error };
        match slot.lasting {
            None => self.outcomes.ended(slot.target, &end),
            Some(how_far) => self.outcomes.broke(slot.target, how_far != Lasting::Unnamed, &end),
        }
    }

    fn failed(&mut self, slot: Slot, error: Errno) -> anyhow::Result<()> {
        self.ended(slot, Outcome::of(error), Some(error))
    }

    fn event(&mut self, event: EpollEvent) -> anyhow::Result<()> {
        if event.data() == SIGNAL {
            // Taken, so that it does not come again at once.
            self.ending |= self.signals.read_signal()?.is_some();
            return Ok(());
        }
        let index = usize::try_from(event.data())?;
        // It may have ended with an event before this one.
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else { return Ok(()) };
        if event.events().contains(EpollFlags::EPOLLERR) {
            let error = Errno::from_raw(getsockopt(&slot.socket, SocketError)?);
            if error != Errno::UnknownErrno {
                return self.failed(slot, error);
            }
        }
        if slot.asked == 0 && event.events().contains(EpollFlags::EPOLLOUT) {
            slot.asked = 1;
            let say: &[u8] = if slot.lasting.is_some() { b"hold\n" } else { b"GET / HTTP/1.0\r\n\r\n" };
            if let Err(error) = write(&slot.socket, say) {
                return self.failed(slot, error);
            }
        }
        if !event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
            self.slots[index] = Some(slot);
            return Ok(());
        }
        let mut said = [0; 512];
        match read(&slot.socket, &mut said) {
            Err(Errno::EAGAIN) => self.slots[index] = Some(slot),
            Err(error) => return self.failed(slot, error),
            Ok(0) => return self.failed(slot, Errno::ECONNRESET),
            Ok(length) => return self.answered(index, slot, &said[..length]),
        }
        Ok(())
    }

    fn answered(&mut self, index: usize, mut slot: Slot, said: &[u8]) -> anyhow::Result<()> {
        match slot.lasting {
            // Any HTTP will do: the API server answers 400 to a request without TLS.
            None if !self.targets[slot.target].udp && !said.starts_with(b"HTTP/1.") => {
                return self.ended(slot, Outcome::Other, Some(Errno::EPROTO));
            }
            None => {
                self.targets[slot.target].answered(said);
                return self.ended(slot, Outcome::Ok, None);
            }
            Some(Lasting::Unnamed) => {
                self.outcomes.opened(slot.target);
                self.targets[slot.target].answered(said);
            }
            Some(Lasting::Quiet | Lasting::Waiting) => {
                self.outcomes.silent(slot.target, self.took(&slot, now()));
            }
        }
        slot.lasting = Some(Lasting::Quiet);
        self.slots[index] = Some(slot);
        Ok(())
    }

    /// Handles what comes until that time, and whatever has come by then.
    pub(super) fn wait_until(&mut self, time: i64) -> anyhow::Result<()> {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let left = time - now();
            let timeout = EpollTimeout::try_from(left.clamp(0, 60_000))?;
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                result => result?,
            };
            for event in &events[..count] {
                self.event(*event)?;
            }
            if left <= 0 && count == 0 {
                return Ok(());
            }
        }
    }

    /// Ends what has waited too long, lets the long-lived ones talk on a beat; returns how many new ones are under way.
    pub(super) fn look_after(&mut self, time: i64, beat: bool) -> anyhow::Result<usize> {
        let mut open = 0;
        for index in 0..self.slots.len() {
            let Some(mut slot) = self.slots[index].take() else { continue };
            let took = self.took(&slot, time);
            let target = &self.targets[slot.target];
            let mut said = Ok(0);
            match slot.lasting {
                None => {
                    if took > if target.deny { DENIED } else { DEADLINE } {
                        self.ended(slot, Outcome::Hanging, None)?;
                        continue;
                    }
                    open += 1;
                    if target.udp && took > slot.asked * AGAIN {
                        slot.asked += 1;
                        said = write(&slot.socket, b"x");
                    }
                }
                Some(Lasting::Unnamed | Lasting::Waiting) => {
                    if took > STALLED {
                        self.ended(slot, Outcome::Stalled, None)?;
                        continue;
                    }
                }
                Some(Lasting::Quiet) if beat => {
                    slot.lasting = Some(Lasting::Waiting);
                    (slot.since, slot.asleep) = (time, self.asleep);
                    said = write(&slot.socket, b".");
                }
                Some(Lasting::Quiet) => {}
            }
            match said {
                Ok(_) => self.slots[index] = Some(slot),
                Err(error) => self.failed(slot, error)?,
            }
        }
        Ok(open)
    }
}
