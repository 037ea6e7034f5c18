//! What every write goes through: the lock is asked, and then it is sent at once.
//!
//! The order is read, ask, send: what is written carries the UID or resourceVersion that was read before.

use std::fmt;

use super::{Lock, Lost};
use crate::boot_clock::BootInstant;
use crate::cluster::api::calls::{PATIENCE, pause_after, tries};
use crate::cluster::api::errors::{code, is_transient, plain};

/// Whether anything is to be kept, and under which lock.
#[derive(Clone, Copy)]
pub enum Guard<'a> {
    /// The API server tries the write and keeps nothing (`dryRun=All`): no lock is needed.
    DryRun,
    /// The lock is asked before each try.
    Lock(&'a Lock),
}

/// Why something was not written.
#[derive(Debug)]
pub enum Unwritten {
    /// Another run has the lock: nothing was sent.
    Lost(Lost),
    /// The API server refused, or cannot be reached.
    Refused(kube::Error),
}

impl Unwritten {
    /// The HTTP status of a refusal by the API server.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Lost(_) => None,
            Self::Refused(error) => code(error),
        }
    }
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(lost) => lost.fmt(f),
            Self::Refused(error) => f.write_str(&plain(error)),
        }
    }
}

impl std::error::Error for Unwritten {}

impl Guard<'_> {
    /// Whether nothing is to be kept.
    pub fn is_dry_run(self) -> bool {
        matches!(self, Self::DryRun)
    }

    /// Asks the lock.
    ///
    /// # Errors
    /// [`Unwritten::Lost`]
    pub async fn ask(self) -> Result<(), Unwritten> {
        match self {
            Self::DryRun => Ok(()),
            Self::Lock(lock) => lock.ask().await.map_err(Unwritten::Lost),
        }
    }

    /// Sends one write, and does not repeat it.
    ///
    /// # Errors
    /// [`Unwritten`]
    pub async fn once<T>(self, write: impl AsyncFnOnce() -> kube::Result<T>) -> Result<T, Unwritten> {
        self.ask().await?;
        write().await.map_err(Unwritten::Refused)
    }

    /// Sends a write that may be repeated until it succeeds, fails for good, or patience ends.
    ///
    /// # Errors
    /// [`Unwritten`], of the last try.
    pub async fn write<T>(self, write: impl AsyncFn() -> kube::Result<T>) -> Result<T, Unwritten> {
        let from = BootInstant::now();
        for wait in tries() {
            match self.once(&write).await {
                Err(Unwritten::Refused(error)) if is_transient(&error) && from.elapsed() < PATIENCE => {
                    pause_after(&error, wait).await;
                }
                result => return result,
            }
        }
        self.once(&write).await
    }
}
