//! What loads modules at boot on this host, and which modules that covers.

pub mod classic_script;
pub mod files;
pub mod lists;
pub mod mechanism;
pub mod request;
pub mod script;
mod shell_words;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::host::immutable::own_way;
use super::modules::kernel::Kernel;
use super::mounts::{Lasting, Mounts};
use super::root::Root;
use super::root::conf_files::{ConfFiles, has_extension};
use crate::file_kind::{is_regular, mode_of};
use files::{LIST, SCRIPT};
use lists::{Grammar, names_in_conf_d, names_in_list};
use mechanism::Mechanism;
use script::names_in_script;
use units::{Unit, is_wanted, unit};

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
        match path {
            LIST => self.names_in_list(content),
            SCRIPT if self.runs_scripts() => names_in_script(content),
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
        find_mechanisms(root, host, &mut boot);
    }
    for path in [LIST, SCRIPT] {
        match mounts.lasting(root, path) {
            Lasting::Yes => {}
            other => _ = boot.lasting.insert(path, other),
        }
    }
    boot.no_scripts = mounts.forbids_execution(root, SCRIPT);
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

fn find_mechanisms(root: &Root, host: &Host, boot: &mut Boot) {
    let systemd_runs = root.is_dir("/run/systemd/system");
    let openrc = !systemd_runs
        && first_process_may_be(root, &["init", "openrc-init"])
        && ["/sbin/openrc-run", "/usr/sbin/openrc-run", "/usr/bin/openrc-run"].iter().any(|path| root.exists(path));
    // A running system has that folder if systemd is its init (sd_booted(3)). Without it, systemd's files count unless
    // another init is found: an image has only the files.
    let may_be_systemd = systemd_runs || !is_another_init(root);
    match unit(root, "systemd-modules-load.service") {
        _ if openrc => {
            // Before OpenRC 0.26, a separate service read modules-load.d.
            let enabled = ["boot", "sysinit", "default"].iter().any(|level| {
                ["modules", "modules-load"]
                    .iter()
                    .any(|service| is_there(root, &format!("/etc/runlevels/{level}/{service}")))
            });
            if enabled {
                boot.mechanisms.push(Mechanism::Openrc);
            } else {
                let why = "OpenRC's modules service is not in any runlevel".to_owned();
                boot.why_none = Some((why, "rc-update add modules boot".to_owned()));
            }
        }
        Unit::Present if may_be_systemd => boot.mechanisms.push(Mechanism::SystemdModulesLoad),
        Unit::Masked if may_be_systemd => {
            let why = "systemd-modules-load.service is masked".to_owned();
            boot.why_none = Some((why, "systemctl unmask systemd-modules-load.service".to_owned()));
        }
        Unit::MaskedByKernel if may_be_systemd => {
            let why = "systemd-modules-load.service is masked on the kernel's command line (/proc/cmdline)".to_owned();
            let hint = "remove systemd.mask= from it (in the boot loader's configuration), then reboot".to_owned();
            boot.why_none = Some((why, hint));
        }
        _ => {}
    }
    // Debian's kmod installs its script on every system, whatever its init; only sysvinit has an inittab.
    let sysvinit = !openrc && !may_be_systemd && root.exists("/etc/inittab") && first_process_may_be(root, &["init"]);
    if sysvinit && root.exists("/etc/init.d/kmod") && starts_in_rcs(root, "kmod") {
        boot.mechanisms.push(Mechanism::Sysvinit);
    }
    let scripts =
        [("rhel-loadmodules.service", Mechanism::RhelLoadmodules), ("loadmodules.service", Mechanism::Loadmodules)];
    for (name, mechanism) in scripts {
        if may_be_systemd && unit(root, name) == Unit::Present && is_wanted(root, name) {
            boot.mechanisms.push(mechanism);
        }
    }
    if boot.mechanisms.is_empty() && boot.why_none.is_none() {
        boot.why_none = Some(why_none(root, host));
    }
}

fn why_none(root: &Root, host: &Host) -> (String, String) {
    let why = "no boot mechanism for kernel modules found (systemd-modules-load, loadmodules, OpenRC, sysvinit)";
    if let Some(way) = own_way(host) {
        return (why.to_owned(), way);
    }
    let inits = [
        ("runit", "modules-load.d", &["/usr/bin/runit-init", "/sbin/runit-init", "/usr/bin/runit"][..]),
        ("dinit", "modules-load.d", &["/usr/bin/dinit", "/sbin/dinit", "/usr/sbin/dinit"]),
        ("s6", "modules-load.d", &["/usr/bin/s6-svscan", "/bin/s6-svscan", "/usr/bin/s6-rc"]),
    ];
    let found = inits.iter().find(|(_, _, places)| places.iter().any(|place| root.exists(place)));
    let hint = match found {
        Some((name, mechanism, _)) => format!(
            "if {name} on this host reads /etc/modules-load.d at boot, add --boot-mechanism {mechanism}; if something else loads the modules, add --boot-mechanism other"
        ),
        None => "install systemd or OpenRC's modules service, or name what loads modules on this host with --boot-mechanism (see --help for the values)".to_owned(),
    };
    (why.to_owned(), hint)
}

/// Whether the running system was started by a known init other than systemd.
fn is_another_init(root: &Root) -> bool {
    const KNOWN: [&str; 8] =
        ["runit", "runit-init", "dinit", "s6-svscan", "openrc-init", "shepherd", "finit", "busybox"];
    let name = root.read("/proc/1/comm").ok().flatten().unwrap_or_default();
    KNOWN.contains(&name.trim()) || (name.trim() == "init" && root.exists("/etc/inittab"))
}

/// Whether the first process has one of these names, or its name is not visible, as in an image.
fn first_process_may_be(root: &Root, names: &[&str]) -> bool {
    let name = root.read("/proc/1/comm").ok().flatten();
    name.is_none_or(|name| names.contains(&name.trim()))
}

/// `/etc/rcS.d/S05kmod`: services that sysvinit starts first.
fn starts_in_rcs(root: &Root, service: &str) -> bool {
    root.list("/etc/rcS.d").iter().any(|name| {
        name.strip_prefix('S').is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()) == service)
    })
}

/// Whether the path exists, even as a broken link.
fn is_there(root: &Root, path: &str) -> bool {
    root.lstat(path).is_ok_and(|stat| stat.is_some())
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
