//! The state of each of a node's modules.

use serde::Serialize;

use crate::mode::{ProxyMode, nftables};
use crate::node::boot::Boot;
use crate::node::boot::request::NOT_SCHEDULERS;
use crate::node::facts::HostFacts;
use crate::node::host::nft::Trial;
use crate::node::host::{Host, packages};
use crate::node::modules::kernel::Kernel;
use crate::node::modules::kernel_config::Setting;
use crate::node::modules::modprobe_config::{ModprobeConfig, Rule};

/// The schedulers of all Linux versions.
const KNOWN_SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"];

/// The state of a module on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Loaded (`/proc/modules`).
    Loaded,
    /// Built into the kernel (`modules.builtin`).
    BuiltIn,
    /// Not loaded, and nothing known prevents loading it.
    Loadable,
    /// The running kernel does not have it.
    Missing,
    /// Unknown whether the kernel has it: nothing that would show it is readable.
    Unknown,
    /// Something prevents loading it, now or at boot.
    Blocked,
}

/// A module's state with its reason and a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Its name, with `_`.
    pub name: String,
    /// kube-proxy cannot run in the requested mode without it.
    pub mandatory: bool,
    /// Its state.
    pub state: State,
    /// Stable identifier of the reason for `missing` or `blocked`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The reason, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What the state of a module depends on.
pub struct ModuleContext<'a> {
    /// The mode that needs the modules.
    pub mode: ProxyMode,
    /// The kernel has what kube-proxy's nftables mode uses: it accepted the trial transaction.
    pub trial_passed: bool,
    /// The host.
    pub host: &'a Host,
    /// The running kernel, if it is installed.
    pub kernel: Option<&'a Kernel>,
    /// Another installed kernel that would boot next.
    pub other_kernel: Option<&'a str>,
    /// modprobe's configuration.
    pub config: &'a ModprobeConfig,
    /// What loads modules at boot.
    pub boot: &'a Boot,
}

impl<'a> ModuleContext<'a> {
    /// What it depends on, from the observed state.
    pub fn of(facts: &'a HostFacts, mode: ProxyMode) -> Self {
        Self {
            mode,
            trial_passed: facts.nft.as_ref().is_some_and(|nft| matches!(nft.trial, Trial::Passed(_))),
            host: &facts.host,
            kernel: facts.kernel(),
            other_kernel: facts.other_kernel().map(|kernel| kernel.release.as_str()),
            config: &facts.config,
            boot: &facts.boot,
        }
    }

    /// The state of a module. What would prevent loading at the next boot counts even while it is loaded.
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
            if let Some((state, reason)) = self.missing(name) {
                // The modules of this mode are those of the transaction.
                if state == State::Unknown && self.mode == ProxyMode::Nftables && self.trial_passed {
                    return module(State::BuiltIn);
                }
                return why(state, reason);
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
            format!("this is a container ({kind}); kernel modules belong to its host"),
            "run `kpx-prep node install` on the host of this container".to_owned(),
        ))
    }

    /// Why it is missing or unknown.
    fn missing(&self, name: &str) -> Option<(State, Why)> {
        let release = self.host.release.as_deref();
        let Some(kernel) = self.kernel.filter(|kernel| !kernel.is_bare()) else {
            return Some(self.without_folder(name, release.unwrap_or("(none)")));
        };
        if !kernel.files.contains_key(name) {
            if let Some(why) = not_configured(name, kernel) {
                return Some((State::Missing, why));
            }
            if !kernel.knows_builtin && kernel.config.is_none() {
                return Some((State::Unknown, self.cannot_be_told(&kernel.release, "it has no modules.builtin")));
            }
            let detail = format!("kernel {} does not have it", kernel.release);
            let hint = match name.strip_prefix("ip_vs_") {
                Some(scheduler) if !KNOWN_SCHEDULERS.contains(&scheduler) && !NOT_SCHEDULERS.contains(&scheduler) => {
                    format!("unknown scheduler; choose from {}", KNOWN_SCHEDULERS.join(" "))
                }
                _ => packages::hint(self.host, self.mode, &kernel.release),
            };
            return Some((State::Missing, ("not-found", detail, hint)));
        }
        (!kernel.is_indexed(name)).then(|| {
            let detail = format!("its file exists, but {}/modules.dep does not list it", kernel.folder);
            (State::Missing, ("not-indexed", detail, format!("run depmod {}", kernel.release)))
        })
    }

    /// For a kernel without a modules folder, such as the one of a virtual machine that is booted with an external kernel.
    fn without_folder(&self, name: &str, release: &str) -> (State, Why) {
        if let Some(why) = self.kernel.and_then(|kernel| not_configured(name, kernel)) {
            return (State::Missing, why);
        }
        let detail = format!("the running kernel {release} has no modules folder");
        if let Some(other) = self.other_kernel {
            let hint = format!("reboot into kernel {other}; the modules of the running kernel were removed");
            return (State::Missing, ("no-modules-folder", detail, hint));
        }
        let configured = self.kernel.and_then(|kernel| kernel.config.as_ref());
        // If ip_vs were built in, /proc/net/ip_vs would exist; without ip_vs there are no schedulers either.
        let has_ip_vs = self.kernel.is_some_and(|kernel| kernel.builtin.contains("ip_vs"));
        if configured.is_none() && (has_ip_vs || !self.host.sees_network || !name.starts_with("ip_vs")) {
            return (State::Unknown, self.cannot_be_told(release, "it has no modules folder"));
        }
        let detail = match configured {
            Some(config) => format!("{detail}, and it is not built in ({})", config.place),
            None => format!("{detail}, and without /proc/net/ip_vs IPVS is not built in"),
        };
        let hint = format!(
            "install the modules of kernel {release} from its source (vendor or hypervisor), or boot a kernel of this distribution"
        );
        (State::Missing, ("no-modules-folder", detail, hint))
    }

    fn cannot_be_told(&self, release: &str, why: &str) -> Why {
        let running = self.host.release.as_deref() == Some(release);
        let detail = format!("unknown whether kernel {release} has it: {why}, and its configuration is not readable");
        let hint = format!(
            "{}copy its configuration to /boot/config-{release} and run this command again",
            if running { "run modprobe configs to get /proc/config.gz, or " } else { "" }
        );
        ("cannot-be-told", detail, hint)
    }

    fn blocked_at_boot(&self, name: &str, loaded: bool) -> Option<Why> {
        let now = if loaded { " (it is loaded now, but would not be loaded after a reboot)" } else { "" };
        let from = |reason, what: &str, rule: &Rule| {
            let detail = format!("{what}: `{}` in {}{now}", rule.text, rule.place);
            let hint = match rule.place.split_once(" line ") {
                Some((file, _)) => format!("remove that line from {file}"),
                None => "remove it from the kernel's command line (in the boot loader's configuration), then reboot"
                    .to_owned(),
            };
            (reason, detail, hint)
        };
        if let Some(rule) = self.config.refused_by_kernel.get(name) {
            return Some(from("kernel-command-line", "the kernel refuses it", rule));
        }
        if let Some(rule) = self.config.overridden.get(name) {
            return Some(from("install-override", "an `install` rule prevents modprobe from loading it", rule));
        }
        // The script passes module names to modprobe, which then ignores a blacklist.
        if self.boot.runs_scripts() {
            return None;
        }
        self.config.blacklisted.get(name).map(|rule| from("blacklist", "it would not be loaded at boot", rule))
    }

    fn blocked_now(&self, name: &str) -> Option<Why> {
        if self.host.modules_disabled {
            let detail =
                "kernel.modules_disabled is 1; the kernel does not load modules until the next boot".to_owned();
            let hint =
                "find what sets kernel.modules_disabled (/etc/sysctl.d), load the modules before that, and reboot";
            return Some(("modules-disabled", detail, hint.to_owned()));
        }
        let level = self.host.lockdown.as_ref()?;
        self.kernel?.unsigned.contains(name).then(|| {
            let detail = format!("kernel lockdown ({level}) allows only signed modules, and its file is not signed");
            ("lockdown", detail, "install the distribution's signed kernel modules, or sign this one".to_owned())
        })
    }
}

type Why = (&'static str, String, String);

/// The kernel was built without it, so no package provides it.
fn not_configured(name: &str, kernel: &Kernel) -> Option<Why> {
    let config = kernel.config.as_ref().filter(|config| config.module(name) == Some(Setting::Off))?;
    let whole = name.starts_with("ip_vs") && config.option("IP_VS") == Setting::Off;
    let option = if whole { "IP_VS".to_owned() } else { nftables::kernel_option(name) };
    let known = name.strip_prefix("ip_vs_").is_none_or(|scheduler| KNOWN_SCHEDULERS.contains(&scheduler));
    known.then(|| {
        let detail =
            format!("kernel {} was built without it: CONFIG_{option} is not set ({})", kernel.release, config.place);
        ("not-configured", detail, format!("boot a kernel built with CONFIG_{option}"))
    })
}
