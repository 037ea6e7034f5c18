//! The kernels that are installed on a host and which of the wanted modules each one has.
//!
//! A module exists when its file (or its line in `modules.builtin`) does; kernel versions are never compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use walkdir::WalkDir;

use super::root::Root;

/// Where distributions keep modules; often two names of one folder.
pub const MODULES_FOLDERS: [&str; 2] = ["/lib/modules", "/usr/lib/modules"];

/// Below a kernel's folder: where its own, added and replaced modules lie (depmod.d(5), `search`).
const PARTS: [&str; 4] = ["kernel", "extra", "updates", "weak-updates"];

/// A module's name as the kernel spells it: `-` and `_` are the same character to modprobe.
pub fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The module that a file holds: `.ko`, `.ko.gz`, `.ko.xz` and `.ko.zst` are module files, nothing else is.
pub fn module_of_file(file: &str) -> Option<String> {
    let name = file.rsplit('/').next()?;
    let (stem, suffix) = name.split_once(".ko")?;
    (matches!(suffix, "" | ".gz" | ".xz" | ".zst") && !stem.is_empty()).then(|| canonical(stem))
}

/// One installed kernel, with what it knows of the modules that matter here.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// `uname -r` of that kernel.
    pub release: String,
    /// Its modules folder as the host sees it, for messages.
    pub folder: String,
    /// Modules in its ipvs folder, built in or as files.
    pub ipvs: BTreeSet<String>,
    /// Compiled into the kernel (`modules.builtin`).
    pub builtin: BTreeSet<String>,
    /// Module files, by module.
    pub files: BTreeMap<String, PathBuf>,
    /// Modules that modprobe can find, with those they need; `None` when depmod never ran.
    pub indexed: Option<BTreeMap<String, BTreeSet<String>>>,
}

impl Kernel {
    /// Whether this kernel has the module in a form that can be used: built in, or a file that modprobe finds.
    pub fn has(&self, name: &str) -> bool {
        self.builtin.contains(name) || (self.files.contains_key(name) && self.is_indexed(name))
    }

    /// Whether depmod's index lists the module.
    pub fn is_indexed(&self, name: &str) -> bool {
        self.indexed.as_ref().is_some_and(|index| index.contains_key(name))
    }

    /// Whether loading `name` also loads `needed`.
    pub fn needs(&self, name: &str, needed: &str) -> bool {
        self.indexed.as_ref().and_then(|index| index.get(name)).is_some_and(|deps| deps.contains(needed))
    }
}

/// Every kernel that is installed, by release. Only modules that IPVS could want, and those in `asked`, are noted.
///
/// A folder counts as an installed kernel when it has a `kernel` folder or a `modules.builtin` file: packages
/// that are gone leave folders behind that have neither.
pub fn installed(root: &Root, asked: &BTreeSet<String>) -> BTreeMap<String, Kernel> {
    let mut kernels = BTreeMap::new();
    for base in MODULES_FOLDERS {
        for release in root.list(base) {
            let folder = format!("{base}/{release}");
            let known = root.is_dir(&format!("{folder}/kernel")) || root.exists(&format!("{folder}/modules.builtin"));
            if known && !kernels.contains_key(&release) {
                kernels.insert(release.clone(), read(root, &release, folder, asked));
            }
        }
    }
    kernels
}

fn read(root: &Root, release: &str, folder: String, asked: &BTreeSet<String>) -> Kernel {
    let matters = |name: &str| name.starts_with("ip_vs") || name.starts_with("nf_conntrack") || asked.contains(name);
    let mut kernel = Kernel { release: release.to_owned(), ..Kernel::default() };
    let mut ipvs_folders: BTreeSet<String> =
        PARTS.iter().map(|part| format!("{folder}/{part}/net/netfilter/ipvs")).collect();

    let builtin = root.read(&format!("{folder}/modules.builtin")).ok().flatten().unwrap_or_default();
    for line in builtin.lines() {
        let Some(name) = module_of_file(line).filter(|name| matters(name)) else { continue };
        if line.contains("/ipvs/") {
            kernel.ipvs.insert(name.clone());
        }
        kernel.builtin.insert(name);
    }

    if let Ok(Some(text)) = root.read(&format!("{folder}/modules.dep")) {
        let mut index = BTreeMap::new();
        for line in text.lines() {
            let Some((file, needed)) = line.split_once(':') else { continue };
            let Some(name) = module_of_file(file).filter(|name| matters(name)) else { continue };
            // depmod writes paths relative to the kernel's folder, or absolute ones.
            let path = if file.starts_with('/') { file.to_owned() } else { format!("{folder}/{file}") };
            if let Some((parent, _)) = path.rsplit_once('/')
                && parent.ends_with("/ipvs")
            {
                ipvs_folders.insert(parent.to_owned());
            }
            if let Ok(real) = root.resolve(&path)
                && real.is_file()
            {
                kernel.files.insert(name.clone(), real);
            }
            index.insert(name, needed.split_whitespace().filter_map(module_of_file).collect());
        }
        kernel.indexed = Some(index);
    }

    for path in &ipvs_folders {
        for (name, file) in files_below(root, path) {
            kernel.ipvs.insert(name.clone());
            kernel.files.entry(name).or_insert(file);
        }
    }
    // What the index does not list may still lie there (depmod has not run since): looked for only then.
    let unlisted = |name: &String| !kernel.files.contains_key(name) && !kernel.builtin.contains(name);
    let looked_for: Vec<String> = asked.iter().cloned().chain(["nf_conntrack".to_owned()]).filter(unlisted).collect();
    if !looked_for.is_empty() {
        for part in PARTS {
            for (name, file) in files_below(root, &format!("{folder}/{part}")) {
                if looked_for.contains(&name) {
                    kernel.files.entry(name).or_insert(file);
                }
            }
        }
    }
    kernel.folder = folder;
    kernel
}

fn files_below(root: &Root, folder: &str) -> Vec<(String, PathBuf)> {
    let Ok(real) = root.resolve(folder) else { return Vec::new() };
    WalkDir::new(real)
        .into_iter()
        .flatten()
        .filter(|entry| !entry.file_type().is_dir())
        .filter_map(|entry| Some((module_of_file(entry.file_name().to_str()?)?, entry.into_path())))
        .collect()
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
