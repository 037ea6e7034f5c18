//! Editing one file in place: read, then replaced as a whole, by one run at a time.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use nix::sys::stat::{FileStat, fstat};

use crate::atomic_file::{Owner, put_for, split};
use crate::bounded;
use crate::file_kind::{is_link, mode_of};
use crate::folder::{Folder, unless_absent};

/// How often a file is opened again that another program replaced between two looks at it.
const TRIES: usize = 5;

/// A file that is open to be edited. No other run of kpx-prep edits it until this is dropped.
#[derive(Debug)]
pub struct FileEdit {
    folder: Folder,
    name: OsString,
    /// Keeps the lock.
    _file: File,
    read: FileStat,
    content: Vec<u8>,
}

impl FileEdit {
    /// Reads a regular file of at most [`bounded::MOST`] bytes; `None` if there is no file of this name.
    ///
    /// A symbolic link is refused, not followed: replacing it would leave its target unchanged, and replacing its target
    /// would change a file that nobody named. Links in the folder's path are followed.
    ///
    /// # Errors
    /// If it is a link or not a regular file, is too large, or cannot be read; [`io::ErrorKind::WouldBlock`] if another
    /// process has locked it (flock(2)).
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let (folder, name) = split(path)?;
        let Some(folder) = unless_absent(Folder::open(folder))? else { return Ok(None) };
        for _ in 0..TRIES {
            if folder.stat(name)?.is_some_and(|there| is_link(&there)) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a symbolic link; name the file that it leads to",
                ));
            }
            let Some((file, _)) = folder.file(name)? else { return Ok(None) };
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another process is editing it"),
                TryLockError::Error(error) => error,
            })?;
            let read = fstat(&file)?;
            // The run that held the lock before may have replaced the file.
            if folder.stat(name)?.is_some_and(|there| same(&there, &read)) {
                let content = bounded::read(file.try_clone()?, bounded::MOST)?;
                return Ok(Some(Self { folder, name: name.to_owned(), _file: file, read, content }));
            }
        }
        Err(io::Error::other("other programs keep changing it"))
    }

    /// What the file holds.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Replaces the file, with the mode and the owner that it had. A reader sees the old file or the new one. Extended
    /// attributes, such as ACLs, are those of a new file.
    ///
    /// # Errors
    /// If another program changed or replaced the file after it was read, if the owner cannot be kept, and any error of
    /// the file system. The file is then unchanged.
    pub fn replace(self, content: &[u8]) -> io::Result<()> {
        if !self.folder.stat(&self.name)?.is_some_and(|there| same(&there, &self.read)) {
            return Err(io::Error::other("another program changed it in the meantime"));
        }
        let owner = Owner { user: self.read.st_uid, group: self.read.st_gid };
        put_for(&self.folder, &self.name, content, mode_of(&self.read), Some(owner))?;
        self.folder.sync()
    }
}

/// Whether it is the same file with, by its size and times, the same content.
fn same(one: &FileStat, other: &FileStat) -> bool {
    let identity = |stat: &FileStat| (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    identity(one) == identity(other)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn mode_and_owner_are_kept_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for mode in [0o600, 0o640, 0o644, 0o4755] {
            fs::write(&path, "old").unwrap();
            // Only root can give a file away.
            if nix::unistd::geteuid().is_root() {
                std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let before = fs::metadata(&path).unwrap();
            let edit = FileEdit::open(&path).unwrap().unwrap();
            assert_eq!(edit.content(), b"old");
            edit.replace(b"new").unwrap();
            let after = fs::metadata(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
            assert_ne!(after.ino(), before.ino(), "written into the old file");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn absent_files_are_none_and_others_than_regular_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "old").unwrap();
        fs::File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        std::os::unix::fs::symlink("nothing", path("dangling")).unwrap();
        std::os::unix::fs::symlink(".", path("here")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        for absent in ["no", "no/no", "file/no"] {
            assert!(FileEdit::open(&path(absent)).unwrap().is_none(), "{absent}");
        }
        for (name, why) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("fifo", "not a regular file"),
            (".", "not a regular file"),
            ("here", "a symbolic link"),
            ("sparse", "larger than"),
        ] {
            let error = FileEdit::open(&path(name)).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        assert!(FileEdit::open(&path("here/file")).unwrap().is_some(), "a link in the folder's path");
        assert_eq!(FileEdit::open(Path::new("/dev/zero")).unwrap_err().to_string(), "not a regular file");
    }

    #[test]
    fn one_run_at_a_time_and_no_change_of_others_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let edit = FileEdit::open(&path).unwrap().unwrap();
        assert_eq!(FileEdit::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fs::write(&path, "theirs").unwrap();
        assert!(edit.replace(b"new").unwrap_err().to_string().contains("in the meantime"));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        let edit = FileEdit::open(&path).unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(edit.replace(b"new").is_err() && !path.exists(), "a file that was removed came back");
    }
}
