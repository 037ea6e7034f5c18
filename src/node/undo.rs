//! One change to a file tree and how it is undone. Undoing writes no data: it also works on a full disk.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::atomic_file;
use crate::folder::Folder;

/// One change, in a folder that is held.
pub(super) struct Step {
    /// Where.
    pub(super) folder: Rc<Folder>,
    /// What, in that folder.
    pub(super) name: OsString,
    /// The same, to be shown.
    pub(super) path: PathBuf,
    /// What was done to it.
    pub(super) kind: Kind,
}

/// A kind of change.
pub(super) enum Kind {
    /// A folder was made.
    Folder,
    /// A file was written where there was none.
    New,
    /// A file was replaced, or is about to be; its old content is under [`old_name`].
    Replaced,
}

/// What is so after an undo; shown as a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Whether there was anything to undo.
    pub changed: bool,
    /// What could not be undone, and how it is now.
    pub failures: Vec<String>,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.changed, self.failures.as_slice()) {
            (false, []) => f.write_str("nothing was changed"),
            (true, []) => f.write_str("all changes were undone"),
            (_, failures) => write!(f, "not everything could be undone: {}", failures.join("; ")),
        }
    }
}

/// The second name of a file that is being replaced.
pub(super) fn old_name(name: impl AsRef<OsStr>) -> OsString {
    let mut old = OsString::from(name.as_ref());
    old.push(".old");
    atomic_file::temporary_name(old)
}

impl Step {
    /// Where the old content of a file is, to be shown.
    pub(super) fn old_path(&self) -> PathBuf {
        self.path.with_file_name(old_name(&self.name))
    }

    /// Undoes it; otherwise says how it is now.
    pub(super) fn undo(&self) -> Result<(), String> {
        let place = self.path.display();
        match self.kind {
            Kind::Folder => match self.folder.remove_folder(&self.name) {
                Ok(true) => {}
                Ok(false) => return Err(format!("the folder {place} stays: it is not empty any more")),
                Err(error) => return Err(format!("the folder {place} stays: {error}")),
            },
            Kind::New => {
                self.folder.remove_file(&self.name).map_err(|error| format!("{place} stays as written: {error}"))?;
            }
            Kind::Replaced => {
                let old = old_name(&self.name);
                let to_old = |error| {
                    format!("{place} stays as written, its old content is in {}: {error}", self.old_path().display())
                };
                self.folder.rename(&old, &self.name).map_err(to_old)?;
                // It still has both names if it was not replaced yet.
                let stays = |error| format!("{} stays: {error}", self.old_path().display());
                self.folder.remove_file(&old).map_err(stays)?;
            }
        }
        self.folder.sync().map_err(|error| format!("{place} may come back after a crash: {error}"))
    }
}
