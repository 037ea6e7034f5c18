//! The kernels that are installed on a host, and which of the requested modules each one has.
//!
//! A module exists if its file (or its line in `modules.builtin`) exists; kernel versions are never compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};

use super::kernel_config::KernelConfig;
use super::name::canonical;
use crate::node::root::Root;
use crate::node::root::conf_files::has_extension;

/// Subfolders of a kernel's folder for its own, added and replaced modules (depmod.d(5), `search`).
const PARTS: [&str; 4] = ["kernel", "extra", "updates", "weak-updates"];

/// Module folders of the running and the next kernel on store-based systems: NixOS
/// (nixos/modules/system/boot/kernel.nix, and its kmod's search path), and Guix System.
const STORE_FOLDERS: [&str; 4] = [
    "/run/booted-system/kernel-modules/lib/modules",
    "/run/current-system/kernel-modules/lib/modules",
    "/run/booted-system/kernel/lib/modules",
    "/run/current-system/kernel/lib/modules",
];

/// Paths of the conntrack modules below a kernel's folder.
const CONNTRACK_PLACES: [(&str, &str); 2] = [
    ("nf_conntrack", "kernel/net/netfilter/nf_conntrack"),
    ("nf_conntrack_ipv4", "kernel/net/ipv4/netfilter/nf_conntrack_ipv4"),
];

/// The module of a file: only `.ko`, `.ko.gz`, `.ko.xz` and `.ko.zst` are module files.
pub fn module_of_file(file: &str) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let (stem, suffix) = name.split_once(".ko")?;
    (matches!(suffix, "" | ".gz" | ".xz" | ".zst") && !stem.is_empty()).then(|| canonical(stem))
}

/// The content of depmod's index, as far as it was read.
#[derive(Clone, Debug, Default)]
pub enum Index {
    /// Not read: every relevant module is loaded, so modprobe has found it.
    #[default]
    Unread,
    /// Missing: depmod never ran.
    Missing,
    /// Modules that modprobe can find, with their dependencies.
    Read(BTreeMap<String, BTreeSet<String>>),
}

/// An installed kernel and its relevant modules.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// `uname -r` of that kernel.
    pub release: String,
    /// Path of its modules folder on the host.
    pub folder: String,
    /// Modules of its ipvs folder, built in or as files.
    pub ipvs: BTreeSet<String>,
    /// Compiled into the kernel (`modules.builtin`).
    pub builtin: BTreeSet<String>,
    /// Paths of module files, by module.
    pub files: BTreeMap<String, String>,
    /// Modules whose file certainly has no signature. Checked only if the kernel requires one.
    pub unsigned: BTreeSet<String>,
    /// depmod's index.
    pub index: Index,
    /// Whether there is a `modules.builtin`, so that a module that is not in it is not built in.
    pub knows_builtin: bool,
    /// Its configuration, if readable.
    pub config: Option<KernelConfig>,
}

impl Kernel {
    /// A kernel without a modules folder; [`Kernel::learn`] adds what is known about it.
    pub fn bare(release: &str) -> Self {
        Self { release: release.to_owned(), ..Self::default() }
    }

    /// Whether it has no modules folder.
    pub fn is_bare(&self) -> bool {
        self.folder.is_empty()
    }

    /// Adds its configuration, and the active modules that are not in `/proc/modules`: built in.
    pub fn learn(&mut self, config: Option<KernelConfig>, live: &BTreeSet<String>) {
        let mut built_in = live.clone();
        // A list without an active module does not belong to this kernel, or is incomplete.
        self.knows_builtin &= live.iter().all(|name| self.builtin.contains(name));
        if !self.knows_builtin {
            built_in.extend(config.iter().flat_map(KernelConfig::built_in));
        }
        self.ipvs.extend(built_in.iter().filter(|name| name.starts_with("ip_vs")).cloned());
        self.builtin.extend(built_in);
        self.config = config;
    }

    /// Whether this kernel has the module in usable form: built in, or a file that modprobe finds.
    pub fn has(&self, name: &str) -> bool {
        self.builtin.contains(name) || (self.files.contains_key(name) && self.is_indexed(name))
    }

    /// Whether libkmod finds the module by its name: without a `modules.builtin` it does not find built-in modules.
    pub fn finds(&self, name: &str) -> bool {
        self.has(name) && (self.knows_builtin || !self.builtin.contains(name))
    }

    /// Whether depmod's index lists the module.
    pub fn is_indexed(&self, name: &str) -> bool {
        match &self.index {
            Index::Unread => true,
            Index::Missing => false,
            Index::Read(index) => index.contains_key(name),
        }
    }

    /// Whether loading `name` also loads `needed`.
    pub fn needs(&self, name: &str, needed: &str) -> bool {
        match &self.index {
            Index::Read(index) => index.get(name).is_some_and(|deps| deps.contains(needed)),
            Index::Unread | Index::Missing => false,
        }
    }

    /// Reads depmod's index: modules in unusual places, and dependencies.
    pub fn read_index(&mut self, root: &Root, asked: &BTreeSet<String>) {
        let Ok(Some(text)) = root.read(&format!("{}/modules.dep", self.folder)) else {
            self.index = Index::Missing;
            self.search_everywhere(root, asked);
            return;
        };
        let mut index = BTreeMap::new();
        for line in text.lines() {
            let Some((file, needed)) = line.split_once(':') else { continue };
            let Some(name) = relevant_module(file, asked) else { continue };
            // Of the other conntrack modules only the dependencies matter.
            let is_wanted = name.starts_with("ip_vs") || asked.contains(&name) || is_conntrack(&name);
            if is_wanted && !self.files.contains_key(&name) {
                // depmod writes absolute paths or paths relative to the kernel's folder.
                let path = if file.starts_with('/') { file.to_owned() } else { format!("{}/{file}", self.folder) };
                if root.is_file(&path) {
                    if path.contains("/ipvs/") {
                        self.ipvs.insert(name.clone());
                    }
                    self.files.insert(name.clone(), path);
                }
            }
            index.insert(name, needed.split_whitespace().filter_map(module_of_file).collect());
        }
        self.index = Index::Read(index);
        self.search_everywhere(root, asked);
    }

    /// Finds module files without a signature.
    pub fn look_at_signatures(&mut self, root: &Root) {
        let unsigned = self.files.iter().filter(|(_, file)| is_unsigned(root, file));
        self.unsigned = unsigned.map(|(name, _)| name.clone()).collect();
    }

    /// Searches for modules that are not in the index because depmod has not run since they were added.
    fn search_everywhere(&mut self, root: &Root, asked: &BTreeSet<String>) {
        let unknown = |name: &String| !self.files.contains_key(name) && !self.builtin.contains(name);
        let wanted: Vec<String> = asked.iter().filter(|name| unknown(name)).cloned().collect();
        if wanted.is_empty() {
            return;
        }
        for part in PARTS {
            for (name, file) in files_below(root, &format!("{}/{part}", self.folder)) {
                if wanted.contains(&name) {
                    self.files.entry(name).or_insert(file);
                }
            }
        }
    }
}

/// Every installed kernel, by release, without its index. Only modules relevant for IPVS, and those in `asked`, are
/// recorded.
///
/// A folder counts as an installed kernel if it has a `kernel` folder or a `modules.builtin` file: removed packages leave
/// folders behind that have neither.
pub fn installed(root: &Root, asked: &BTreeSet<String>) -> BTreeMap<String, Kernel> {
    let mut kernels = BTreeMap::new();
    let bases = root.lib_folders().iter().map(|lib| format!("{lib}/modules"));
    for base in bases.chain(STORE_FOLDERS.map(str::to_owned)) {
        for release in root.list(&base) {
            if kernels.contains_key(&release) {
                continue;
            }
            let folder = format!("{base}/{release}");
            let builtin = root.read(&format!("{folder}/modules.builtin")).ok().flatten();
            if builtin.is_some() || root.is_dir(&format!("{folder}/kernel")) {
                let mut kernel = look(root, &release, folder, builtin.as_deref().unwrap_or_default(), asked);
                kernel.knows_builtin = builtin.is_some();
                kernels.insert(release, kernel);
            }
        }
    }
    kernels
}

fn look(root: &Root, release: &str, folder: String, builtin: &str, asked: &BTreeSet<String>) -> Kernel {
    let mut kernel = Kernel { release: release.to_owned(), ..Kernel::default() };
    for line in builtin.lines() {
        let Some(name) = relevant_module(line, asked) else { continue };
        if line.contains("/ipvs/") {
            kernel.ipvs.insert(name.clone());
        }
        kernel.builtin.insert(name);
    }
    for part in PARTS {
        for (name, file) in files_below(root, &format!("{folder}/{part}/net/netfilter/ipvs")) {
            kernel.ipvs.insert(name.clone());
            kernel.files.entry(name).or_insert(file);
        }
    }
    // All modules of a kernel have the same suffix: that of its ipvs folder saves searching for the others.
    let seen = kernel.files.values().next().and_then(|file| Some(file.rsplit_once(".ko")?.1.to_owned()));
    let endings = seen.as_deref().map_or(&["", ".xz", ".zst", ".gz"][..], |_| &[]);
    for (name, place) in CONNTRACK_PLACES {
        for ending in seen.as_deref().into_iter().chain(endings.iter().copied()) {
            let path = format!("{folder}/{place}.ko{ending}");
            if root.is_file(&path) {
                kernel.files.insert(name.to_owned(), path);
                break;
            }
        }
    }
    kernel.folder = folder;
    kernel
}

/// The module in a line of depmod's files, if it is relevant. Most are not, so they are sorted out before any copying.
fn relevant_module(file: &str, asked: &BTreeSet<String>) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let hinted = ["ip_vs", "ip-vs", "nf_conntrack", "nf-conntrack"].iter().any(|start| name.starts_with(start));
    if !hinted && asked.iter().all(|name| name.starts_with("ip_vs")) {
        return None;
    }
    let matters = |name: &String| hinted || asked.contains(name);
    module_of_file(name).filter(matters)
}

fn is_conntrack(name: &str) -> bool {
    CONNTRACK_PLACES.iter().any(|(conntrack, _)| *conntrack == name)
}

fn files_below(root: &Root, folder: &str) -> Vec<(String, String)> {
    root.files_below(folder).into_iter().filter_map(|file| Some((module_of_file(&file)?, file))).collect()
}

/// Whether the module file certainly has no signature. For a compressed file, only the kernel knows.
fn is_unsigned(root: &Root, file: &str) -> bool {
    /// `MODULE_SIG_STRING` of the kernel's `include/linux/module_signature.h`.
    const MARK: &[u8] = b"~Module signature appended~\n";
    if !has_extension(file, "ko") || !root.is_file(file) {
        return false;
    }
    let Ok(mut file) = root.open_file(file) else { return false };
    let mut end = Vec::new();
    let back = i64::try_from(MARK.len()).unwrap_or(i64::MAX);
    // Seeking fails in a file shorter than the mark, which cannot contain it either.
    file.seek(SeekFrom::End(-back)).is_err()
        || (file.take(MARK.len() as u64).read_to_end(&mut end).is_ok() && end != MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_files_by_their_names() {
        let cases = [
            ("kernel/net/netfilter/ipvs/ip_vs.ko", Some("ip_vs")),
            ("ip_vs_rr.ko.gz", Some("ip_vs_rr")),
            ("ip_vs_rr.ko.xz", Some("ip_vs_rr")),
            ("ip_vs_rr.ko.zst", Some("ip_vs_rr")),
            ("br-netfilter.ko", Some("br_netfilter")),
            ("ip_vs_rr.ko.bak", None),
            ("ip_vs_rr.kolibri", None),
            (".ko", None),
            ("README", None),
        ];
        for (file, module) in cases {
            assert_eq!(module_of_file(file).as_deref(), module, "{file}");
        }
    }
}
