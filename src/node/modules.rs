//! Which modules a node needs, and the one state that each of them is in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::boot::Boot;
use super::host::Host;
use super::kernel::{Kernel, canonical};
use super::modprobe_config::{ModprobeConfig, Rule};
use super::packages;

/// Connection tracking, by its name since Linux 4.19 and before. A kernel that has both gets both:
/// kube-proxy up to 1.26 asks older kernels for the second one by name (pkg/util/ipvs/ipvs.go).
const CONNTRACK: [&str; 2] = ["nf_conntrack", "nf_conntrack_ipv4"];

/// Schedulers that kube-proxy up to 1.26 asks for whatever is configured (pkg/util/ipvs/ipvs.go).
const BASIC_SCHEDULERS: [&str; 3] = ["ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"];

/// Schedulers that Linux has, in whichever version.
const KNOWN_SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

/// Files beside the schedulers that are not schedulers.
const NOT_SCHEDULERS: [&str; 2] = ["ftp", "pe_sip"];

/// Which modules were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything in the running kernel's ipvs folder, and conntrack.
    All,
    /// What kube-proxy asks for: `ip_vs`, the chosen scheduler, rr, wrr, sh and conntrack.
    Required,
    /// These, and the mandatory ones.
    Named(BTreeSet<String>),
}

/// What the operator asked of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Which modules.
    pub selection: Selection,
    /// The IPVS scheduler that kube-proxy will use, such as `rr`.
    pub scheduler: String,
}

impl Default for Wish {
    fn default() -> Self {
        Self { selection: Selection::All, scheduler: "rr".to_owned() }
    }
}

impl Wish {
    /// Reads `--modules` and `--scheduler`.
    ///
    /// # Errors
    /// Names that no module or scheduler can have; the text says which and why.
    pub fn parse(modules: &str, scheduler: &str) -> Result<Self, String> {
        let plausible =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !plausible(scheduler) {
            return Err(format!("--scheduler {scheduler:?}: not a scheduler's name (such as rr, wrr, lc, sh)"));
        }
        if NOT_SCHEDULERS.contains(&canonical(scheduler).as_str()) {
            return Err(format!("--scheduler {scheduler}: ip_vs_{scheduler} exists but is not a scheduler"));
        }
        let selection = match modules {
            "all" => Selection::All,
            "required" => Selection::Required,
            names => {
                let names: Vec<&str> = names.split(',').map(str::trim).collect();
                if let Some(bad) = names.iter().find(|name| !plausible(name)) {
                    return Err(format!("--modules: {bad:?} is not a module's name"));
                }
                Selection::Named(names.into_iter().map(canonical).collect())
            }
        };
        Ok(Self { selection, scheduler: canonical(scheduler) })
    }

    /// `--modules` as it was given.
    pub fn modules_argument(&self) -> String {
        match &self.selection {
            Selection::All => "all".to_owned(),
            Selection::Required => "required".to_owned(),
            Selection::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
        }
    }

    /// Every module name that has to be looked for beyond the ipvs folder.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::from(["ip_vs".to_owned(), format!("ip_vs_{}", self.scheduler)]);
        if let Selection::Named(more) = &self.selection {
            names.extend(more.iter().cloned());
        }
        names
    }

    /// The modules to have on `kernel`, each with whether kube-proxy cannot do without it.
    pub fn modules(&self, kernel: Option<&Kernel>, loaded: &BTreeSet<String>) -> BTreeMap<String, bool> {
        let mut wanted = BTreeMap::new();
        match &self.selection {
            Selection::All => {
                wanted.extend(kernel.into_iter().flat_map(|k| k.ipvs.iter().cloned()).map(|m| (m, false)));
            }
            Selection::Required => wanted.extend(BASIC_SCHEDULERS.map(|m| (m.to_owned(), false))),
            Selection::Named(names) => wanted.extend(names.iter().cloned().map(|m| (m, false))),
        }
        let mut mandatory = vec!["ip_vs".to_owned(), format!("ip_vs_{}", self.scheduler)];
        let there = |name: &&&str| {
            loaded.contains(**name)
                || kernel.is_some_and(|k| k.builtin.contains(**name) || k.files.contains_key(**name))
        };
        mandatory.extend(CONNTRACK.iter().filter(there).map(|name| (*name).to_owned()));
        if mandatory.len() == 2 {
            mandatory.push(CONNTRACK[0].to_owned());
        }
        wanted.extend(mandatory.into_iter().map(|name| (name, true)));
        wanted
    }
}

/// The state of a module on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Live in the kernel now (`/proc/modules`).
    Loaded,
    /// Part of the kernel (`modules.builtin`).
    BuiltIn,
    /// Not loaded; nothing is known that stands against loading it.
    Loadable,
    /// The running kernel does not have it.
    Missing,
    /// Something stands against loading it, now or at boot.
    Blocked,
}

/// A module's state with its reason and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Its name, with `_`.
    pub name: String,
    /// kube-proxy cannot run in IPVS mode without it.
    pub mandatory: bool,
    /// Its state.
    pub state: State,
    /// Stable word for what is behind `missing` or `blocked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What the state of a module depends on.
pub struct Surroundings<'a> {
    /// The host.
    pub host: &'a Host,
    /// The running kernel, where it is installed.
    pub kernel: Option<&'a Kernel>,
    /// Another kernel that is installed and would boot next.
    pub other_kernel: Option<&'a str>,
    /// What the administrator forbids.
    pub config: &'a ModprobeConfig,
    /// What loads modules at boot.
    pub boot: &'a Boot,
}

impl Surroundings<'_> {
    /// The one state of a module. What would stop it at the next boot counts even while it is loaded.
    pub fn module(&self, name: &str, mandatory: bool) -> Module {
        let module = |state| Module { name: name.to_owned(), mandatory, state, reason: None, detail: None, hint: None };
        let why = |state, (reason, detail, hint): Why| Module {
            reason: Some(reason),
            detail: Some(detail),
            hint: Some(hint),
            ..module(state)
        };
        let loaded = self.host.loaded.contains(name);
        if self.kernel.is_some_and(|kernel| kernel.builtin.contains(name)) {
            return module(State::BuiltIn);
        }
        if !loaded {
            if let Some(reason) = self.container() {
                return why(State::Blocked, reason);
            }
            if let Some(reason) = self.missing(name) {
                return why(State::Missing, reason);
            }
        }
        if let Some(reason) = self.blocked_at_boot(name, loaded) {
            return why(State::Blocked, reason);
        }
        if loaded {
            return module(State::Loaded);
        }
        self.blocked_now(name).map_or_else(|| module(State::Loadable), |reason| why(State::Blocked, reason))
    }

    fn container(&self) -> Option<Why> {
        let kind = self.host.container.as_ref()?;
        Some((
            "container",
            format!("this is a container ({kind}): its modules are its host's"),
            "load the modules on the machine that runs this container: kpx-prep node install there".to_owned(),
        ))
    }

    fn missing(&self, name: &str) -> Option<Why> {
        let release = self.host.release.as_deref();
        let Some(kernel) = self.kernel else {
            let release = release.unwrap_or("(none)");
            let detail = format!("the running kernel {release} has no modules folder");
            let hint = match self.other_kernel {
                Some(other) => format!("reboot: kernel {other} is installed, and the running one's modules are gone"),
                None => format!("{}; or boot a kernel of this distribution", packages::hint(self.host, release)),
            };
            return Some(("no-modules-folder", detail, hint));
        };
        if !kernel.files.contains_key(name) {
            let detail = format!("kernel {} does not have it", kernel.release);
            let hint = match name.strip_prefix("ip_vs_") {
                Some(scheduler) if !KNOWN_SCHEDULERS.contains(&scheduler) && !NOT_SCHEDULERS.contains(&scheduler) => {
                    format!("no such scheduler is known; there are {}", KNOWN_SCHEDULERS.join(" "))
                }
                _ => packages::hint(self.host, &kernel.release),
            };
            return Some(("not-found", detail, hint));
        }
        (!kernel.is_indexed(name)).then(|| {
            let detail = format!("its file is there, but {}/modules.dep does not list it", kernel.folder);
            ("not-indexed", detail, format!("depmod {}", kernel.release))
        })
    }

    fn blocked_at_boot(&self, name: &str, loaded: bool) -> Option<Why> {
        let now = if loaded { " (it is loaded now, but would not come back)" } else { "" };
        let from = |reason, what: &str, rule: &Rule| {
            let detail = format!("{what}: `{}` in {}{now}", rule.text, rule.place);
            let hint = match rule.place.split_once(" line ") {
                Some((file, _)) => format!("take that line out of {file}"),
                None => {
                    "take it off the kernel's command line (the boot loader's configuration), then reboot".to_owned()
                }
            };
            (reason, detail, hint)
        };
        if let Some(rule) = self.config.refused_by_kernel.get(name) {
            return Some(from("kernel-command-line", "the kernel refuses it", rule));
        }
        if let Some(rule) = self.config.overridden.get(name) {
            return Some(from("install-override", "modprobe only pretends to load it", rule));
        }
        // The script names its modules to modprobe, which then pays no heed to a blacklist.
        if self.boot.runs_scripts() {
            return None;
        }
        self.config.blacklisted.get(name).map(|rule| from("blacklist", "it would not be loaded at boot", rule))
    }

    fn blocked_now(&self, name: &str) -> Option<Why> {
        if self.host.modules_disabled {
            let detail = "kernel.modules_disabled is 1: the kernel loads no module until the next boot".to_owned();
            let hint = "find what sets kernel.modules_disabled (/etc/sysctl.d), load the modules before it, reboot";
            return Some(("modules-disabled", detail, hint.to_owned()));
        }
        let level = self.host.lockdown.as_ref()?;
        self.kernel?.unsigned.contains(name).then(|| {
            let detail =
                format!("kernel lockdown ({level}) allows only signed modules, and its file carries no signature");
            ("lockdown", detail, "install the distribution's signed kernel modules, or sign this one".to_owned())
        })
    }
}

type Why = (&'static str, String, String);
