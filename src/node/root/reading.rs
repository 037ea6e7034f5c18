//! Bounded reading below a root: files, the kernel's tables, the names in folders.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::Root;
use crate::bounded;
use crate::file_kind::{is_null, is_regular};
use crate::folder::{Folder, unless_absent};

/// Length limit for a line of a kernel table. Real ones have some hundred bytes.
const LONGEST_LINE: u64 = 64 << 10;
/// Depth limit for folders; the kernel's modules are less than ten deep.
const DEEPEST: usize = 32;

impl Root {
    /// Opens the regular file at `path`. (`/dev/null` is opened too: [`bounded::read`] reads it as empty.)
    ///
    /// # Errors
    /// If it does not exist or is not a regular file, and any error of opening it.
    pub fn open_file(&self, path: &str) -> io::Result<File> {
        if self.is_host {
            return self.open(path, bounded::reading()).map(File::from);
        }
        // Opening a device can have effects, so the path is opened with O_PATH first, and for reading once its kind is known.
        let held = self.open(path, OFlag::O_PATH)?;
        let stat = fstat(&held)?;
        if !is_regular(&stat) && !is_null(&stat) {
            return Err(bounded::not_regular());
        }
        let again = format!("/proc/self/fd/{}", held.as_raw_fd());
        match open(again.as_str(), bounded::reading(), Mode::empty()) {
            Ok(opened) => Ok(opened.into()),
            // This process may not have a /proc.
            Err(_) => self.open(path, bounded::reading()).map(File::from),
        }
    }

    /// The text of `path`, or `None` if it does not exist. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// If it is not a regular file or larger than [`bounded::MOST`]; any other error of reading it, such as missing
    /// permission.
    pub fn read(&self, path: &str) -> io::Result<Option<String>> {
        let content = self.open_file(path).and_then(|file| bounded::read(file, bounded::MOST));
        Ok(unless_absent(content)?.map(into_text))
    }

    /// Passes a kernel table below `/proc` to `each` line by line, regardless of its size. Does nothing if it does not
    /// exist.
    ///
    /// # Errors
    /// Any error of reading it; if a line is too long; if it is not the kernel's and larger than [`bounded::MOST`].
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
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            each(String::from_utf8_lossy(line.trim_ascii_end()).as_ref());
            line.clear();
        }
        Ok(())
    }

    /// The names in the folder `path`, sorted; empty if it does not exist or may not be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = self.folder(path).and_then(Folder::entries).unwrap_or_default();
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    }

    /// All files below the folder `path`, at any depth; linked folders are not followed.
    pub fn files_below(&self, path: &str) -> Vec<String> {
        let mut files = Vec::new();
        if let Ok(folder) = self.folder(path) {
            collect_files(folder, path, DEEPEST, &mut files);
        }
        files.sort();
        files
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

/// Avoids a copy for UTF-8, which is nearly always the case.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
