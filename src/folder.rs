//! An open folder. Its entries are accessed through its file descriptor and a single name, and links are never followed,
//! so a change to the path cannot redirect an access.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode};
use nix::unistd::{self, LinkatFlags, UnlinkatFlags};

use crate::bounded;
use crate::file_kind::{is_folder, is_regular, mode_of};

/// Limit for the number of entries read from one folder.
const MOST_ENTRIES: usize = 1 << 20;

/// Whether the error means that the path does not exist.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// `None` if the path does not exist.
///
/// # Errors
/// Any other error.
pub fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An entry of a folder.
pub struct Entry {
    /// The name. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Flags for opening a folder.
    pub fn holding() -> OFlag {
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
    }

    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// If it does not exist, is not a folder, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fcntl::open(path, Self::holding(), Mode::empty())?))
    }

    /// Opens the subfolder `name`.
    ///
    /// # Errors
    /// If it does not exist, is not a folder, or may not be read.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Self(fcntl::openat(&self.0, name.as_ref(), Self::holding() | OFlag::O_NOFOLLOW, Mode::empty())?))
    }

    /// The file status of `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// Any other error of fstatat(2).
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileStat>> {
        unless_absent(stat::fstatat(&self.0, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from))
    }

    /// Opens a regular file for reading; also returns its status. `None` if `name` does not exist.
    ///
    /// # Errors
    /// If it is not a regular file, and any error of opening it.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<Option<(File, FileStat)>> {
        self.open_regular(name, bounded::reading())
    }

    /// Opens a regular file for reading and writing. `None` if `name` does not exist.
    ///
    /// # Errors
    /// If it is not a regular file, and any error of opening it.
    pub fn file_to_change(&self, name: impl AsRef<OsStr>) -> io::Result<Option<File>> {
        Ok(self.open_regular(name, bounded::reading() | OFlag::O_RDWR)?.map(|(file, _)| file))
    }

    fn open_regular(&self, name: impl AsRef<OsStr>, flags: OFlag) -> io::Result<Option<(File, FileStat)>> {
        // Opening a device can have effects, so the kind is checked before opening, and again on what was opened.
        match self.stat(&name)? {
            None => return Ok(None),
            Some(stat) if !is_regular(&stat) => return Err(bounded::not_regular()),
            Some(_) => {}
        }
        let opened = fcntl::openat(&self.0, name.as_ref(), flags | OFlag::O_NOFOLLOW, Mode::empty());
        let opened = opened.map_err(io::Error::from);
        let Some(file) = unless_absent(opened)? else { return Ok(None) };
        let stat = stat::fstat(&file)?;
        if is_regular(&stat) { Ok(Some((File::from(file), stat))) } else { Err(bounded::not_regular()) }
    }

    /// The content of a regular file and its status. `None` if `name` does not exist.
    ///
    /// # Errors
    /// If it is not a regular file or is larger than [`bounded::MOST`], and any read error.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<(Vec<u8>, FileStat)>> {
        self.file(name)?.map(|(file, stat)| Ok((bounded::read(file, bounded::MOST)?, stat))).transpose()
    }

    /// The target of a link, as written.
    ///
    /// # Errors
    /// If `name` is not a link.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<String> {
        Ok(fcntl::readlinkat(&self.0, name.as_ref())?.to_string_lossy().into_owned())
    }

    /// All entries of this folder, unordered.
    ///
    /// # Errors
    /// Any error of reading the folder.
    pub fn entries(self) -> io::Result<Vec<Entry>> {
        let mut dir = Dir::from_fd(self.0)?;
        let mut found = Vec::new();
        for entry in dir.iter().take(MOST_ENTRIES) {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = entry.file_type();
            found.push((entry.file_name().to_string_lossy().into_owned(), kind));
        }
        // Some file systems do not report the kind in a listing.
        let is_folder = |name: &str, kind| match kind {
            Some(kind) => kind == nix::dir::Type::Directory,
            None => stat::fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is_folder(&stat)),
        };
        Ok(found.into_iter().map(|(name, kind)| Entry { is_folder: is_folder(&name, kind), name }).collect())
    }

    /// Creates a new file for reading and writing.
    ///
    /// # Errors
    /// If the name exists, and any error of creating it.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(&self.0, name.as_ref(), flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Creates a folder with mode 0755; see [`Folder::made_folder`] for the umask.
    ///
    /// # Errors
    /// If the name exists, and any error of creating it.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(stat::mkdirat(&self.0, name.as_ref(), Mode::from_bits_truncate(0o755))?)
    }

    /// Opens a folder created with [`Folder::make_folder`] and sets its mode, regardless of the umask.
    ///
    /// # Errors
    /// If it was replaced by something else, and any error of changing it.
    pub fn made_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let made = self.folder(name)?;
        let stat = stat::fstat(&made.0)?;
        if stat.st_uid != unistd::geteuid().as_raw() {
            return Err(io::Error::other("it was replaced by a folder of another owner"));
        }
        if mode_of(&stat) & 0o777 != 0o755 {
            stat::fchmod(&made.0, Mode::from_bits_truncate(0o755))?;
        }
        Ok(made)
    }

    /// Creates a hard link `to` for the file `from`.
    ///
    /// # Errors
    /// If `to` exists, and any error of link(2).
    pub fn link(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unistd::linkat(&self.0, from.as_ref(), &self.0, to.as_ref(), LinkatFlags::empty())?)
    }

    /// Renames within the folder; an existing `to` is replaced.
    ///
    /// # Errors
    /// Any error of renaming.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fcntl::renameat(&self.0, from.as_ref(), &self.0, to.as_ref())?)
    }

    /// Removes an entry that is not a folder; `false` if it did not exist.
    ///
    /// # Errors
    /// Any other error of removing it.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let removed = unistd::unlinkat(&self.0, name.as_ref(), UnlinkatFlags::NoRemoveDir);
        unless_absent(removed.map_err(io::Error::from)).map(|removed| removed.is_some())
    }

    /// Removes an empty folder; `false` if it did not exist or is not empty.
    ///
    /// # Errors
    /// Any other error of removing it.
    pub fn remove_folder(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match unistd::unlinkat(&self.0, name.as_ref(), UnlinkatFlags::RemoveDir) {
            Ok(()) => Ok(true),
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until changes to the folder are on disk.
    ///
    /// # Errors
    /// Any error of the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(unistd::fsync(&self.0)?)
    }
}

impl From<OwnedFd> for Folder {
    fn from(folder: OwnedFd) -> Self {
        Self(folder)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
