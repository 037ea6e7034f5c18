//! Whole-or-not-at-all writing of one file: temporary file in the same folder, mode, fsync, rename, fsync of the folder.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::path::Path;

use crate::bounded::not_regular;
use crate::file_kind::is_regular;
use crate::folder::Folder;

/// The name under which the new content of the file `name` is written before it takes that name.
pub fn temporary_name(name: impl AsRef<OsStr>) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".kpx-prep.tmp");
    temporary
}

/// Replaces `path` by a file with this content and mode (permission bits, such as `0o600`).
///
/// A reader sees the old file or the new one, never a part. A run that is killed leaves at most
/// `.NAME.kpx-prep.tmp` beside it, which the next write of the same file removes; two runs must
/// not write the same file at once (callers hold a lock).
///
/// # Errors
/// Any error of the file system; when the path exists and is not a regular file, such as `/dev/null` or a link. The
/// existing file is then unchanged.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let folder = Folder::open(folder)?;
    if folder.stat(name)?.is_some_and(|there| !is_regular(&there)) {
        return Err(not_regular());
    }
    put(&folder, name, content, mode)?;
    folder.sync()
}

/// The folder of a file, and the file's name in it.
///
/// # Errors
/// If it is the path of no file, such as `/` or `..`.
pub fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a file path");
    let name = path.file_name().ok_or_else(invalid)?;
    match path.parent().ok_or_else(invalid)? {
        folder if folder.as_os_str().is_empty() => Ok((Path::new("."), name)),
        folder => Ok((folder, name)),
    }
}

/// Writes a file with this content and mode as `name` into an open folder. Afterwards only the file's content is known
/// to be on disk; its name is after [`Folder::sync`].
///
/// # Errors
/// Any error of the file system; the existing file is then unchanged. The temporary file is removed if possible.
pub fn put(folder: &Folder, name: impl AsRef<OsStr>, content: &[u8], mode: u32) -> io::Result<()> {
    put_for(folder, name, content, mode, None)
}

/// The owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
}

/// As [`put`], for this owner instead of the user who runs kpx-prep.
///
/// # Errors
/// As [`put`], and if the file cannot be given to that owner.
pub fn put_for(
    folder: &Folder,
    name: impl AsRef<OsStr>,
    content: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> io::Result<()> {
    let temporary = temporary_name(&name);
    folder.remove_file(&temporary)?;
    let result = write(folder, &temporary, content, mode, owner).and_then(|()| folder.rename(&temporary, &name));
    if result.is_err() {
        // A caller that must know whether it is gone checks that itself.
        let _ = folder.remove_file(&temporary);
    }
    result
}

fn write(folder: &Folder, name: &OsStr, content: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
    let mut file = folder.create(name, 0o600)?;
    file.write_all(content)?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.user), Some(owner.group))?;
    }
    // Not at creation, where the umask applies; after the owner, because a new owner clears bits.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        replace(&path("file"), b"one", 0o600).unwrap();
        replace(&path("file"), b"two", 0o644).unwrap();
        assert_eq!(fs::read(path("file")).unwrap(), b"two");
        assert_eq!(fs::metadata(path("file")).unwrap().permissions().mode() & 0o7777, 0o644);
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for name in ["link", "fifo", "folder"] {
            let before = path(name).symlink_metadata().unwrap().file_type();
            assert_eq!(replace(&path(name), b"three", 0o600).unwrap_err().to_string(), "not a regular file");
            assert_eq!(path(name).symlink_metadata().unwrap().file_type(), before);
        }
        assert_eq!(fs::read(path("file")).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "no temporary file is left");
    }
}
