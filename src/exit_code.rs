//! The exit statuses and their meaning.

use std::fmt;

/// The exit status of `kpx-prep`, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or already as desired.
    Done = 0,
    /// Failed; the message describes the current state.
    Failed = 1,
    /// Invalid usage or input; nothing was done.
    Usage = 2,
    /// A check failed: blocked, not in the desired state, or another run holds the lock.
    CheckSaysNo = 3,
    /// Timed out without a rollback, or stopped on request; run again to resume.
    TimedOut = 4,
    /// Failed and rolled back; the old state is verified.
    RolledBack = 5,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The status for an error that reached `main`: that of its [`Refusal`], else [`Exit::Failed`].
    pub fn of_error(error: &anyhow::Error) -> Self {
        error.downcast_ref::<Refusal>().map_or(Self::Failed, |refusal| refusal.exit)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the run with a status other than [`Exit::Failed`].
#[derive(Debug)]
pub struct Refusal {
    exit: Exit,
    message: String,
}

impl Refusal {
    /// Invalid usage or input: exit status 2.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// Interrupted by the user: exit status 130.
    pub fn interrupted(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Interrupted, message: message.into() }.into()
    }

    /// The lock was lost: exit status 4.
    pub fn lock_lost(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::TimedOut, message: message.into() }.into()
    }

    /// A check failed: exit status 3.
    pub fn check(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::CheckSaysNo, message: message.into() }.into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The table of exit statuses, shown by `kpx-prep --help`.
pub const HELP: &str = "\
Exit status:
  0    done, or already as desired
  1    failed; see the message for the current state
  2    invalid usage or input; nothing was done
  3    check failed: blocked, not in the desired state, or another run is in progress
  4    timed out, or stopped on request: run again to resume
  5    failed and rolled back; the old state was verified
  130  interrupted";
