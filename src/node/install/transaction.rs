//! Several file writes that are committed or undone together.
//!
//! Until then, a replaced file is kept under a second name.

use std::ffi::OsString;
use std::io;
use std::rc::Rc;

use anyhow::anyhow;

use super::undo::{Kind, Step, Undone, old_name};
use crate::atomic_file;
use crate::file_kind::is_regular;
use crate::folder::{Folder, is_absent};
use crate::node::boot::files::folders_of;
use crate::node::root::Root;
use crate::report::say::say;

/// Writes below a root that are undone in reverse order unless [`Transaction::commit`] is called.
pub struct Transaction<'a> {
    root: &'a Root,
    selinux: bool,
    steps: Vec<Step>,
    /// Temporary files that could not be removed.
    stuck: Vec<String>,
    /// Whether a step could not be undone.
    failed: bool,
}

impl<'a> Transaction<'a> {
    /// An empty transaction. `selinux` is only used for error messages.
    pub fn new(root: &'a Root, selinux: bool) -> Self {
        Self { root, selinux, steps: Vec::new(), stuck: Vec::new(), failed: false }
    }

    /// Writes a file atomically and creates its folders.
    ///
    /// # Errors
    /// Any error of the file system, with its likely cause. All writes are then undone, and the error says whether that
    /// succeeded.
    pub fn write(&mut self, path: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let attempt = self.try_write(path, content, mode);
        self.conclude(attempt, || format!("writing {}", self.root.display(path).display()))
    }

    /// Keeps a backup of the file at `path` under a second name in the same folder when it is replaced.
    ///
    /// # Errors
    /// As [`Transaction::write`].
    pub fn keep(&mut self, path: &str, copy: &str) -> anyhow::Result<()> {
        let attempt = self.try_keep(path, copy);
        self.conclude(attempt, || format!("saving {} as {copy}", self.root.display(path).display()))
    }

    fn conclude(&mut self, attempt: io::Result<()>, what: impl Fn() -> String) -> anyhow::Result<()> {
        let Err(error) = attempt else { return Ok(()) };
        let (what, why) = (what(), self.why(&error));
        let undone = self.roll_back();
        Err(anyhow!("{error}").context(format!("{what} failed{why}; {undone}")))
    }

    fn try_write(&mut self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let folder = self.make_folders(path)?;
        let name = OsString::from(last(path));
        let step = |kind| Step { folder: Rc::clone(&folder), name: name.clone(), path: self.root.display(path), kind };
        let there = folder.stat(&name)?;
        match there {
            Some(stat) if !is_regular(&stat) => return Err(crate::bounded::not_regular()),
            Some(_) => {
                // A killed run may have left a file of that name.
                remove_temporary(&folder, last(path))?;
                let step = step(Kind::Replaced);
                folder.link(&name, old_name(&name))?;
                self.steps.push(step);
                self.put(&folder, path, content, mode)?;
            }
            None => {
                let step = step(Kind::New);
                self.put(&folder, path, content, mode)?;
                self.steps.push(step);
            }
        }
        folder.sync()?;
        tracing::info!("wrote {}", self.root.display(path).display());
        Ok(())
    }

    fn put(&mut self, folder: &Folder, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let temporary = atomic_file::temporary_name(last(path));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", temporary.display()));
        folder.remove_file(&temporary).map_err(named)?;
        let result = atomic_file::put(folder, last(path), content, mode);
        if result.is_err()
            && let Err(error) = folder.remove_file(&temporary)
        {
            let place = self.root.display(path).with_file_name(temporary);
            self.stuck.push(format!("{} was not removed: {error}", place.display()));
        }
        result
    }

    fn try_keep(&mut self, path: &str, copy: &str) -> io::Result<()> {
        let folder = Rc::new(self.root.folder(folder_of(path))?);
        let name = OsString::from(last(copy));
        folder.link(last(path), &name)?;
        self.steps.push(Step { folder, name, path: self.root.display(copy), kind: Kind::New });
        Ok(())
    }

    /// Opens the folder of `path`; creates it and its parents if they are missing.
    fn make_folders(&mut self, path: &str) -> io::Result<Rc<Folder>> {
        match self.root.folder(folder_of(path)) {
            Err(error) if is_absent(&error) => {}
            there => return there.map(Rc::new),
        }
        let mut above = Rc::new(self.root.folder("/")?);
        for place in folders_of(path) {
            above = Rc::new(match self.root.folder(&place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = OsString::from(last(&place));
                    above.make_folder(&name)?;
                    let (folder, path) = (Rc::clone(&above), self.root.display(&place));
                    self.steps.push(Step { folder, name: name.clone(), path, kind: Kind::Folder });
                    let made = above.made_folder(&name)?;
                    above.sync()?;
                    made
                }
                there => there?,
            });
        }
        Ok(above)
    }

    fn why(&self, error: &io::Error) -> &'static str {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem => {
                " (the file system is read-only: remount it, or add the files to the image)"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                " (no space left: free some space and run again)"
            }
            io::ErrorKind::FileTooLarge => " (the file size limit is exceeded: see ulimit -f)",
            io::ErrorKind::PermissionDenied if !nix::unistd::geteuid().is_root() => " (run it as root)",
            io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(nix::libc::EPERM) => {
                " (permission denied for root: check lsattr for an immutable or append-only file or folder)"
            }
            io::ErrorKind::PermissionDenied if self.selinux => {
                " (permission denied for root with SELinux enforcing: see ausearch -m avc -ts recent)"
            }
            _ => "",
        }
    }

    /// Undoes everything in reverse order and returns the result.
    pub fn roll_back(&mut self) -> Undone {
        let steps = std::mem::take(&mut self.steps);
        let mut undone = Undone { changed: !steps.is_empty(), failures: std::mem::take(&mut self.stuck) };
        for step in steps.iter().rev() {
            if let Err(failure) = step.undo() {
                undone.failures.push(failure);
            }
        }
        self.failed |= !undone.failures.is_empty();
        undone
    }

    /// Whether all writes were undone.
    pub fn is_undone(&self) -> bool {
        self.steps.is_empty() && !self.failed
    }

    /// Commits the writes. Returns old files that could not be removed.
    pub fn commit(mut self) -> Vec<String> {
        let mut left = Vec::new();
        for step in std::mem::take(&mut self.steps).iter().filter(|step| matches!(step.kind, Kind::Replaced)) {
            if let Err(error) = step.folder.remove_file(old_name(&step.name)) {
                left.push(format!("{} could not be removed: {error}", step.old_path().display()));
            }
        }
        left
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        for failure in self.roll_back().failures {
            say(&format!("error: not all changes could be undone: {failure}"));
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Removes what a killed run left next to a file.
///
/// # Errors
/// Any error of removing it.
pub fn remove_temporary(folder: &Folder, name: &str) -> io::Result<()> {
    for temporary in [atomic_file::temporary_name(name), old_name(name)] {
        match folder.remove_file(temporary) {
            // Not left by a run.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            result => _ = result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn undone_unless_committed() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        let place = |path: &str| folder.path().join(path);
        fs::create_dir(place("etc")).unwrap();
        fs::write(place("etc/a"), "before").unwrap();
        fs::set_permissions(place("etc/a"), Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(place("etc/a")).unwrap();
        let names = || root.list("/etc");

        let mut transaction = Transaction::new(&root, false);
        transaction.keep("/etc/a", "/etc/copy").unwrap();
        transaction.write("/etc/a", b"after", 0o644).unwrap();
        transaction.write("/etc/new/b", b"b", 0o600).unwrap();
        assert_eq!(fs::read_to_string(place("etc/a")).unwrap(), "after");
        assert_eq!(fs::read_to_string(place("etc/copy")).unwrap(), "before");
        assert_eq!(transaction.roll_back().to_string(), "all changes were undone");
        assert_eq!(fs::read_to_string(place("etc/a")).unwrap(), "before");
        let after = fs::metadata(place("etc/a")).unwrap();
        assert_eq!((after.ino(), after.mode(), after.nlink()), (before.ino(), before.mode(), 1), "the same file");
        assert_eq!(names(), ["a"]);

        transaction.write("/etc/a", b"after", 0o600).unwrap();
        transaction.write("/etc/new/b", b"b", 0o600).unwrap();
        assert_eq!(transaction.commit(), Vec::<String>::new());
        assert_eq!(fs::metadata(place("etc/new/b")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(), ["a", "new"]);
    }

    #[test]
    fn an_error_reports_the_current_state() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("etc/folder")).unwrap();
        let mut transaction = Transaction::new(&root, false);
        let error = format!("{:#}", transaction.write("/etc/folder", b"", 0o644).unwrap_err());
        assert!(error.ends_with("failed; nothing was changed: not a regular file"), "{error}");
        transaction.write("/etc/a", b"a", 0o644).unwrap();
        let error = format!("{:#}", transaction.write("/etc/folder", b"", 0o644).unwrap_err());
        assert!(error.contains("all changes were undone"), "{error}");
        transaction.write("/etc/new/a", b"a", 0o644).unwrap();
        fs::write(folder.path().join("etc/new/theirs"), "").unwrap();
        let error = format!("{:#}", transaction.write("/etc/folder", b"", 0o644).unwrap_err());
        assert!(
            error.contains("not all changes could be undone: the folder") && error.contains("etc/new was not removed"),
            "{error}"
        );
        assert_eq!(root.list("/etc/new"), ["theirs"]);
    }
}
