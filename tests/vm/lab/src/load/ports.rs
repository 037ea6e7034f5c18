//! Source ports of a client's own, each not used again for minutes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Context as _;
use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, bind};

/// How many a client has.
pub(super) const PORTS: i64 = 8000;
/// How many in a row may be taken by others.
const TRIES: u32 = 1000;

pub(super) struct Ports {
    first: u16,
    used: i64,
}

impl Ports {
    /// Begins by the clock, so that the next process does not begin with the ports of this one, whatever the rate of each.
    pub(super) fn new(first: u16, now: i64, rate: i64) -> Self {
        Self { first, used: now * rate.max(50) / 1000 }
    }

    fn next(&mut self) -> anyhow::Result<u16> {
        let port = i64::from(self.first) + self.used % PORTS;
        self.used += 1;
        u16::try_from(port).with_context(|| format!("port {port}"))
    }

    /// Binds to the next one that is free on this host.
    pub(super) fn bind(&mut self, socket: &OwnedFd, ipv6: bool) -> anyhow::Result<u16> {
        let mut result = Err(Errno::EADDRINUSE);
        for _ in 0..TRIES {
            let port = self.next()?;
            let any = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            result = bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)));
            if result.is_ok() {
                return Ok(port);
            }
        }
        result.map(|()| 0).with_context(|| format!("no free source port, {TRIES} from {} tried", self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_go_around() {
        let mut ports = Ports { first: 10000, used: PORTS - 1 };
        assert_eq!((ports.next().unwrap(), ports.next().unwrap()), (17999, 10000));
        assert!(Ports { first: 60000, used: 7999 }.next().is_err());
    }

    #[test]
    fn the_next_process_begins_elsewhere() {
        // A minute later, at a rate of one a second.
        assert_eq!(Ports::new(1, 60_000, 1).used - Ports::new(1, 0, 1).used, 3000);
    }
}
