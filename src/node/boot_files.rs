//! The files that kpx-prep installs on a node: what is in them, and what is at their place now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;

use super::kernel::{Kernel, canonical};
use super::modules::{Selection, Wish};
use super::root::{Root, is_absent};

/// The script of the classic procedure's name; run at boot where RHEL's loadmodules is enabled.
pub const SCRIPT: &str = "/etc/sysconfig/modules/ipvs.modules";
/// The list for systemd-modules-load and OpenRC.
pub const LIST: &str = "/etc/modules-load.d/kpx-prep-ipvs.conf";
/// The drop-in that leaves `kube-ipvs0` unmanaged.
pub const NETWORK_MANAGER: &str = "/etc/NetworkManager/conf.d/90-kpx-prep-kube-ipvs0.conf";
/// Every path that kpx-prep may write on a node.
pub const PATHS: [&str; 3] = [LIST, SCRIPT, NETWORK_MANAGER];

const MARK: &str = "# Written by kpx-prep";
const ASKED_FOR: &str = "# Asked for: --modules ";

/// A file as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootFile {
    /// Where, as the host sees it.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Its whole content.
    pub content: String,
}

/// What is at a path now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Its content.
        content: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that can be neither replaced nor written through: why.
    InTheWay(String),
}

impl Existing {
    /// Whether this is a file that kpx-prep wrote.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::File { content, .. } if is_ours(content))
    }
}

/// Whether a file's text carries kpx-prep's mark.
pub fn is_ours(content: &str) -> bool {
    content.lines().take(3).any(|line| line.starts_with(MARK))
}

/// The files to have, for these modules.
///
/// `kernels` are all that are installed: the list for systemd-modules-load names only what each of them has.
pub fn wanted(
    wish: &Wish,
    modules: &BTreeMap<String, bool>,
    kernels: &BTreeMap<String, Kernel>,
    network_manager: bool,
) -> Vec<BootFile> {
    let mut list = with_wish(include_str!("files/modules-load.conf"), wish);
    for name in modules.keys().filter(|name| kernels.values().all(|kernel| kernel.has(name))) {
        list.push_str(name);
        list.push('\n');
    }
    let mandatory = format!("ip_vs ip_vs_{}", wish.scheduler);
    // The script finds conntrack's name when it runs.
    let names = modules.keys().filter(|name| !name.starts_with("nf_conntrack"));
    let all_names = match wish.selection {
        Selection::All => "all".to_owned(),
        Selection::Required | Selection::Named(_) => names.cloned().collect::<Vec<_>>().join(" "),
    };
    let script = with_wish(include_str!("files/ipvs.modules"), wish)
        .replace("@MANDATORY@", &mandatory)
        .replace("@WANTED@", &all_names);
    let mut files = vec![
        BootFile { path: LIST, mode: 0o644, content: list },
        BootFile { path: SCRIPT, mode: 0o755, content: script },
    ];
    if network_manager {
        let content = include_str!("files/networkmanager.conf").to_owned();
        files.push(BootFile { path: NETWORK_MANAGER, mode: 0o644, content });
    }
    files
}

fn with_wish(template: &str, wish: &Wish) -> String {
    template.replace("@MODULES@", &wish.modules_argument()).replace("@SCHEDULER@", &wish.scheduler)
}

/// What the installed list or script says was asked for; `None` when there is none of ours.
pub fn installed_wish(existing: &BTreeMap<&'static str, Existing>) -> Option<Wish> {
    [LIST, SCRIPT].iter().find_map(|path| match existing.get(path)? {
        Existing::File { content, .. } if is_ours(content) => {
            let asked = content.lines().find_map(|line| line.strip_prefix(ASKED_FOR))?;
            let (modules, scheduler) = asked.split_once(" --scheduler ")?;
            Wish::parse(modules, scheduler).ok()
        }
        _ => None,
    })
}

/// The modules that our own script makes sure of; `None` when the text is not our script.
pub fn mandatory_of_script(content: &str) -> Option<BTreeSet<String>> {
    let names = content.lines().find_map(|line| line.strip_prefix("mandatory=\"")?.strip_suffix('"'));
    is_ours(content).then(|| {
        let conntrack = ["nf_conntrack", "nf_conntrack_ipv4"];
        names.unwrap_or_default().split_whitespace().chain(conntrack).map(canonical).collect()
    })
}

/// Looks at every path that kpx-prep may write.
///
/// # Errors
/// When a path cannot be examined, for example for lack of permission.
pub fn observe(root: &Root) -> anyhow::Result<BTreeMap<&'static str, Existing>> {
    let look = |path| {
        let existing = examine(root, path).with_context(|| format!("examining {}", root.join(path).display()))?;
        Ok((path, existing))
    };
    PATHS.into_iter().map(look).collect()
}

fn examine(root: &Root, path: &str) -> io::Result<Existing> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let place = match root.resolve(folder) {
        Ok(folder) => folder.join(name),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
        Err(error) => return Ok(Existing::InTheWay(format!("{folder}: {error}"))),
    };
    let meta = match place.symlink_metadata() {
        Ok(meta) => meta,
        Err(error) if is_absent(&error) => return folder_in_the_way(root, folder),
        Err(error) => return Err(error),
    };
    if meta.is_symlink() {
        let target = fs::read_link(&place)?;
        return Ok(Existing::InTheWay(format!("{path} is a symbolic link to {}", target.display())));
    }
    if !meta.is_file() {
        return Ok(Existing::InTheWay(format!("{path} is not a regular file")));
    }
    let content = String::from_utf8_lossy(&fs::read(&place)?).into_owned();
    Ok(Existing::File { content, mode: meta.permissions().mode() & 0o7777 })
}

/// Why a file that is not there could not be put there either. Folders may be links, as an administrator set them
/// up; they are followed below the root only, and must lead to a folder.
fn folder_in_the_way(root: &Root, folder: &str) -> io::Result<Existing> {
    let mut above = String::new();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        above = format!("{above}/{part}");
        if root.is_dir(&above) {
            continue;
        }
        return Ok(match root.join(&above).symlink_metadata() {
            Ok(meta) if meta.is_symlink() => {
                Existing::InTheWay(format!("{above} is a symbolic link that leads to no folder"))
            }
            Ok(_) => Existing::InTheWay(format!("{above} is not a folder")),
            Err(error) if is_absent(&error) => Existing::Absent,
            Err(error) => return Err(error),
        });
    }
    Ok(Existing::Absent)
}
