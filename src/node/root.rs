//! The root prefix that every path of a node goes through, `/proc` and `/sys` included.
//!
//! The root folder is held open, and whatever is below it is opened from there (see [`super::resolve`]): links are
//! followed as a process that was chrooted into the root would, also while the tree's owner exchanges them. Paths are
//! absolute, as the host sees them. What is opened is read only if it is a regular file (see [`crate::bounded`]).

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::resolve;
use crate::bounded;
use crate::file_kind::{is_folder, is_link, is_null, is_regular};
use crate::folder::{Folder, unless_absent};

/// The longest line of a kernel's table. Real ones have some hundred bytes.
const LONGEST_LINE: u64 = 64 << 10;
/// How deep folders below one are looked into; the kernel's modules lie less than ten deep.
const DEEPEST: usize = 32;

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

    /// Opens the regular file that `path` leads to. (`/dev/null` is opened too: [`bounded::read`] finds it empty.)
    ///
    /// # Errors
    /// When there is no such file, when it is not a regular one, and any error of opening it.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        if self.is_host {
            return self.open(path, bounded::reading()).map(File::from);
        }
        // To open some devices is to use them: what there is is held first, and opened once it is known.
        let held = self.open(path, OFlag::O_PATH)?;
        let stat = fstat(&held)?;
        if !is_regular(&stat) && !is_null(&stat) {
            return Err(bounded::not_regular());
        }
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        match open(again.as_str(), bounded::reading(), Mode::empty()) {
            Ok(opened) => Ok(opened.into()),
            // This process may be without a /proc of its own.
            Err(_) => self.open(path, bounded::reading()).map(File::from),
        }
    }

    /// The text of `path`, or `None` where there is no such file. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// When it is not a regular file or larger than [`bounded::MOST`]; any other error of reading it, such as missing
    /// permission.
    pub fn read(&self, path: &str) -> io::Result<Option<String>> {
        let content = self.open_file(path).and_then(|file| bounded::read(file, bounded::MOST));
        Ok(unless_absent(content)?.map(into_text))
    }

    /// Hands a table of the kernel's below `/proc` to `each` line by line, however large it is. Does nothing where
    /// there is no such file.
    ///
    /// # Errors
    /// Any error of reading it; when a line is longer than any of the kernel's; when it is not the kernel's and larger
    /// than [`bounded::MOST`].
    pub fn read_lines(&self, path: &str, mut each: impl FnMut(&str)) -> io::Result<()> {
        let Some(file) = unless_absent(self.open_file(path))? else { return Ok(()) };
        if fstatfs(&file)?.filesystem_type() != PROC_SUPER_MAGIC {
            into_text(bounded::read(file, bounded::MOST)?).lines().for_each(each);
            return Ok(());
        }
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        while (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            each(String::from_utf8_lossy(line.trim_ascii_end()).as_ref());
            line.clear();
        }
        Ok(())
    }

    /// The names in the folder `path`, sorted; empty where there is no such folder or it may not be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = self.folder(path).and_then(Folder::entries).unwrap_or_default();
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    /// What is below the folder `path` and is no folder, at any depth; folders behind links are not looked into.
    pub fn files_below(&self, path: &str) -> Vec<String> {
        let mut files = Vec::new();
        if let Ok(folder) = self.folder(path) {
            collect_files(folder, path, DEEPEST, &mut files);
        }
        files.sort();
        files
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

fn collect_files(folder: Folder, path: &str, deeper: usize, files: &mut Vec<String>) {
    let Ok(held) = folder.as_fd().try_clone_to_owned().map(Folder::from) else { return };
    for entry in folder.entries().unwrap_or_default() {
        let path = format!("{path}/{}", entry.name);
        if !entry.is_folder {
            files.push(path);
        } else if deeper > 0
            && let Ok(below) = held.folder(&entry.name)
        {
            collect_files(below, &path, deeper - 1, files);
        }
    }
}

/// Nearly always it is UTF-8, and then nothing has to be copied.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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
