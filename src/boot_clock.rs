//! A clock that goes on while the machine sleeps.
//!
//! `std::time::Instant` is `CLOCK_MONOTONIC` on Linux, which stops while a machine is suspended: what it calls ten
//! seconds may be an hour for everybody else. Where another process acts when a time is over, only `CLOCK_BOOTTIME` tells
//! the truth (`clock_gettime(2)`).
//!
//! `Instant` stays, std's or tokio's, where a limit is only for this process and is better late than early: how long one
//! question to the API server may take (`cluster/bounded_client.rs`), a pod may take to come up (`cluster/switch.rs`,
//! `cluster/helper`), a canary is watched, and on a node how long connections may drain and what runs may take to sync
//! (`node/kube_proxy/drain.rs`, `ready.rs`). A machine that slept gets the rest of the time that it was awake for; counted as
//! over, a node that had no time at all would be rolled back. What happened in the meantime is not missed: the lock, the lease
//! of a command on a node, a child's limits and the age of a token are all measured here, and asked before every write.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment on `CLOCK_BOOTTIME`, of this boot of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// This moment.
    ///
    /// # Panics
    /// Where the kernel has no `CLOCK_BOOTTIME`: before Linux 2.6.39.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME is there since Linux 2.6.39");
        Self(time.into())
    }

    /// How long after the boot of the machine it was.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on() {
        let first = BootInstant::now();
        std::thread::sleep(Duration::from_millis(20));
        assert!(first.elapsed() >= Duration::from_millis(20));
        assert!(BootInstant::now() > first);
    }
}
