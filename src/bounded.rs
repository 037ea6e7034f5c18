//! Bounded reading of untrusted paths: only regular files are read, and each only up to a limit.
//!
//! Reading a FIFO or a device could block or never end; a file may have any size.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::fstat;

use crate::file_kind::{is_null, is_regular};

/// The limit for a configuration file, a list or a script: 16 MiB.
pub const MOST: u64 = 16 << 20;

/// Flags for opening files: do not wait for the other end of a FIFO, do not make a terminal the controlling one.
pub fn reading() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

/// Makes a write beyond the file size limit (`ulimit -f`) return an error, which can be undone and reported, instead of
/// ending the process. Must be called before a second thread is started. Child processes inherit it and get the error
/// too.
pub fn survive_large_files() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    // It cannot fail: the arguments are valid.
    let _ = signals.thread_block();
}

/// The error for a FIFO, a device, a socket or a folder.
pub fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// The whole content of an open file.
///
/// `/dev/null` reads as empty: systemd and others mask files with links to it.
///
/// # Errors
/// If it is not a regular file, if it is larger than `most` bytes, and any read error.
pub fn read(mut file: File, most: u64) -> io::Result<Vec<u8>> {
    let stat = fstat(&file)?;
    if is_null(&stat) {
        return Ok(Vec::new());
    }
    if !is_regular(&stat) {
        return Err(not_regular());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    // Kernel files (procfs, sysfs) report size 0 although they have content. One byte more than expected shows the end at
    // once.
    let expected = if size == 0 { 4096 } else { size.min(most) + 1 };
    let mut content = vec![0; usize::try_from(expected).map_err(io::Error::other)?];
    let mut length = 0;
    loop {
        if length as u64 > most || size > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {} MiB", most >> 20)));
        }
        if length == content.len() {
            content.resize(content.len() * 2, 0);
        }
        match file.read(&mut content[length..]) {
            Ok(0) => break,
            Ok(count) => {
                length += count;
                // There was room for one byte more. Files of procfs have no size, and may end a read anywhere.
                if size > 0 && length as u64 == size {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(length);
    Ok(content)
}

/// The content of a file that was named on the command line.
///
/// # Errors
/// As [`read`]. A file that the caller's shell opened for this process (`/dev/stdin`, and `/dev/fd/N` from
/// `<(COMMAND)`) may be a pipe.
pub fn read_named(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|open| path.starts_with(open)) {
        return read_stream(File::open(path)?, most);
    }
    read(OpenOptions::new().read(true).custom_flags(reading().bits()).open(path)?, most)
}

/// The text of a file that was named on the command line, as [`read_named`] reads it, at most [`MOST`] bytes.
///
/// # Errors
/// As [`read_named`], and if it is not UTF-8.
pub fn read_named_text(path: &Path) -> io::Result<String> {
    text(read_named(path, MOST)?)
}

/// Everything up to the end of a stream, such as standard input, as text, at most [`MOST`] bytes.
///
/// # Errors
/// If there is more, if it is not UTF-8, and any read error.
pub fn read_stream_text(stream: impl io::Read) -> io::Result<String> {
    text(read_stream(stream, MOST)?)
}

fn read_stream(stream: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    stream.take(most + 1).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB", most >> 20)));
    }
    Ok(content)
}

fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    #[test]
    fn only_regular_files_of_a_bounded_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let said = |name: &str, most| read_named(&path(name), most).unwrap_err().to_string();
        std::fs::write(path("full"), [b'x'; 4096]).unwrap();
        assert_eq!(read_named(&path("full"), 4096).unwrap().len(), 4096);
        assert_eq!(said("full", 4095), "larger than 0 MiB");
        File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(said("sparse", MOST), "larger than 16 MiB");
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRUSR).unwrap();
        assert_eq!(said("fifo", MOST), "not a regular file");
        assert_eq!(said("", MOST), "not a regular file");
        assert_eq!(read_named(Path::new("/dev/zero"), MOST).unwrap_err().to_string(), "not a regular file");
        assert_eq!(read_named(Path::new("/dev/null"), MOST).unwrap(), b"");
        assert!(!read_named(Path::new("/proc/self/status"), MOST).unwrap().is_empty(), "its reported size is 0");
        assert!(read_stream(io::repeat(b'x'), MOST).is_err(), "an endless stream");
    }
}
