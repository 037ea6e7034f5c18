//! One run at a time on a node.

use std::fs::File;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::root::Root;
use crate::exit_code::Refusal;

/// Held for as long as it lives; the kernel lets go of it when the process ends, however it ends.
#[must_use]
pub struct NodeLock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

impl NodeLock {
    /// Locks the node's `/etc` folder itself, so that no lock file is needed on a read-only or full disk.
    ///
    /// # Errors
    /// A refusal (exit status 3) when another run holds it; else that `/etc` cannot be opened.
    pub fn take(root: &Root) -> anyhow::Result<Self> {
        let etc = root.resolve("/etc")?;
        let folder = File::open(&etc).with_context(|| format!("opening {} (nothing was changed)", etc.display()))?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(Refusal::check(format!(
                "another kpx-prep is at work on this node (it holds the lock on {}); nothing was changed: try again when it is done",
                etc.display()
            ))),
            Err((_, error)) => Err(error).with_context(|| format!("locking {} (nothing was changed)", etc.display())),
        }
    }
}
