//! Opening a path below an open folder as if it were chrooted.
//!
//! Absolute links and `..` never leave the folder, even while other processes replace folders with links.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::file_kind::{is_folder, is_link};

/// The number of links that the kernel follows for one path before it returns `ELOOP`.
const MAX_LINKS: usize = 40;
/// Number of retries if the kernel detects a rename on the way.
const TRIES: usize = 8;

/// Opens `path` below `root` for reading or with `O_PATH`.
///
/// The magic links of `/proc` (`root`, `exe`, `fd/N`, …) are refused: they leave any root.
///
/// # Errors
/// Those of open(2).
pub fn open(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let how = || OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    for _ in 0..TRIES {
        match openat2(root, path, how()) {
            Ok(opened) => return Ok(opened),
            Err(Errno::EAGAIN) => {}
            // Linux before 5.6, and older seccomp profiles.
            Err(Errno::ENOSYS | Errno::EPERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    walk(root, path, flags)
}

/// Step by step, each in an open folder; links are read and followed manually.
fn walk(root: BorrowedFd<'_>, path: &str, flags: OFlag) -> io::Result<OwnedFd> {
    let mut left: VecDeque<OsString> = parts(Path::new(path)).collect();
    // Every folder on the way, so that `..` leads back to the previous one, even if it was moved.
    let mut way: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part == ".." {
            way.pop();
            continue;
        }
        let here = way.last().map_or(root, AsFd::as_fd);
        let last = left.is_empty();
        let held = openat(here, part.as_os_str(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let stat = fstat(&held)?;
        if is_link(&stat) && !(last && flags.contains(OFlag::O_NOFOLLOW)) {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            let target = target(&held)?;
            if Path::new(&target).is_absolute() {
                way.clear();
            }
            parts(Path::new(&target)).collect::<Vec<_>>().into_iter().rev().for_each(|part| left.push_front(part));
        } else if last {
            return reopen(here, &part, held, is_folder(&stat), flags);
        } else if is_folder(&stat) {
            way.push(held);
        } else {
            return Err(Errno::ENOTDIR.into());
        }
    }
    // The path ends with `..`, or is the root itself.
    let here = way.last().map_or(root, AsFd::as_fd);
    Ok(openat(here, ".", flags | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Reopens what was opened with `O_PATH`, with `flags`.
fn reopen(folder: BorrowedFd<'_>, name: &OsStr, held: OwnedFd, is_folder: bool, flags: OFlag) -> io::Result<OwnedFd> {
    if flags.contains(OFlag::O_DIRECTORY) && !is_folder {
        return Err(Errno::ENOTDIR.into());
    }
    if flags.contains(OFlag::O_PATH) {
        return Ok(held);
    }
    if is_folder {
        return Ok(openat(&held, ".", flags | OFlag::O_CLOEXEC, Mode::empty())?);
    }
    // If it was replaced with a link since, that link is not followed.
    Ok(openat(folder, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The target of a link, unless it is a magic link of `/proc`, whose text is not its target.
fn target(link: &OwnedFd) -> io::Result<OsString> {
    let target = readlinkat(link, "")?;
    let text = target.to_string_lossy();
    if fstatfs(link)?.filesystem_type() == PROC_SUPER_MAGIC && (text.starts_with('/') || text.contains(':')) {
        return Err(Errno::ELOOP.into());
    }
    Ok(target)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::folder::Folder;

    type Open = fn(BorrowedFd<'_>, &str, OFlag) -> io::Result<OwnedFd>;

    /// Both implementations, the kernel's and the manual one; only the latter if the kernel is too old.
    fn ways() -> Vec<(&'static str, Open)> {
        let folder = Folder::open(Path::new("/")).unwrap();
        let how = OpenHow::new().flags(OFlag::O_PATH).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let mut ways: Vec<(&str, Open)> = vec![("walk", walk)];
        if openat2(&folder, ".", how).is_ok() {
            ways.push(("openat2", open));
        }
        ways
    }

    #[test]
    fn links_stay_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("root");
        fs::create_dir_all(folder.join("usr/lib/deep")).unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::write(folder.join("usr/lib/os-release"), "inside").unwrap();
        let link = |target: &str, name: &str| symlink(target, folder.join(name)).unwrap();
        link("/usr/lib/os-release", "absolute");
        link("../../../../../usr/lib/os-release", "climbing");
        link("usr/lib", "lib");
        link("lib/deep/../os-release", "back");
        link("/", "top");
        link("loop", "loop");
        link("../secret", "out");
        link(outside.path().join("secret").to_str().unwrap(), "out-absolute");
        link("/nowhere", "dangling");
        let root = Folder::open(&folder).unwrap();
        for (name, open) in ways() {
            let read = |path: &str| -> io::Result<String> {
                let mut text = String::new();
                fs::File::from(open(root.as_fd(), path, OFlag::O_RDONLY)?).read_to_string(&mut text)?;
                Ok(text)
            };
            for path in
                ["/absolute", "/climbing", "/lib/os-release", "lib/deep/../os-release", "/back", "/top/absolute"]
            {
                assert_eq!(read(path).unwrap(), "inside", "{name} {path}");
            }
            let code = |path: &str, flags| open(root.as_fd(), path, flags).unwrap_err().raw_os_error();
            assert_eq!(code("/loop", OFlag::O_PATH), Some(Errno::ELOOP as i32), "{name}");
            assert_eq!(code("/absolute", OFlag::O_RDONLY | OFlag::O_NOFOLLOW), Some(Errno::ELOOP as i32), "{name}");
            for path in ["/out", "/out-absolute", "/dangling", "/../secret", "/nothing"] {
                assert_eq!(code(path, OFlag::O_RDONLY), Some(Errno::ENOENT as i32), "{name} {path}");
            }
            assert_eq!(code("/absolute/below", OFlag::O_PATH), Some(Errno::ENOTDIR as i32), "{name}");
            assert_eq!(code("/absolute", OFlag::O_PATH | OFlag::O_DIRECTORY), Some(Errno::ENOTDIR as i32), "{name}");
            for path in ["/", "/top", "/..", "/usr/..", "/lib/../.."] {
                let opened = open(root.as_fd(), path, OFlag::O_RDONLY | OFlag::O_DIRECTORY).unwrap();
                assert_eq!(fstat(&opened).unwrap().st_ino, fstat(&root).unwrap().st_ino, "{name} {path}");
            }
            assert!(is_link(&fstat(open(root.as_fd(), "/out", OFlag::O_PATH | OFlag::O_NOFOLLOW).unwrap()).unwrap()));
        }
    }

    #[test]
    fn magic_links_are_refused() {
        let proc = Folder::open(Path::new("/proc")).unwrap();
        for (name, open) in ways() {
            for path in ["/self/root", "/self/exe", "/self/ns/net", "/self/root/etc"] {
                let error = open(proc.as_fd(), path, OFlag::O_PATH).unwrap_err().raw_os_error();
                assert!(
                    [Some(Errno::ELOOP as i32), Some(Errno::EXDEV as i32)].contains(&error),
                    "{name} {path}: {error:?}"
                );
            }
            assert!(open(proc.as_fd(), "/net/dev", OFlag::O_RDONLY).is_ok(), "{name}: /proc/net leads to self/net");
        }
    }
}
