//! Output limits and timeouts of programs.

use std::time::Duration;

/// Output limit and timeout of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Timeout from start to exit.
    pub time: Duration,
    /// Limit for standard output and standard error together, in bytes.
    pub bytes: u64,
}

/// For a program with little output: a version, an error message.
pub const LITTLE: Limits = Limits { time: Duration::from_secs(30), bytes: 1 << 20 };
/// For a program with little output that may be slow: loading modules on a slow machine.
pub const PATIENT: Limits = Limits { time: Duration::from_secs(150), bytes: 1 << 20 };

impl Limits {
    /// For reading a host's rules for this many Services: from 30 s and 64 MiB up to 10 minutes and 1 GiB (at 10,000).
    pub fn for_services(services: usize) -> Self {
        let services = u64::try_from(services).unwrap_or(u64::MAX).min(10_000);
        Self {
            time: Duration::from_millis(30_000 + services * 57),
            bytes: (64 << 20) + services * (((1 << 30) - (64 << 20)) / 10_000),
        }
    }
}
