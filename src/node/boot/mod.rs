//! What loads modules at boot on this host, and which modules that covers.

pub mod classic_script;
mod detect;
pub mod existing;
pub mod files;
pub mod lists;
pub mod mechanism;
pub mod record;
pub mod request;
pub mod script;
mod shell_words;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::modules::kernel::Kernel;
use super::mounts::{Lasting, Mounts};
use super::root::Root;
use super::root::conf_files::{ConfFiles, has_extension};
use crate::file_kind::{is_regular, mode_of};
use detect::detect;
use files::{Kind, PATHS, SCRIPT, purpose};
use lists::{Grammar, names_in_conf_d, names_in_list};
use mechanism::Mechanism;
use script::names_in_script;

/// Folders of modules-load.d(5) that persist across reboots, by priority; the one in [`Root::lib_folders`] comes last.
const LIST_FOLDERS: [&str; 2] = ["/etc/modules-load.d", "/usr/local/lib/modules-load.d"];
/// Folders that every other reader of such files uses.
const COMMON_LIST_FOLDERS: [&str; 2] = ["/etc/modules-load.d", "/usr/lib/modules-load.d"];
/// Variables of `OpenRC`'s `modules` service.
const CONF_D: &str = "/etc/conf.d/modules";
/// The folder in which RHEL's `loadmodules` looks for executable scripts.
const SCRIPT_FOLDER: &str = "/etc/sysconfig/modules";

/// A file that names modules to load at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootList {
    /// Its path.
    pub path: String,
    /// Modules that it certainly loads.
    pub modules: BTreeSet<String>,
}

/// How modules are loaded when the host boots.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The mechanisms that are active on this host.
    pub mechanisms: Vec<Mechanism>,
    /// The operator named the mechanism with `--boot-mechanism`; it was not detected.
    pub vouched: bool,
    /// Why there is none, with a hint.
    pub why_none: Option<(String, String)>,
    /// The lists and scripts that are used and will exist at the next boot.
    pub lists: Vec<BootList>,
    /// Lists and scripts that could not be read, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Lists and scripts that name modules but are ignored, with the reason: their file system does not persist across
    /// reboots.
    pub gone: Vec<(String, String)>,
    /// What happens to the files that install writes, if they may not persist.
    pub lasting: BTreeMap<&'static str, Lasting>,
    /// Lists and scripts that name IPVS modules but may not load them, with the reason.
    pub doubtful: Vec<(String, String)>,
    /// Whether scripts in [`SCRIPT`]'s folder cannot run because it is mounted with `noexec`.
    pub no_scripts: bool,
}

impl Boot {
    /// Whether scripts in /etc/sysconfig/modules are run.
    pub fn runs_scripts(&self) -> bool {
        !self.no_scripts && self.mechanisms.iter().any(|mechanism| mechanism.runs_scripts())
    }

    /// Whether modules-load.d is read.
    pub fn reads_lists(&self) -> bool {
        self.mechanisms.iter().any(|mechanism| mechanism.grammar().is_some())
    }

    /// Whether the operator guarantees that something else loads the modules at boot (`--boot-mechanism other`).
    pub fn is_elsewhere(&self) -> bool {
        self.mechanisms.contains(&Mechanism::Other)
    }

    /// The modules that a file of kpx-prep loads at boot: none if it is not used or does not persist across reboots.
    pub fn loaded_by(&self, path: &str, content: &str) -> BTreeSet<String> {
        if matches!(self.lasting.get(path), Some(Lasting::No(_) | Lasting::Unknown(_))) {
            return BTreeSet::new();
        }
        match purpose(path) {
            Some((_, Kind::List)) => self.names_in_list(content),
            Some((_, Kind::Script)) if self.runs_scripts() => names_in_script(content),
            _ => BTreeSet::new(),
        }
    }

    /// The modules of a list that every reader on this host loads.
    fn names_in_list(&self, text: &str) -> BTreeSet<String> {
        let grammars = self.mechanisms.iter().filter_map(|mechanism| mechanism.grammar());
        grammars.map(|grammar| names_in_list(text, grammar)).reduce(|all, names| &all & &names).unwrap_or_default()
    }

    fn add(&mut self, (root, mounts): (&Root, &Mounts), files: ConfFiles, names: impl Fn(&str) -> BTreeSet<String>) {
        for (path, text) in files.read {
            let modules = names(&text);
            if let Some(doubt) = doubt(&path, &text, &modules) {
                self.doubtful.push((path.clone(), doubt));
            }
            if modules.is_empty() {
                continue;
            }
            match mounts.lasting(root, &path) {
                Lasting::Yes | Lasting::ReadOnly(_) => self.lists.push(BootList { path, modules }),
                Lasting::No(why) | Lasting::Unknown(why) => self.gone.push((path, why)),
            }
        }
        self.unreadable.extend(files.unreadable);
    }

    /// The file that loads `module` at the next boot of `kernel`.
    pub fn covered_by<'a>(&'a self, module: &str, kernel: Option<&Kernel>) -> Option<&'a str> {
        let loads = |list: &&BootList| {
            list.modules.contains(module)
                || kernel.is_some_and(|kernel| list.modules.iter().any(|listed| kernel.needs(listed, module)))
        };
        self.lists.iter().find(loads).map(|list| list.path.as_str())
    }
}

/// Why a file that seems to load an IPVS module may not do so.
fn doubt(path: &str, text: &str, modules: &BTreeSet<String>) -> Option<String> {
    if path == CONF_D {
        return None;
    }
    if has_extension(path, "modules") {
        let mentions = text.lines().any(|line| !line.trim_start().starts_with('#') && line.contains("ip_vs"));
        let why = "it may not load the modules that it names, so it is ignored; only plain modprobe lines count, without anything before them that may end the script or skip them";
        return (mentions && !modules.contains("ip_vs")).then(|| why.to_owned());
    }
    let is_name =
        |line: &str| names_in_list(&format!("{line}\n"), Grammar::Systemd).iter().any(|name| modules.contains(name));
    text.lines().enumerate().find_map(|(number, line)| {
        let names_one = line.contains("ip_vs") && !line.trim_start().starts_with(['#', ';']) && !is_name(line);
        let first = line.split_whitespace().next().unwrap_or_default().replace('-', "_");
        (names_one && !modules.contains(&first)).then(|| {
            format!(
                "line {} is not a module name to the program that reads it at boot; write one name per line",
                number + 1
            )
        })
    })
}

/// Detects what loads modules at boot on this host. `vouched`: the mechanism that the operator named.
pub fn observe(root: &Root, host: &Host, mounts: &Mounts, vouched: Option<Mechanism>) -> Boot {
    let mut boot = Boot::default();
    if let Some(mechanism) = vouched {
        boot.vouched = true;
        boot.mechanisms.push(mechanism);
    } else {
        (boot.mechanisms, boot.why_none) = detect(root, host);
    }
    for path in PATHS.iter().copied().filter(|path| !matches!(purpose(path), Some((_, Kind::Other)))) {
        match mounts.lasting(root, path) {
            Lasting::Yes => {}
            other => _ = boot.lasting.insert(path, other),
        }
    }
    // Only then it matters.
    boot.no_scripts = boot.runs_scripts() && mounts.forbids_execution(root, SCRIPT);
    let place = (root, mounts);
    if boot.reads_lists() {
        let files = lists(root, &boot.mechanisms, host);
        let readers = boot.clone();
        boot.add(place, files, |text| readers.names_in_list(text));
    }
    if boot.mechanisms.contains(&Mechanism::Openrc) && !reads_etc_modules(host) {
        let mut files = ConfFiles::default();
        files.add(root, CONF_D.to_owned());
        boot.add(place, files, names_in_conf_d);
    }
    if boot.runs_scripts() {
        boot.add(place, scripts_of(root), names_in_script);
    }
    boot
}

/// Alpine's `modules` service reads /etc/modules, and not the variables of /etc/conf.d/modules; upstream's the other
/// way round.
fn reads_etc_modules(host: &Host) -> bool {
    host.is_like("alpine")
}

fn lists(root: &Root, mechanisms: &[Mechanism], host: &Host) -> ConfFiles {
    if mechanisms.contains(&Mechanism::SystemdModulesLoad) {
        // systemd reads /etc/modules only if the distribution links it into modules-load.d, as Debian does.
        return ConfFiles::new(root, &LIST_FOLDERS, "modules-load.d");
    }
    let mut files = ConfFiles::of(root, COMMON_LIST_FOLDERS.map(str::to_owned));
    if mechanisms.contains(&Mechanism::Sysvinit) || (mechanisms.contains(&Mechanism::Openrc) && reads_etc_modules(host))
    {
        files.add(root, "/etc/modules".to_owned());
    }
    files
}

fn scripts_of(root: &Root) -> ConfFiles {
    let mut files = ConfFiles::default();
    let names = root.list(SCRIPT_FOLDER);
    for name in names.into_iter().filter(|name| has_extension(name, "modules") && !name.starts_with('.')) {
        let path = format!("{SCRIPT_FOLDER}/{name}");
        // Files that are not executable are not run.
        if root.stat(&path).ok().flatten().is_some_and(|stat| is_regular(&stat) && mode_of(&stat) & 0o111 != 0) {
            files.add(root, path);
        }
    }
    files
}
