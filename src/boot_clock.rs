//! A clock that keeps running while the machine is suspended.
//!
//! `std::time::Instant` is `CLOCK_MONOTONIC` on Linux, which stops while a machine is suspended: ten seconds on it may be
//! an hour on every other machine. Where another process acts once a time has passed, only `CLOCK_BOOTTIME` is correct
//! (`clock_gettime(2)`).
//!
//! `Instant`, std's or tokio's, is used where a limit concerns only this process and is better late than early: the
//! timeout of a request to the API server (`cluster/bounded_client.rs`), the time a pod may take to start
//! (`cluster/switch.rs`, `cluster/helper`), how long a canary is watched, and on a node how long connections may drain and
//! how long a sync may take (`node/kube_proxy/drain.rs`, `ready.rs`). After a suspend, the rest of such a limit still
//! applies; if it counted as expired, a node that had no time at all would be rolled back. No event is missed because of
//! that: the lock, the lease of a command on a node, a child's limits and the age of a token are all measured with this
//! clock and checked before every write.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point in time on `CLOCK_BOOTTIME`, valid for this boot of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The current time.
    ///
    /// # Panics
    /// If the kernel has no `CLOCK_BOOTTIME`: before Linux 2.6.39.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("CLOCK_BOOTTIME exists since Linux 2.6.39");
        Self(time.into())
    }

    /// The time from the machine's boot to this point.
    pub fn since_boot(self) -> Duration {
        self.0
    }

    /// The time since this point.
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
