//! Several file writes that are kept together or undone together.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::root::{Root, is_absent};
use crate::atomic_file;
use crate::report::say::say;

enum Undo {
    RemoveFile(PathBuf),
    RemoveFolder(PathBuf),
    Restore { path: PathBuf, content: Vec<u8>, mode: u32 },
}

/// Writes below a root that are undone, last first, unless [`Transaction::commit`] is called.
pub struct Transaction<'a> {
    root: &'a Root,
    selinux: bool,
    undo: Vec<Undo>,
}

impl<'a> Transaction<'a> {
    /// Nothing written yet. `selinux` only adds to error messages.
    pub fn new(root: &'a Root, selinux: bool) -> Self {
        Self { root, selinux, undo: Vec::new() }
    }

    /// Writes a file whole, its folders included.
    ///
    /// # Errors
    /// Any error of the file system, with its likely cause. What was written before is undone when the transaction is dropped.
    pub fn write(&mut self, path: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let attempt = self.try_write(path, content, mode);
        let place =
            || format!("writing {} failed{}; nothing was changed", self.root.join(path).display(), self.why(&attempt));
        match &attempt {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())).with_context(place),
        }
    }

    fn try_write(&mut self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let place = self.make_folder(folder)?.join(name);
        let before = match fs::read(&place) {
            Ok(content) => {
                let mode = fs::metadata(&place)?.permissions().mode() & 0o7777;
                Undo::Restore { path: place.clone(), content, mode }
            }
            Err(error) if is_absent(&error) => Undo::RemoveFile(place.clone()),
            Err(error) => return Err(error),
        };
        atomic_file::replace(&place, content, mode)?;
        tracing::info!("wrote {}", place.display());
        self.undo.push(before);
        Ok(())
    }

    fn make_folder(&mut self, folder: &str) -> io::Result<PathBuf> {
        let mut place = self.root.path().to_owned();
        let mut seen = String::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            seen = format!("{seen}/{part}");
            let next = self.root.resolve(&seen)?;
            if let Err(error) = next.symlink_metadata() {
                if !is_absent(&error) {
                    return Err(error);
                }
                fs::create_dir(&next)?;
                self.undo.push(Undo::RemoveFolder(next.clone()));
                // The umask of whoever runs this is not the host's policy.
                fs::set_permissions(&next, Permissions::from_mode(0o755))?;
                File::open(&place)?.sync_all()?;
            }
            place = next;
        }
        Ok(place)
    }

    fn why(&self, attempt: &io::Result<()>) -> &'static str {
        let Err(error) = attempt else { return "" };
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                " (the file system is read-only: remount it, or bake the files into the image)"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => " (no space is left: make room and run again)",
            io::ErrorKind::PermissionDenied if nix::unistd::geteuid().is_root() && self.selinux => {
                " (root was denied while SELinux enforces: see ausearch -m avc -ts recent)"
            }
            io::ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => " (run it as root)",
            _ => "",
        }
    }

    /// Keeps what was written.
    pub fn commit(mut self) {
        self.undo.clear();
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        for step in self.undo.drain(..).rev() {
            let (path, result) = match step {
                Undo::RemoveFile(path) => (path.clone(), fs::remove_file(path)),
                Undo::RemoveFolder(path) => (path.clone(), fs::remove_dir(path)),
                Undo::Restore { path, content, mode } => (path.clone(), atomic_file::replace(&path, &content, mode)),
            };
            if let Err(error) = result {
                say(&format!("error: undoing {}: {error}; it stays as it was written", path.display()));
            }
        }
    }
}

/// Removes a file, and what a killed write may have left beside it. `false` when there was nothing.
///
/// # Errors
/// Any error of the file system but that the file is not there.
pub fn remove(place: &Path) -> io::Result<bool> {
    if let (Some(folder), Some(name)) = (place.parent(), place.file_name()) {
        let _ = fs::remove_file(folder.join(atomic_file::temporary_name(&name.to_string_lossy())));
    }
    match fs::remove_file(place) {
        Ok(()) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undone_unless_committed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        fs::create_dir(root.join("/etc")).unwrap();
        fs::write(root.join("/etc/a"), "before").unwrap();
        fs::set_permissions(root.join("/etc/a"), Permissions::from_mode(0o640)).unwrap();

        let mut transaction = Transaction::new(&root, false);
        transaction.write("/etc/a", b"after", 0o644).unwrap();
        transaction.write("/etc/new/b", b"b", 0o600).unwrap();
        assert_eq!(fs::read_to_string(root.join("/etc/a")).unwrap(), "after");
        drop(transaction);
        assert_eq!(fs::read_to_string(root.join("/etc/a")).unwrap(), "before");
        assert_eq!(fs::metadata(root.join("/etc/a")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(!root.join("/etc/new").exists());

        let mut transaction = Transaction::new(&root, false);
        transaction.write("/etc/new/b", b"b", 0o600).unwrap();
        transaction.commit();
        assert_eq!(fs::metadata(root.join("/etc/new/b")).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}
