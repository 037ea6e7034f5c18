//! What loads modules when this host boots, and which modules that covers.

use std::collections::BTreeSet;

use serde::Serialize;

use super::boot_files;
use super::conf_files::{ConfFiles, has_extension};
use super::kernel::{Kernel, canonical};
use super::root::Root;
use crate::file_kind::{is_link, is_regular, mode_of};

/// Folders of modules-load.d(5) that outlive a reboot, the strongest first; then comes that in [`Root::lib_folders`].
const LIST_FOLDERS: [&str; 2] = ["/etc/modules-load.d", "/usr/local/lib/modules-load.d"];
/// Where RHEL's `loadmodules` looks for executable scripts.
const SCRIPT_FOLDER: &str = "/etc/sysconfig/modules";
/// Where systemd looks for units, the strongest first; then comes `systemd/system` in [`Root::lib_folders`].
const UNIT_FOLDERS: [&str; 3] = ["/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system"];

/// Something that loads modules at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// systemd-modules-load.service reads modules-load.d.
    SystemdModulesLoad,
    /// OpenRC's `modules` service reads modules-load.d and /etc/modules.
    Openrc,
    /// RHEL 7's rhel-loadmodules.service runs /etc/sysconfig/modules/*.modules.
    RhelLoadmodules,
    /// loadmodules.service of RHEL 8's initscripts does the same.
    Loadmodules,
}

impl Mechanism {
    /// What it is, and what it honours, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::SystemdModulesLoad => "systemd-modules-load reads /etc/modules-load.d",
            Self::Openrc => "OpenRC's modules service reads /etc/modules-load.d",
            Self::RhelLoadmodules => "rhel-loadmodules.service runs /etc/sysconfig/modules/*.modules",
            Self::Loadmodules => "loadmodules.service runs /etc/sysconfig/modules/*.modules",
        }
    }

    fn runs_scripts(self) -> bool {
        matches!(self, Self::RhelLoadmodules | Self::Loadmodules)
    }
}

/// A file that names modules to load at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootList {
    /// Where it is.
    pub path: String,
    /// The modules that it names. For a script, only those that it certainly loads.
    pub modules: BTreeSet<String>,
}

/// What happens to modules when the host boots.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// What this host honours.
    pub mechanisms: Vec<Mechanism>,
    /// Why there is none, with the way out.
    pub why_none: Option<(String, String)>,
    /// The lists and scripts that are honoured.
    pub lists: Vec<BootList>,
    /// Lists and scripts that could not be read, with why.
    pub unreadable: Vec<(String, String)>,
}

impl Boot {
    /// Whether /etc/sysconfig/modules is honoured.
    pub fn runs_scripts(&self) -> bool {
        self.mechanisms.iter().any(|mechanism| mechanism.runs_scripts())
    }

    /// Whether modules-load.d is honoured.
    pub fn reads_lists(&self) -> bool {
        self.mechanisms.iter().any(|mechanism| !mechanism.runs_scripts())
    }

    fn add(&mut self, files: ConfFiles, names: impl Fn(&str) -> BTreeSet<String>) {
        let lists = files.read.into_iter().map(|(path, text)| BootList { path, modules: names(&text) });
        self.lists.extend(lists.filter(|list| !list.modules.is_empty()));
        self.unreadable.extend(files.unreadable);
    }

    /// The file because of which `module` will be there after the next boot of `kernel`.
    pub fn covered_by<'a>(&'a self, module: &str, kernel: &Kernel) -> Option<&'a str> {
        let loads = |list: &&BootList| {
            list.modules.contains(module) || list.modules.iter().any(|listed| kernel.needs(listed, module))
        };
        self.lists.iter().find(loads).map(|list| list.path.as_str())
    }
}

/// Observes what this host honours at boot.
pub fn observe(root: &Root) -> Boot {
    let mut boot = Boot::default();
    let openrc = !root.is_dir("/run/systemd/system")
        && ["/sbin/openrc-run", "/usr/sbin/openrc-run", "/usr/bin/openrc-run"].iter().any(|path| root.exists(path));
    match unit(root, "systemd-modules-load.service") {
        _ if openrc => {
            let enabled = ["boot", "sysinit", "default"]
                .iter()
                .any(|level| is_there(root, &format!("/etc/runlevels/{level}/modules")));
            if enabled {
                boot.mechanisms.push(Mechanism::Openrc);
            } else {
                let why = "OpenRC's modules service is in no runlevel".to_owned();
                boot.why_none = Some((why, "rc-update add modules boot".to_owned()));
            }
        }
        Unit::Present => boot.mechanisms.push(Mechanism::SystemdModulesLoad),
        Unit::Masked => {
            let why = "systemd-modules-load.service is masked".to_owned();
            boot.why_none = Some((why, "systemctl unmask systemd-modules-load.service".to_owned()));
        }
        Unit::Absent => {}
    }
    let scripts =
        [("rhel-loadmodules.service", Mechanism::RhelLoadmodules), ("loadmodules.service", Mechanism::Loadmodules)];
    for (name, mechanism) in scripts {
        if unit(root, name) == Unit::Present && is_wanted(root, name) {
            boot.mechanisms.push(mechanism);
        }
    }
    if boot.mechanisms.is_empty() && boot.why_none.is_none() {
        let why = "nothing was found that loads modules at boot (systemd-modules-load, loadmodules, OpenRC)".to_owned();
        let hint = "install systemd or OpenRC's modules service; or load the modules in this host's own boot scripts";
        boot.why_none = Some((why, hint.to_owned()));
    }
    if boot.reads_lists() {
        boot.add(lists(root, boot.mechanisms.contains(&Mechanism::Openrc)), names_in_list);
    }
    if boot.runs_scripts() {
        boot.add(scripts_of(root), names_in_script);
    }
    boot
}

#[derive(PartialEq, Eq)]
enum Unit {
    Absent,
    Masked,
    Present,
}

fn unit_folders(root: &Root) -> impl Iterator<Item = String> {
    let vendor = root.lib_folders().iter().map(|lib| format!("{lib}/systemd/system"));
    UNIT_FOLDERS.into_iter().map(str::to_owned).chain(vendor)
}

/// Whether systemd would find the unit; the first folder that has it decides (systemd.unit(5)).
fn unit(root: &Root, name: &str) -> Unit {
    for (rank, folder) in unit_folders(root).enumerate() {
        let path = format!("{folder}/{name}");
        let Ok(Some(stat)) = root.lstat(&path) else { continue };
        let masked = if is_link(&stat) {
            root.read_link(&path).is_ok_and(|target| target == "/dev/null")
        } else {
            // An empty file masks as well; below /usr it is taken for a package's own, which is never empty.
            stat.st_size == 0 && rank < 2
        };
        return if masked { Unit::Masked } else { Unit::Present };
    }
    Unit::Absent
}

/// Whether some target wants the unit, that is: it is enabled.
fn is_wanted(root: &Root, name: &str) -> bool {
    UNIT_FOLDERS.iter().any(|folder| {
        root.list(folder)
            .iter()
            .filter(|entry| has_extension(entry, "wants"))
            .any(|wants| is_there(root, &format!("{folder}/{wants}/{name}")))
    })
}

/// Whether something has this name, be it a link that leads nowhere.
fn is_there(root: &Root, path: &str) -> bool {
    root.lstat(path).is_ok_and(|stat| stat.is_some())
}

fn lists(root: &Root, openrc: bool) -> ConfFiles {
    let mut files = ConfFiles::new(root, &LIST_FOLDERS, "modules-load.d");
    // systemd reads this one only where a distribution links it into modules-load.d, as Debian does.
    if openrc {
        files.add(root, "/etc/modules".to_owned());
    }
    files
}

/// The modules that a modules-load.d file names, one a line; `#` and `;` start a comment line.
pub fn names_in_list(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_whitespace().next().map(canonical))
        .collect()
}

fn scripts_of(root: &Root) -> ConfFiles {
    let mut files = ConfFiles::default();
    for name in root.list(SCRIPT_FOLDER).into_iter().filter(|name| has_extension(name, "modules")) {
        let path = format!("{SCRIPT_FOLDER}/{name}");
        // What is not an executable file is not run.
        if root.stat(&path).ok().flatten().is_some_and(|stat| is_regular(&stat) && mode_of(&stat) & 0o111 != 0) {
            files.add(root, path);
        }
    }
    files
}

/// The modules that a script certainly loads: those of our own script, else of plain `modprobe` lines outside of
/// any condition or loop. Anything cleverer proves nothing.
pub fn names_in_script(text: &str) -> BTreeSet<String> {
    if let Some(names) = boot_files::mandatory_of_script(text) {
        return names;
    }
    let mut names = BTreeSet::new();
    let mut depth = 0_usize;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((command, arguments)) = words.split_first() else { continue };
        match *command {
            "if" | "for" | "while" | "until" | "case" => depth += 1,
            "fi" | "done" | "esac" => depth = depth.saturating_sub(1),
            "exit" if depth == 0 => break,
            "modprobe" | "/sbin/modprobe" | "/usr/sbin/modprobe" if depth == 0 => {
                names.extend(modprobe_arguments(arguments));
            }
            _ => {}
        }
    }
    names
}

fn modprobe_arguments(arguments: &[&str]) -> BTreeSet<String> {
    let several = arguments.iter().any(|word| matches!(*word, "-a" | "--all"));
    let plain = |word: &&&str| !word.starts_with('-') && !word.contains(['$', '`', '*']);
    let inside = |word: &&&str| !word.starts_with(['>', '&', '|', ';', '#']) && !word.starts_with("2>");
    let modules = arguments.iter().take_while(inside).filter(plain);
    modules.take(if several { usize::MAX } else { 1 }).map(|word| canonical(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_one_module_a_line() {
        let names = names_in_list("# c\n; c\n\n ip_vs \nip-vs-rr\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["ip_vs", "ip_vs_rr"]);
    }

    #[test]
    fn scripts_prove_only_their_plain_lines() {
        let cases: [(&str, &[&str]); 6] = [
            ("#!/bin/sh\nmodprobe -- ip_vs\n/sbin/modprobe ip_vs_rr\n", &["ip_vs", "ip_vs_rr"]),
            ("modprobe -a ip_vs ip_vs_sh > /dev/null 2>&1\n", &["ip_vs", "ip_vs_sh"]),
            ("modprobe ip_vs numa=1\n", &["ip_vs"]),
            ("for i in ip_vs; do\n  modprobe $i\ndone\nmodprobe $i\n", &[]),
            ("if true; then\nmodprobe ip_vs\nfi\nmodprobe ip_vs_sh\n", &["ip_vs_sh"]),
            ("# modprobe ip_vs\n", &[]),
        ];
        for (script, names) in cases {
            assert_eq!(names_in_script(script).into_iter().collect::<Vec<_>>(), names, "{script}");
        }
    }
}
