//! A folder that is held open. What is in it is reached by its descriptor and a single name, and a link is never
//! followed: changes to the path lead nowhere else.

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

/// The most entries that are taken of one folder.
const MOST_ENTRIES: usize = 1 << 20;

/// Whether the error says that there is nothing at that path.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// `None` where there is nothing.
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

/// What a folder holds under a name.
pub struct Entry {
    /// The name. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// A folder that is held open.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// How a folder is opened to be held.
    pub fn holding() -> OFlag {
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
    }

    /// The folder that `path` leads to.
    ///
    /// # Errors
    /// When it is not there, is no folder, or may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fcntl::open(path, Self::holding(), Mode::empty())?))
    }

    /// What lies in this folder under `name`, if that is a folder itself.
    ///
    /// # Errors
    /// When it is not there, is no folder, or may not be read.
    pub fn folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Ok(Self(fcntl::openat(&self.0, name.as_ref(), Self::holding() | OFlag::O_NOFOLLOW, Mode::empty())?))
    }

    /// What is under `name`; `None` where there is nothing.
    ///
    /// # Errors
    /// Any other error of looking.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<FileStat>> {
        unless_absent(stat::fstatat(&self.0, name.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from))
    }

    /// Opens a regular file for reading, with what it is. `None` where there is nothing under `name`.
    ///
    /// # Errors
    /// When it is anything but a regular file, and any error of opening it.
    pub fn file(&self, name: impl AsRef<OsStr>) -> io::Result<Option<(File, FileStat)>> {
        self.open_regular(name, bounded::reading())
    }

    /// Opens a regular file for reading and writing. `None` where there is nothing under `name`.
    ///
    /// # Errors
    /// When it is anything but a regular file, and any error of opening it.
    pub fn file_to_change(&self, name: impl AsRef<OsStr>) -> io::Result<Option<File>> {
        Ok(self.open_regular(name, bounded::reading() | OFlag::O_RDWR)?.map(|(file, _)| file))
    }

    fn open_regular(&self, name: impl AsRef<OsStr>, flags: OFlag) -> io::Result<Option<(File, FileStat)>> {
        // To open some devices is to use them: it is looked before, and again at what was opened.
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

    /// The content of a regular file, with what it is. `None` where there is nothing under `name`.
    ///
    /// # Errors
    /// When it is anything but a regular file or larger than [`bounded::MOST`], and any error of reading it.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<(Vec<u8>, FileStat)>> {
        self.file(name)?.map(|(file, stat)| Ok((bounded::read(file, bounded::MOST)?, stat))).transpose()
    }

    /// Where a link leads, as it is written.
    ///
    /// # Errors
    /// When there is no link under `name`.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> io::Result<String> {
        Ok(fcntl::readlinkat(&self.0, name.as_ref())?.to_string_lossy().into_owned())
    }

    /// Everything in this folder, in no order.
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
        // Some file systems do not tell kinds while listing.
        let is_folder = |name: &str, kind| match kind {
            Some(kind) => kind == nix::dir::Type::Directory,
            None => stat::fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is_folder(&stat)),
        };
        Ok(found.into_iter().map(|(name, kind)| Entry { is_folder: is_folder(&name, kind), name }).collect())
    }

    /// Makes a file that was not there, to be read and written.
    ///
    /// # Errors
    /// When something is there, and any error of making it.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(fcntl::openat(&self.0, name.as_ref(), flags, Mode::from_bits_truncate(mode))?.into())
    }

    /// Makes a folder that everybody may read, whatever the umask.
    ///
    /// # Errors
    /// When something is there, and any error of making it.
    pub fn make_folder(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(stat::mkdirat(&self.0, name.as_ref(), Mode::from_bits_truncate(0o755))?)
    }

    /// Gives a folder made with [`Folder::make_folder`] its mode, whatever the umask; returns it.
    ///
    /// # Errors
    /// When it was exchanged for something else, and any error of changing it.
    pub fn made_folder(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let made = self.folder(name)?;
        let stat = stat::fstat(&made.0)?;
        if stat.st_uid != unistd::geteuid().as_raw() {
            return Err(io::Error::other("it was exchanged for a folder of another owner"));
        }
        if mode_of(&stat) & 0o777 != 0o755 {
            stat::fchmod(&made.0, Mode::from_bits_truncate(0o755))?;
        }
        Ok(made)
    }

    /// Gives the file `from` a second name.
    ///
    /// # Errors
    /// When something has that name, and any error of giving it.
    pub fn link(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(unistd::linkat(&self.0, from.as_ref(), &self.0, to.as_ref(), LinkatFlags::empty())?)
    }

    /// Renames within the folder; what has the name `to` is replaced.
    ///
    /// # Errors
    /// Any error of renaming.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(fcntl::renameat(&self.0, from.as_ref(), &self.0, to.as_ref())?)
    }

    /// Removes what is no folder; `false` when there was nothing.
    ///
    /// # Errors
    /// Any other error of removing it.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let removed = unistd::unlinkat(&self.0, name.as_ref(), UnlinkatFlags::NoRemoveDir);
        unless_absent(removed.map_err(io::Error::from)).map(|removed| removed.is_some())
    }

    /// Removes a folder that is empty; `false` when there was none, or it holds something.
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

    /// Waits until what changed in the folder is on the disk.
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
