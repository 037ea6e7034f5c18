//! A change to a file tree and how it is undone. Undoing writes no data, so it also works on a full disk.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;

use crate::atomic_file;
use crate::folder::Folder;

/// A change in an open folder.
pub(super) struct Step {
    /// The folder.
    pub(super) folder: Rc<Folder>,
    /// The name in the folder.
    pub(super) name: OsString,
    /// The path, for display.
    pub(super) path: PathBuf,
    /// The kind of change.
    pub(super) kind: Kind,
}

/// A kind of change.
pub(super) enum Kind {
    /// A folder was created.
    Folder,
    /// A new file was written.
    New,
    /// A file was replaced, or is about to be; the old file is kept under [`old_name`].
    Replaced,
}

/// The result of an undo; displayed as a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Whether there was anything to undo.
    pub changed: bool,
    /// What could not be undone, and the current state.
    pub failures: Vec<String>,
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.changed, self.failures.as_slice()) {
            (false, []) => f.write_str("nothing was changed"),
            (true, []) => f.write_str("all changes were undone"),
            (_, failures) => write!(f, "not all changes could be undone: {}", failures.join("; ")),
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
    /// The path of the old file, for display.
    pub(super) fn old_path(&self) -> PathBuf {
        self.path.with_file_name(old_name(&self.name))
    }

    /// Undoes it; the error describes the current state.
    pub(super) fn undo(&self) -> Result<(), String> {
        let place = self.path.display();
        match self.kind {
            Kind::Folder => match self.folder.remove_folder(&self.name) {
                Ok(true) => {}
                Ok(false) => return Err(format!("the folder {place} was not removed: it is not empty any more")),
                Err(error) => return Err(format!("the folder {place} was not removed: {error}")),
            },
            Kind::New => {
                self.folder
                    .remove_file(&self.name)
                    .map_err(|error| format!("the new {place} was not removed: {error}"))?;
            }
            Kind::Replaced => {
                let old = old_name(&self.name);
                let to_old = |error| {
                    format!("{place} was not restored, its old content is in {}: {error}", self.old_path().display())
                };
                self.folder.rename(&old, &self.name).map_err(to_old)?;
                // It still has both names if it was not yet replaced.
                let stays = |error| format!("{} was not removed: {error}", self.old_path().display());
                self.folder.remove_file(&old).map_err(stays)?;
            }
        }
        self.folder.sync().map_err(|error| format!("the removal of {place} may be lost in a crash: {error}"))
    }
}
