//! The root prefix that every path of a node goes through, `/proc` and `/sys` included.
//!
//! The root folder is held open, and whatever is below it is opened from there (see [`resolve`]): links are
//! followed as a process that was chrooted into the root would, also while the tree's owner exchanges them. Paths are
//! absolute, as the host sees them. What is opened is read only if it is a regular file (see [`crate::bounded`]).

mod reading;
pub mod resolve;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::file_kind::{is_folder, is_link, is_regular};
use crate::folder::{Folder, unless_absent};

/// A Linux host's file tree: `/`, a mounted image, a container's view of its host, or a test's folder.
#[derive(Clone, Debug)]
pub struct Root {
    folder: Arc<OwnedFd>,
    path: PathBuf,
    is_host: bool,
    lib_folders: &'static [&'static str],
}

impl Root {
    /// The tree below `path`.
    ///
    /// # Errors
    /// When `path` is not a folder that can be reached.
    pub fn new(path: &Path) -> io::Result<Self> {
        let folder = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut real = fs::canonicalize(path)?;
        let (host, there) = (stat("/")?, fstat(&folder)?);
        let is_slash = real == Path::new("/");
        let is_host = is_slash && (host.st_dev, host.st_ino) == (there.st_dev, there.st_ino);
        if is_slash && !is_host {
            // A link of /proc that says it leads to `/`, that of a container.
            real = std::path::absolute(path)?;
        }
        let mut root = Self { folder: folder.into(), path: real, is_host, lib_folders: &["/usr/lib", "/lib"] };
        // Where /lib is a link it leads to /usr/lib: looking into both would be looking twice.
        if root.lstat("/lib").is_ok_and(|stat| stat.is_some_and(|stat| is_link(&stat))) {
            root.lib_folders = &["/usr/lib"];
        }
        Ok(root)
    }

    /// The tree that the process `id` of this host has as its `/`, a container's for example.
    ///
    /// # Errors
    /// When there is no such process, or its tree may not be looked at.
    pub fn of_process(&self, id: &str) -> io::Result<Self> {
        let path = format!("/proc/{id}/root");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let process = self.open(&format!("/proc/{id}"), flags)?;
        // In the kernel's own /proc that link is to be followed and not to be read: it claims to lead to `/`.
        let folder = if fstatfs(&process)?.filesystem_type() == PROC_SUPER_MAGIC {
            openat(&process, "root", flags, Mode::empty())?
        } else {
            self.open(&path, flags)?
        };
        Ok(Self { folder: folder.into(), path: self.display(&path), is_host: false, lib_folders: &[] })
    }

    /// Whether this is the running system's own `/`.
    pub fn is_host(&self) -> bool {
        self.is_host
    }

    /// Whether programs of this tree may run with this process's rights: it is the host's own, or its root folder belongs to
    /// this process's user, and nobody else may write it. Another owner would gain those rights, chroot or not.
    pub fn may_run_programs(&self) -> bool {
        let is_own = |stat: FileStat| stat.st_uid == nix::unistd::geteuid().as_raw() && stat.st_mode & 0o022 == 0;
        self.is_host || fstat(&self.folder).is_ok_and(is_own)
    }

    /// The prefix itself, to be shown.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `/usr/lib` and, where it is a folder of its own, `/lib`.
    pub fn lib_folders(&self) -> &'static [&'static str] {
        self.lib_folders
    }

    /// Where `path` lies, to be shown. It is never opened by this.
    pub fn display(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    fn open(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        if self.is_host {
            // There is no way out of `/`: the kernel may as well follow the links, those of /proc included.
            return Ok(open(path, flags | OFlag::O_CLOEXEC, Mode::empty())?);
        }
        resolve::open(self.folder.as_fd(), path, flags)
    }

    /// Holds the folder that `path` leads to, to look and to change what is in it.
    ///
    /// # Errors
    /// When it is not there, is no folder, or may not be read.
    pub fn folder(&self, path: &str) -> io::Result<Folder> {
        self.open(path, Folder::holding()).map(Folder::from)
    }

    /// What `path` leads to, links followed; `None` where there is nothing.
    ///
    /// # Errors
    /// Any other error of looking.
    pub fn stat(&self, path: &str) -> io::Result<Option<FileStat>> {
        unless_absent(if self.is_host {
            stat(path).map_err(io::Error::from)
        } else {
            self.open(path, OFlag::O_PATH).and_then(|opened| Ok(fstat(opened)?))
        })
    }

    /// What is at `path`, a link at its end not followed; `None` where there is nothing.
    ///
    /// # Errors
    /// Any other error of looking.
    pub fn lstat(&self, path: &str) -> io::Result<Option<FileStat>> {
        unless_absent(if self.is_host {
            fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from)
        } else {
            self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(|opened| Ok(fstat(opened)?))
        })
    }

    /// Whether `path` exists, links followed.
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some())
    }

    /// Whether `path` is a folder, links followed.
    pub fn is_dir(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| is_folder(&stat)))
    }

    /// Whether `path` is a regular file, links followed.
    pub fn is_file(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| is_regular(&stat)))
    }

    /// Where the link at `path` leads, as it is written: that of `/proc/ID/ns/net`, for example, is a name.
    ///
    /// # Errors
    /// When there is no link, or it may not be read.
    pub fn read_link(&self, path: &str) -> io::Result<String> {
        let target = if self.is_host {
            readlinkat(AT_FDCWD, path)?
        } else {
            readlinkat(self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?, "")?
        };
        Ok(target.to_string_lossy().into_owned())
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_are_the_roots_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("usr/lib/a/b")).unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("usr/lib/os-release"), "ID=x\n").unwrap();
        fs::write(folder.path().join("usr/lib/a/b/c.ko"), "").unwrap();
        symlink("/usr/lib/os-release", folder.path().join("etc/os-release")).unwrap();
        symlink("/nowhere", folder.path().join("etc/dangling")).unwrap();
        assert_eq!(root.read("/etc/os-release").unwrap().as_deref(), Some("ID=x\n"));
        assert!(root.is_file("/etc/os-release") && !root.exists("/etc/dangling"));
        assert!(root.lstat("/etc/dangling").unwrap().is_some());
        assert_eq!(root.read_link("/etc/os-release").unwrap(), "/usr/lib/os-release");
        assert_eq!(root.read("/etc/nothing/below").unwrap(), None);
        assert_eq!(root.list("/etc"), ["dangling", "os-release"]);
        assert_eq!(root.files_below("/usr/lib"), ["/usr/lib/a/b/c.ko", "/usr/lib/os-release"]);
        let mut lines = Vec::new();
        root.read_lines("/etc/os-release", |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["ID=x"]);
    }

    #[test]
    fn a_process_has_a_root_of_its_own() {
        let root = Root::new(Path::new("/")).unwrap();
        assert!(root.is_host());
        let id = std::process::id().to_string();
        let ours = root.of_process(&id).unwrap();
        assert!(!ours.is_host() && ours.is_dir("/etc"));
        let mut routes = 0;
        root.read_lines("/proc/net/dev", |_| routes += 1).unwrap();
        assert!(routes > 2);

        // A tree that is not the kernel's /proc may say anything: what it says stays below it.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/1")).unwrap();
        fs::create_dir(folder.path().join("inside")).unwrap();
        symlink("/", folder.path().join("proc/1/root")).unwrap();
        let process = Root::new(folder.path()).unwrap().of_process("1").unwrap();
        assert!(process.is_dir("/inside") && !process.exists("/etc"));
    }
}
