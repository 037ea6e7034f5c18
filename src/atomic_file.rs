//! Whole-or-not-at-all writing of one file: temporary file in the same folder, mode, fsync, rename, fsync of the folder.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const TEMPORARY_SUFFIX: &str = ".kpx-prep.tmp";

/// The name under which the new content of the file `name` is written before it takes that name.
pub fn temporary_name(name: &str) -> String {
    format!(".{name}{TEMPORARY_SUFFIX}")
}

/// Replaces `path` by a file with this content and mode (permission bits, such as `0o600`).
///
/// A reader sees the old file or the new one, never a part. A run that is killed leaves at most
/// `.NAME.kpx-prep.tmp` beside it, which the next write of the same file takes away; two runs must
/// not write the same file at once (callers hold a lock).
///
/// # Errors
/// Any error of the file system; the old file is then still in place.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a file path");
    let name = path.file_name().ok_or_else(invalid)?.to_string_lossy();
    let folder = match path.parent().ok_or_else(invalid)? {
        p if p.as_os_str().is_empty() => Path::new("."),
        p => p,
    };
    match fs::remove_file(folder.join(temporary_name(&name))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut temporary = tempfile::Builder::new()
        .prefix(&format!(".{name}"))
        .suffix(TEMPORARY_SUFFIX)
        .rand_bytes(0)
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(folder)?;
    temporary.write_all(content)?;
    // Not through the builder: that one is subject to the umask.
    temporary.as_file().set_permissions(Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
