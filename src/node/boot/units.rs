//! systemd units: whether a unit exists, is masked, or is enabled, by systemd's own rules.
//!
//! Every folder and link is resolved below the root: on NixOS units are links into its store.

use crate::file_kind::is_link;
use crate::node::root::Root;
use crate::node::root::conf_files::has_extension;

/// systemd's unit folders, by priority; `systemd/system` in [`Root::lib_folders`] comes last.
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"];
/// Limit for following links to find out whether a unit is masked.
const MOST_LINKS: usize = 8;

/// The state of a unit name in systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Does not exist.
    Absent,
    /// Masked.
    Masked,
    /// Masked by `systemd.mask=` on the kernel's command line (kernel-command-line(7)).
    MaskedByKernel,
    /// Exists.
    Present,
}

fn unit_folders(root: &Root) -> impl Iterator<Item = String> {
    let vendor = root.lib_folders().iter().map(|lib| format!("{lib}/systemd/system"));
    UNIT_FOLDERS.into_iter().map(str::to_owned).chain(vendor)
}

/// Whether systemd would find the unit; the first folder that has it decides (systemd.unit(5)).
pub fn unit(root: &Root, name: &str) -> Unit {
    let masked_by_kernel = |word: &str| word.strip_prefix("systemd.mask=") == Some(name);
    match in_folders(root, name) {
        Unit::Present => {
            let command_line = root.read("/proc/cmdline").ok().flatten().unwrap_or_default();
            let masked = command_line.split_whitespace().any(masked_by_kernel);
            if masked { Unit::MaskedByKernel } else { Unit::Present }
        }
        other => other,
    }
}

fn in_folders(root: &Root, name: &str) -> Unit {
    for (rank, folder) in unit_folders(root).enumerate() {
        let path = format!("{folder}/{name}");
        let Ok(Some(stat)) = root.lstat(&path) else { continue };
        if is_link(&stat) {
            match leads_to_nothing(root, &path) {
                Some(true) => return Unit::Masked,
                // A broken link is skipped.
                Some(false) if !root.exists(&path) => continue,
                _ => return Unit::Present,
            }
        }
        // An empty file masks the unit too; below /usr that does not apply, as a package's own unit is never empty.
        let masked = stat.st_size == 0 && rank < 2;
        return if masked { Unit::Masked } else { Unit::Present };
    }
    Unit::Absent
}

/// Whether the link leads to `/dev/null`, possibly through other links.
fn leads_to_nothing(root: &Root, path: &str) -> Option<bool> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let target = root.read_link(&path).ok()?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        path = if target.starts_with('/') { target } else { format!("{folder}/{target}") };
        if path == "/dev/null" {
            return Some(true);
        }
        if !root.lstat(&path).ok().flatten().is_some_and(|stat| is_link(&stat)) {
            break;
        }
    }
    Some(false)
}

/// Whether the unit is enabled: a target wants it.
pub fn is_wanted(root: &Root, name: &str) -> bool {
    unit_folders(root).any(|folder| {
        root.list(&folder)
            .iter()
            .filter(|entry| has_extension(entry, "wants"))
            .any(|wants| root.lstat(&format!("{folder}/{wants}/{name}")).is_ok_and(|stat| stat.is_some()))
    })
}
