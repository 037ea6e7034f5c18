//! The guard of every write: the lock is checked, and then the write is sent at once.
//!
//! The order is read, check, send: a write contains the UID or resourceVersion that was read before.

use std::fmt;

use super::{Lock, Lost};
use crate::boot_clock::BootInstant;
use crate::cluster::api::calls::{PATIENCE, pause_after, tries};
use crate::cluster::api::errors::{code, is_transient, plain};

/// Whether writes are stored, and under which lock.
#[derive(Clone, Copy)]
pub enum Guard<'a> {
    /// The API server validates the write without storing it (`dryRun=All`): no lock is needed.
    DryRun,
    /// The lock is checked before each try.
    Lock(&'a Lock),
}

/// Why a write failed.
#[derive(Debug)]
pub enum Unwritten {
    /// The lock was lost; nothing was sent.
    Lost(Lost),
    /// The API server refused, or is not reachable.
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
    /// Whether this is a dry run.
    pub fn is_dry_run(self) -> bool {
        matches!(self, Self::DryRun)
    }

    /// Checks the lock.
    ///
    /// # Errors
    /// [`Unwritten::Lost`]
    pub async fn ask(self) -> Result<(), Unwritten> {
        match self {
            Self::DryRun => Ok(()),
            Self::Lock(lock) => lock.ask().await.map_err(Unwritten::Lost),
        }
    }

    /// Sends a write without retries.
    ///
    /// # Errors
    /// [`Unwritten`]
    pub async fn once<T>(self, write: impl AsyncFnOnce() -> kube::Result<T>) -> Result<T, Unwritten> {
        self.ask().await?;
        write().await.map_err(Unwritten::Refused)
    }

    /// Sends an idempotent write with retries until it succeeds, fails permanently, or the time is over.
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
