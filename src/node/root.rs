//! The root prefix that every path of a node goes through, `/proc` and `/sys` included.
//!
//! Symbolic links are followed as a process that was chrooted into the root would: an absolute target
//! stays below the root, `..` never climbs above it.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows for one path before it answers `ELOOP`.
const MAX_LINKS: usize = 40;

/// A Linux host's file tree: `/`, a mounted image, a container's view of its host, or a test's folder.
#[derive(Clone, Debug)]
pub struct Root {
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
        let path = fs::canonicalize(path)?;
        if !path.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // Where /lib is a link it leads to /usr/lib: looking into both would be looking twice.
        let merged = path.join("lib").symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        let lib_folders: &[&str] = if merged { &["/usr/lib"] } else { &["/usr/lib", "/lib"] };
        Ok(Self { is_host: path == Path::new("/"), path, lib_folders })
    }

    /// The tree that the process `id` of this host has as its `/`, a container's for example.
    ///
    /// The link that leads there is not to be read, only followed: it claims to lead to `/`.
    ///
    /// # Errors
    /// When there is no such process, or its tree may not be entered.
    pub fn of_process(&self, id: &str) -> io::Result<Self> {
        Ok(Self { is_host: false, path: self.join(&format!("/proc/{id}/root")), lib_folders: &[] })
    }

    /// Whether this is the running system's own `/`.
    pub fn is_host(&self) -> bool {
        self.is_host
    }

    /// The prefix itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `/usr/lib` and, where it is a folder of its own, `/lib`.
    pub fn lib_folders(&self) -> &'static [&'static str] {
        self.lib_folders
    }

    /// Where `path` (absolute, as the host sees it) lies, its own links not followed.
    pub fn join(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Where `path` really lies once all links are followed below the root. What does not exist is kept as it is.
    ///
    /// # Errors
    /// When links loop, or a component cannot be examined.
    pub fn resolve(&self, path: &str) -> io::Result<PathBuf> {
        if self.is_host() {
            // There is no way out of `/`: the kernel may as well follow the links.
            return Ok(PathBuf::from(path));
        }
        let mut left: VecDeque<OsString> = normal_components(Path::new(path)).collect();
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let here = self.path.join(&done).join(&part);
            match fs::symlink_metadata(&here) {
                Ok(meta) if meta.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other("too many levels of symbolic links"));
                    }
                    let target = fs::read_link(&here)?;
                    if target.is_absolute() {
                        done.clear();
                    }
                    for component in normal_components(&target).collect::<Vec<_>>().into_iter().rev() {
                        left.push_front(component);
                    }
                }
                Ok(_) => done.push(part),
                Err(error) if is_absent(&error) => done.push(part),
                Err(error) => return Err(error),
            }
        }
        Ok(self.path.join(done))
    }

    /// Whether `path` exists, links followed below the root.
    pub fn exists(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|real| real.symlink_metadata().is_ok())
    }

    /// Whether `path` is a folder, links followed below the root.
    pub fn is_dir(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|real| real.is_dir())
    }

    /// The text of `path`, or `None` where there is no such file. Bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// Any other error of reading it, such as missing permission.
    pub fn read(&self, path: &str) -> io::Result<Option<String>> {
        match self.resolve(path).and_then(fs::read) {
            // Nearly always it is UTF-8, and then nothing has to be copied.
            Ok(bytes) => Ok(Some(
                String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            )),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The readable `*.conf` files in `folders` and then in `name` of [`Root::lib_folders`], with their text. A name in
    /// an earlier folder hides the same name in a later one, as modules-load.d(5) and modprobe.d(5) have it.
    pub fn conf_files(&self, folders: &[&str], name: &str) -> Vec<(String, String)> {
        let mut seen = BTreeSet::new();
        let mut files = Vec::new();
        let last = self.lib_folders.iter().map(|lib| format!("{lib}/{name}"));
        for folder in folders.iter().map(|folder| (*folder).to_owned()).chain(last) {
            for entry in self.list(&folder) {
                if !has_extension(&entry, "conf") || !seen.insert(entry.clone()) {
                    continue;
                }
                let path = format!("{folder}/{entry}");
                if let Ok(Some(text)) = self.read(&path) {
                    files.push((path, text));
                }
            }
        }
        files
    }

    /// The names in the folder `path`, sorted; empty where there is no such folder or it may not be read.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Ok(entries) = self.resolve(path).and_then(fs::read_dir) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Whether a file's name ends in this extension and has something before it.
pub fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && end == extension)
}

/// Whether the error says that there is nothing at that path.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn normal_components(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_below_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        fs::create_dir_all(root.join("/usr/lib")).unwrap();
        fs::write(root.join("/usr/lib/os-release"), "ID=x\n").unwrap();
        fs::create_dir(root.join("/etc")).unwrap();
        symlink("/usr/lib/os-release", root.join("/etc/absolute")).unwrap();
        symlink("../../../../../usr/lib/os-release", root.join("/etc/climbing")).unwrap();
        symlink("usr/lib", root.join("/lib")).unwrap();
        symlink("loop", root.join("/loop")).unwrap();

        for path in ["/etc/absolute", "/etc/climbing", "/lib/os-release"] {
            assert_eq!(root.read(path).unwrap().as_deref(), Some("ID=x\n"), "{path}");
        }
        assert!(root.resolve("/loop").is_err());
        assert!(!root.exists("/etc/nothing"));
        assert_eq!(root.read("/etc/nothing/below").unwrap(), None);
    }
}
