//! How much a program may say, and how long it may take.

use std::time::Duration;

/// How much a program may say, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start to its end.
    pub time: Duration,
    /// Bytes on standard output and standard error together.
    pub bytes: u64,
}

/// For a program that says little: a version, a complaint.
pub const LITTLE: Limits = Limits { time: Duration::from_secs(30), bytes: 1 << 20 };
/// For one that says little and may take its time: loading modules on a slow machine.
pub const PATIENT: Limits = Limits { time: Duration::from_secs(150), bytes: 1 << 20 };

impl Limits {
    /// For what a host holds of so many Services: 30 s and 64 MiB at least, 10 minutes and 1 GiB at most, which 10,000 have.
    pub fn for_services(services: usize) -> Self {
        let services = u64::try_from(services).unwrap_or(u64::MAX).min(10_000);
        Self {
            time: Duration::from_millis(30_000 + services * 57),
            bytes: (64 << 20) + services * (((1 << 30) - (64 << 20)) / 10_000),
        }
    }
}
