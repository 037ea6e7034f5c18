//! The kind of a file, from the result of fstat(2).

use nix::sys::stat::{FileStat, SFlag};

const NULL_DEVICE: u64 = 0x103;

/// Whether this is a regular file.
pub fn is_regular(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFREG
}

/// Whether this is a folder.
pub fn is_folder(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFDIR
}

/// Whether this is a symbolic link.
pub fn is_link(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFLNK
}

/// Whether this is `/dev/null`: major 1, minor 3 (Linux, Documentation/admin-guide/devices.txt).
pub fn is_null(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == NULL_DEVICE
}

/// The permission bits.
pub fn mode_of(stat: &FileStat) -> u32 {
    stat.st_mode & 0o7777
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}
