//! The root prefix for every path of a node, including `/proc` and `/sys`.
//!
//! The root folder is kept open, and everything below it is opened from there (see [`resolve`]): links are followed
//! as in a chroot, even while the tree's owner replaces them. Paths are absolute, as seen by the host. Only regular files are
//! read (see [`crate::bounded`]).

pub mod chroot;
pub mod conf_files;
mod reading;
pub mod resolve;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
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
    /// If `path` is not an accessible folder.
    pub fn new(path: &Path) -> io::Result<Self> {
        let folder = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut real = if path == Path::new("/") { path.to_owned() } else { fs::canonicalize(path)? };
        let (host, there) = (stat("/")?, fstat(&folder)?);
        let is_slash = real == Path::new("/");
        let is_host = is_slash && (host.st_dev, host.st_ino) == (there.st_dev, there.st_ino);
        if is_slash && !is_host {
            // A link of /proc to a container's root, which reads as `/`.
            real = std::path::absolute(path)?;
        }
        let mut root = Self { folder: folder.into(), path: real, is_host, lib_folders: &["/usr/lib", "/lib"] };
        // If /lib is a link, it leads to /usr/lib: both are the same folder.
        if root.lstat("/lib").is_ok_and(|stat| stat.is_some_and(|stat| is_link(&stat))) {
            root.lib_folders = &["/usr/lib"];
        }
        Ok(root)
    }

    /// The root of the process `id` of this host, for example that of a container.
    ///
    /// # Errors
    /// If the process does not exist, or its root may not be accessed.
    pub fn of_process(&self, id: &str) -> io::Result<Self> {
        let path = format!("/proc/{id}/root");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let process = self.open(&format!("/proc/{id}"), flags)?;
        // In the kernel's own /proc that link must be followed and not read: its text is `/`.
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

    /// Whether programs of this tree may run with this process's rights: it is the host's own, or its root folder is owned by
    /// this process's user and not writable by others. Otherwise its owner would get these rights, even in a chroot.
    pub fn may_run_programs(&self) -> bool {
        let is_own = |stat: FileStat| stat.st_uid == nix::unistd::geteuid().as_raw() && stat.st_mode & 0o022 == 0;
        self.is_host || fstat(&self.folder).is_ok_and(is_own)
    }

    /// The prefix itself, for display.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `/usr/lib` and, if it is a separate folder, `/lib`.
    pub fn lib_folders(&self) -> &'static [&'static str] {
        self.lib_folders
    }

    /// The path with the prefix, for display. It is never opened by this path.
    pub fn display(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    fn open(&self, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
        if self.is_host {
            // Links cannot leave `/`, so the kernel may follow them, including those of /proc. Not open(2): with O_CLOEXEC
            // musl's makes one more system call each time, for kernels older than that flag.
            return Ok(openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty())?);
        }
        resolve::open(self.folder.as_fd(), path, flags)
    }

    /// Opens the folder at `path` for reading and changing its entries.
    ///
    /// # Errors
    /// If it does not exist, is not a folder, or may not be read.
    pub fn folder(&self, path: &str) -> io::Result<Folder> {
        self.open(path, Folder::holding()).map(Folder::from)
    }

    /// The file status of `path`, following links; `None` if it does not exist.
    ///
    /// # Errors
    /// Any other error of fstat(2).
    pub fn stat(&self, path: &str) -> io::Result<Option<FileStat>> {
        unless_absent(if self.is_host {
            stat(path).map_err(io::Error::from)
        } else {
            self.open(path, OFlag::O_PATH).and_then(|opened| Ok(fstat(opened)?))
        })
    }

    /// The file status of `path`, not following a link at its end; `None` if it does not exist.
    ///
    /// # Errors
    /// Any other error of fstat(2).
    pub fn lstat(&self, path: &str) -> io::Result<Option<FileStat>> {
        unless_absent(if self.is_host {
            fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(io::Error::from)
        } else {
            self.open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW).and_then(|opened| Ok(fstat(opened)?))
        })
    }

    /// Whether `path` exists, following links.
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some())
    }

    /// Whether `path` is a folder, following links.
    pub fn is_dir(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| is_folder(&stat)))
    }

    /// Whether `path` is a regular file, following links.
    pub fn is_file(&self, path: &str) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| is_regular(&stat)))
    }

    /// The target of the link at `path`, as written: that of `/proc/ID/ns/net`, for example, is a name.
    ///
    /// # Errors
    /// If it is not a link, or may not be read.
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
    fn paths_are_resolved_below_the_root() {
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

        // Links in a tree that is not the kernel's /proc stay below it.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/1")).unwrap();
        fs::create_dir(folder.path().join("inside")).unwrap();
        symlink("/", folder.path().join("proc/1/root")).unwrap();
        let process = Root::new(folder.path()).unwrap().of_process("1").unwrap();
        assert!(process.is_dir("/inside") && !process.exists("/etc"));
    }
}
