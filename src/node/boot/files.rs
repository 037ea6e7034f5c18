//! The files that kpx-prep installs on a node: their content, and what exists at their paths now.

use std::collections::{BTreeMap, BTreeSet};

use super::mechanism::Mechanism;
use super::request::{NodeRequest, Selection};
use crate::mode::ProxyMode;
use crate::node::modules::kernel::Kernel;
use crate::node::modules::name::{canonical, is_module_name};

/// The script with the name from the classic procedure; run at boot if RHEL's loadmodules is enabled.
pub const SCRIPT: &str = "/etc/sysconfig/modules/ipvs.modules";
/// The list for systemd-modules-load and OpenRC.
pub const LIST: &str = "/etc/modules-load.d/kpx-prep-ipvs.conf";
/// The NetworkManager drop-in that leaves `kube-ipvs0` unmanaged.
pub const NETWORK_MANAGER: &str = "/etc/NetworkManager/conf.d/90-kpx-prep-kube-ipvs0.conf";
/// The list for nftables mode, beside that for ipvs: a node may be prepared for both.
pub const NFTABLES_LIST: &str = "/etc/modules-load.d/kpx-prep-nftables.conf";
/// The script for nftables mode, only where no list is read.
pub const NFTABLES_SCRIPT: &str = "/etc/sysconfig/modules/kpx-prep-nftables.modules";
/// Every path that kpx-prep may write on a node.
pub const PATHS: [&str; 5] = [LIST, SCRIPT, NETWORK_MANAGER, NFTABLES_LIST, NFTABLES_SCRIPT];

/// What is installed at a path for a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list of modules.
    List,
    /// A script that loads modules.
    Script,
    /// Something else.
    Other,
}

/// The mode for which kpx-prep installs a file at `path`, and what that file is; `None` for any other path.
pub fn purpose(path: &str) -> Option<(ProxyMode, Kind)> {
    match path {
        LIST => Some((ProxyMode::Ipvs, Kind::List)),
        SCRIPT => Some((ProxyMode::Ipvs, Kind::Script)),
        NETWORK_MANAGER => Some((ProxyMode::Ipvs, Kind::Other)),
        NFTABLES_LIST => Some((ProxyMode::Nftables, Kind::List)),
        NFTABLES_SCRIPT => Some((ProxyMode::Nftables, Kind::Script)),
        _ => None,
    }
}

const MARK: &str = "# Written by kpx-prep";
pub(super) const ASKED_FOR: &str = "# Asked for: --modules ";
const FOLDERS: &str = "# Folders made for it: ";

/// A file to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// Its path on the host.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub content: String,
}

/// What exists at a path now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing.
    Absent {
        /// Missing parent folders, topmost first.
        missing: Vec<String>,
    },
    /// A regular file.
    File {
        /// Its content.
        content: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that can be neither replaced nor written through; with the reason.
    InTheWay(String),
}

impl Existing {
    /// Whether this is a file that kpx-prep wrote.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::File { content, .. } if is_ours(content))
    }

    /// Whether anything exists at the path.
    pub fn is_there(&self) -> bool {
        !matches!(self, Self::Absent { .. })
    }

    /// The parent folders of this file at `path` that install created, if kpx-prep wrote it.
    pub fn folders_made(&self, path: &str) -> Vec<String> {
        match self {
            Self::File { content, .. } if is_ours(content) => folders_made(path, content),
            Self::Absent { .. } | Self::File { .. } | Self::InTheWay(_) => Vec::new(),
        }
    }
}

impl BootFile {
    /// Records in the file which parent folders install creates, so that remove can remove them: missing ones, those that the
    /// existing file records, and `unfinished` ones created by a run that was killed.
    pub fn note_folders(&mut self, existing: &Existing, unfinished: &BTreeSet<String>) {
        let before = match existing {
            Existing::Absent { missing } => missing.clone(),
            Existing::File { .. } | Existing::InTheWay(_) => existing.folders_made(self.path),
        };
        let mut made = folders_of(self.path);
        made.retain(|folder| before.contains(folder) || unfinished.contains(folder));
        let line = if made.is_empty() { String::new() } else { format!("{FOLDERS}{}\n", made.join(" ")) };
        self.content = self.content.replace("@FOLDERS@\n", &line);
    }
}

/// The parent folders of a path, topmost first.
pub fn folders_of(path: &str) -> Vec<String> {
    path.match_indices('/').skip(1).map(|(at, _)| path[..at].to_owned()).collect()
}

/// Whether install may have to create this folder.
pub fn is_folder_on_the_way(folder: &str) -> bool {
    PATHS.iter().any(|path| folders_of(path).iter().any(|on_the_way| on_the_way == folder))
}

/// The parent folders of `path` that its content records as created by install.
pub fn folders_made(path: &str, content: &str) -> Vec<String> {
    let noted = content.lines().find_map(|line| line.strip_prefix(FOLDERS)).unwrap_or_default();
    let noted: Vec<&str> = noted.split_whitespace().collect();
    let mut folders = folders_of(path);
    folders.retain(|folder| noted.contains(&folder.as_str()));
    folders
}

/// Whether a file's text carries kpx-prep's mark.
pub fn is_ours(content: &str) -> bool {
    content.lines().take(3).any(|line| line.starts_with(MARK))
}

/// The files to install for these modules, without the record of created folders.
///
/// `kernels` are all installed kernels: the list for systemd-modules-load names only modules that each of them has.
/// `only_scripts`: the host runs scripts and reads no lists.
pub fn wanted(
    request: &NodeRequest,
    modules: &BTreeMap<String, bool>,
    kernels: &BTreeMap<String, Kernel>,
    network_manager: bool,
    only_scripts: bool,
) -> Vec<BootFile> {
    let everywhere = || modules.keys().filter(|name| kernels.values().all(|kernel| kernel.finds(name)));
    let list = |template: &str| {
        let mut list = with_request(template, request);
        for name in everywhere() {
            list.push_str(name);
            list.push('\n');
        }
        list
    };
    match request.mode {
        ProxyMode::Ipvs => {
            let list = list(include_str!("templates/modules-load.conf"));
            for_ipvs(request, modules, list, network_manager)
        }
        ProxyMode::Nftables => {
            let list = list(include_str!("templates/nftables-modules-load.conf"));
            let mut files = vec![BootFile { path: NFTABLES_LIST, mode: 0o644, content: list }];
            if only_scripts {
                let names = everywhere().cloned().collect::<Vec<_>>().join(" ");
                let script = with_request(include_str!("templates/nftables.modules"), request);
                let content = script.replace("@MODULES@", &names);
                files.push(BootFile { path: NFTABLES_SCRIPT, mode: 0o755, content });
            }
            files
        }
        ProxyMode::Iptables => Vec::new(),
    }
}

fn for_ipvs(
    request: &NodeRequest,
    modules: &BTreeMap<String, bool>,
    list: String,
    network_manager: bool,
) -> Vec<BootFile> {
    let mandatory = request.ipvs_mandatory().join(" ");
    // The script finds the name of the conntrack module when it runs.
    let names = modules.keys().filter(|name| !name.starts_with("nf_conntrack"));
    let all_names = match request.selection {
        Selection::All => "all".to_owned(),
        Selection::Required | Selection::Named(_) => names.cloned().collect::<Vec<_>>().join(" "),
    };
    let script = with_request(include_str!("templates/ipvs.modules"), request)
        .replace("@MANDATORY@", &mandatory)
        .replace("@WANTED@", &all_names);
    let mut files = vec![
        BootFile { path: LIST, mode: 0o644, content: list },
        BootFile { path: SCRIPT, mode: 0o755, content: script },
    ];
    if network_manager {
        let content = include_str!("templates/networkmanager.conf").to_owned();
        files.push(BootFile { path: NETWORK_MANAGER, mode: 0o644, content });
    }
    files
}

fn with_request(template: &str, request: &NodeRequest) -> String {
    let mut asked = match request.mode {
        ProxyMode::Ipvs => format!("{} --scheduler {}", request.modules_argument(), request.scheduler),
        ProxyMode::Nftables | ProxyMode::Iptables => format!("{} --mode {}", request.modules_argument(), request.mode),
    };
    if let Some(minor) = request.minor {
        asked.push_str(&format!(" --kubernetes-version 1.{minor}"));
    }
    if let Some(mechanism) = request.mechanism.and_then(Mechanism::name) {
        asked.push_str(&format!(" --boot-mechanism {mechanism}"));
    }
    template.replace("@REQUEST@", &asked)
}

/// The lines that matter: all but comments, which may differ between versions of kpx-prep. What a file records stays.
fn effective(text: &str) -> impl Iterator<Item = &str> {
    let is_record = |line: &str| line.starts_with(ASKED_FOR) || line.starts_with(FOLDERS);
    text.lines().filter(move |line| !line.starts_with("# ") || is_record(line))
}

/// Whether two files of kpx-prep do the same: they are equal except for comments, and except that only the second one records
/// a Kubernetes version. A node that an earlier kpx-prep prepared, or that was prepared before its version was known, counts
/// as prepared.
pub fn does_the_same(there: &str, wanted: &str) -> bool {
    let without_version = |line: &str| -> String {
        let Some((asked, rest)) = line.split_once(" --kubernetes-version ").filter(|_| line.starts_with(ASKED_FOR))
        else {
            return line.to_owned();
        };
        let after = rest.split_once(' ').map(|(_, after)| format!(" {after}")).unwrap_or_default();
        format!("{asked}{after}")
    };
    let same = effective(there).eq(effective(wanted));
    (same || effective(there).eq(effective(wanted).map(without_version)))
        && there.ends_with('\n') == wanted.ends_with('\n')
}

/// The modules that kpx-prep's own script guarantees; `None` if the text is not that script or was edited: then it is
/// evaluated like any other script.
pub fn mandatory_of_script(content: &str) -> Option<BTreeSet<String>> {
    let is_code = |line: &&str| !line.starts_with("# ") && !line.starts_with("@FOLDERS@");
    let mut lines = content.lines().filter(is_code);
    let mut mandatory = "";
    for own in include_str!("templates/ipvs.modules").lines().filter(is_code) {
        let line = lines.next()?;
        match own.split_once('@') {
            None if line == own => {}
            Some((before, _)) => {
                let names = line.strip_prefix(before)?.strip_suffix('"')?;
                if !names.split(' ').all(|name| name.is_empty() || is_module_name(name)) {
                    return None;
                }
                if before.starts_with("mandatory") {
                    mandatory = names;
                }
            }
            None => return None,
        }
    }
    let conntrack = ["nf_conntrack", "nf_conntrack_ipv4"];
    let names = mandatory.split_whitespace().chain(conntrack).map(canonical);
    lines.next().is_none().then(|| names.collect())
}

#[cfg(test)]
mod tests;
