//! Allows one run at a time on a node, and records unfinished work of a run that is killed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::boot;
use super::root::Root;
use crate::bounded;
use crate::exit_code::Refusal;
use crate::folder::Folder;

/// The lock file in `/run`.
const NAME: &str = "kpx-prep.lock";
/// The lock file in the root folder of a tree without `/run`.
const NAME_IN_ROOT: &str = ".kpx-prep.lock";
/// Number of retries if another run ends and removes the file at the same time.
const TRIES: usize = 100;
/// Size limit; it names a few folders.
const LARGEST: u64 = 1 << 16;

/// Holds the lock until it is dropped; the kernel releases it when the process ends in any way.
///
/// The lock is a file that only root can open, so no other user can hold it. The file exists only during a run, and after
/// a run that was killed. Then it names folders that this run may have created.
#[must_use]
pub struct NodeLock {
    held: io::Result<Held>,
    place: PathBuf,
    unfinished: BTreeSet<String>,
}

struct Held {
    folder: Folder,
    name: &'static str,
    file: Flock<File>,
    /// Whether the file has a record for a later run.
    noted: bool,
}

enum Refused {
    ByAnotherRun,
    Error(io::Error),
}

impl<E: Into<io::Error>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl NodeLock {
    /// Takes the lock of the node below `root`. If it cannot be taken, for example on a read-only file system,
    /// [`NodeLock::held`] returns the reason: a read-only run does not need the lock.
    ///
    /// # Errors
    /// A refusal (exit status 3) if another run holds it.
    pub fn take(root: &Root) -> anyhow::Result<Self> {
        let (path, name) = if root.is_dir("/run") { ("/run", NAME) } else { ("/", NAME_IN_ROOT) };
        let place = root.display(path).join(name);
        match Held::take(root, path, name) {
            Ok((held, unfinished)) => Ok(Self { held: Ok(held), place, unfinished }),
            Err(Refused::Error(error)) => Ok(Self { held: Err(error), place, unfinished: BTreeSet::new() }),
            Err(Refused::ByAnotherRun) => Err(Refusal::check(format!(
                "another kpx-prep run is in progress on this node (it holds the lock {}); nothing was changed. Wait for it to finish",
                place.display()
            ))),
        }
    }

    /// Must be called before anything is changed.
    ///
    /// # Errors
    /// Why the lock could not be taken.
    pub fn held(&self) -> anyhow::Result<()> {
        let Err(error) = &self.held else { return Ok(()) };
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => " (run it as root)",
            _ => "",
        };
        let error = anyhow!("{error}");
        Err(error.context(format!("taking the lock {} failed{hint}; nothing was changed", self.place.display())))
    }

    /// The folders recorded by a killed run.
    pub fn unfinished(&self) -> &BTreeSet<String> {
        &self.unfinished
    }

    /// Records the folders that this run is about to create or remove, in case it is killed.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn note(&mut self, folders: &BTreeSet<String>) -> anyhow::Result<()> {
        let new: Vec<_> = folders.difference(&self.unfinished).cloned().collect();
        if let Ok(held) = &mut self.held
            && !new.is_empty()
        {
            held.write(&new)
                .with_context(|| format!("writing {} failed; nothing was changed", self.place.display()))?;
            self.unfinished.extend(new);
        }
        Ok(())
    }

    /// Removes the record: everything in it is done or undone.
    pub fn settle(&mut self) {
        if let Ok(held) = &mut self.held {
            held.noted = false;
        }
        self.unfinished.clear();
    }
}

/// Another user may be able to open such a file, or it has another purpose.
fn not_ours() -> io::Error {
    io::Error::other("this file was not created by kpx-prep; remove it")
}

impl Held {
    fn take(root: &Root, path: &str, name: &'static str) -> Result<(Self, BTreeSet<String>), Refused> {
        let folder = root.folder(path)?;
        for _ in 0..TRIES {
            let (file, is_new) = match folder.create(name, 0o600) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match folder.file_to_change(name)? {
                    Some(file) => (file, false),
                    None => continue,
                },
                created => (created?, true),
            };
            let meta = file.metadata()?;
            if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o077 != 0 || meta.nlink() > 1 {
                return Err(not_ours().into());
            }
            let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((_, Errno::EWOULDBLOCK)) => return Err(Refused::ByAnotherRun),
                Err((_, error)) => return Err(error.into()),
            };
            // The previous holder may have removed the file since it was opened: then the lock is not effective.
            if folder.stat(name)?.is_none_or(|there| (there.st_dev, there.st_ino) != (meta.dev(), meta.ino())) {
                continue;
            }
            let text = if is_new { Vec::new() } else { bounded::read(file.try_clone()?, LARGEST)? };
            let unfinished: BTreeSet<_> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
            if !unfinished.iter().all(|line| boot::files::is_folder_on_the_way(line)) {
                return Err(not_ours().into());
            }
            return Ok((Self { folder, name, file, noted: !unfinished.is_empty() }, unfinished));
        }
        Err(io::Error::other("it is created and removed repeatedly by other processes").into())
    }

    fn write(&mut self, folders: &[String]) -> io::Result<()> {
        let mut text = String::new();
        for folder in folders {
            let _ = writeln!(text, "{folder}");
        }
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(text.as_bytes())?;
        self.noted = true;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.noted {
            // While it is locked, so that a run that has opened it notices. A file left behind is harmless.
            let _ = self.folder.remove_file(self.name);
        }
    }
}
