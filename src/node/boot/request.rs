//! Which modules were requested on a node, and which of them kube-proxy requires.

use std::collections::{BTreeMap, BTreeSet};

use super::mechanism::Mechanism;
use crate::mode::{DEFAULT_SCHEDULER, ProxyMode, nftables};
use crate::node::host::Host;
use crate::node::modules::kernel::Kernel;
use crate::node::modules::name::canonical;

/// Files beside the schedulers that are not schedulers.
pub const NOT_SCHEDULERS: [&str; 2] = ["ftp", "pe_sip"];

/// The conntrack module by its name since Linux 4.19 and before. If a kernel has both, both are loaded:
/// kube-proxy up to 1.26 requires the second one by name on older kernels (pkg/util/ipvs/ipvs.go).
const CONNTRACK: [&str; 2] = ["nf_conntrack", "nf_conntrack_ipv4"];

/// Schedulers that kube-proxy up to 1.26 requires regardless of the configured one (pkg/util/ipvs/ipvs.go,
/// `GetRequiredIPVSModules`). Without one of them it silently falls back to iptables up to 1.25, and exits in 1.26. From 1.27
/// on it creates a virtual server with the configured scheduler to test whether that works (pkg/proxy/ipvs/supported.go).
pub const BASIC_SCHEDULERS: [&str; 3] = ["ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"];
/// The last minor version that requires all of them.
pub const LAST_WITH_LIST: u32 = 26;

/// The modules of which one must exist for kube-proxy's iptables and ipvs modes: that of the legacy iptables, and the one
/// with which iptables-nft runs the extensions of iptables in nftables.
pub const IPTABLES_MODULES: [&str; 2] = ["ip_tables", "nft_compat"];

/// The requested modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Everything that kube-proxy may use in the mode: for ipvs all of the running kernel's ipvs folder, and conntrack.
    All,
    /// The modules that kube-proxy requires. For ipvs: `ip_vs`, the chosen scheduler and conntrack; up to 1.26, and if its
    /// version is unknown, also rr, wrr and sh.
    Required,
    /// These and the mandatory ones.
    Named(BTreeSet<String>),
}

/// The request for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRequest {
    /// The mode that kube-proxy will run.
    pub mode: ProxyMode,
    /// Which modules.
    pub selection: Selection,
    /// The IPVS scheduler that kube-proxy will use, such as `rr`. Without effect in other modes.
    pub scheduler: String,
    /// The minor version of kube-proxy, if known.
    pub minor: Option<u32>,
    /// The mechanism that loads modules at boot, if the operator named one.
    pub mechanism: Option<Mechanism>,
}

impl Default for NodeRequest {
    fn default() -> Self {
        Self {
            mode: ProxyMode::Ipvs,
            selection: Selection::All,
            scheduler: DEFAULT_SCHEDULER.to_owned(),
            minor: None,
            mechanism: None,
        }
    }
}

impl NodeRequest {
    /// Parses `--mode`, `--modules` and `--scheduler`.
    ///
    /// # Errors
    /// If a name is not valid for a module or scheduler, or the mode has none; the message contains the name and the reason.
    pub fn parse(mode: ProxyMode, modules: &str, scheduler: Option<&str>) -> Result<Self, String> {
        match mode {
            ProxyMode::Nftables if scheduler.is_some() => {
                return Err("--scheduler is for ipvs mode only; nothing was changed".to_owned());
            }
            ProxyMode::Ipvs | ProxyMode::Nftables => {}
            ProxyMode::Iptables => {
                return Err(
                    "--mode iptables: nothing to prepare, the iptables programs load the modules that a rule needs; nothing was changed"
                        .to_owned(),
                );
            }
        }
        let scheduler = scheduler.unwrap_or(DEFAULT_SCHEDULER);
        let plausible =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !plausible(scheduler) {
            return Err(format!("--scheduler {scheduler:?}: not a scheduler name (such as rr, wrr, lc, sh)"));
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
                    return Err(format!("--modules: {bad:?} is not a module name"));
                }
                Selection::Named(names.into_iter().map(canonical).collect())
            }
        };
        Ok(Self { mode, selection, scheduler: canonical(scheduler), minor: None, mechanism: None })
    }

    /// Sets the version and the boot mechanism; values that are not given are taken from `before`.
    #[must_use]
    pub fn with(mut self, minor: Option<u32>, mechanism: Option<Mechanism>, before: Option<&Self>) -> Self {
        self.minor = minor.or_else(|| before.and_then(|before| before.minor));
        self.mechanism = mechanism.or_else(|| before.and_then(|before| before.mechanism));
        self
    }

    /// Whether kube-proxy of that version is known not to require the basic schedulers.
    fn needs_no_list(&self) -> bool {
        self.minor.is_some_and(|minor| minor > LAST_WITH_LIST)
    }

    /// `--modules` as it was given.
    pub fn modules_argument(&self) -> String {
        match &self.selection {
            Selection::All => "all".to_owned(),
            Selection::Required => "required".to_owned(),
            Selection::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
        }
    }

    /// The modules that kube-proxy requires on every kernel in ipvs mode, without conntrack, whose name depends on the kernel.
    pub fn ipvs_mandatory(&self) -> Vec<String> {
        let mut mandatory = vec!["ip_vs".to_owned(), format!("ip_vs_{}", self.scheduler)];
        if self.minor.is_some_and(|minor| minor <= LAST_WITH_LIST) {
            let others = BASIC_SCHEDULERS.iter().filter(|name| !mandatory.iter().any(|own| own == *name));
            mandatory.extend(others.map(|name| (*name).to_owned()).collect::<Vec<_>>());
        }
        mandatory
    }

    /// Every module name to search for outside the ipvs folder.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        match self.mode {
            ProxyMode::Ipvs => {
                names.extend(["ip_vs".to_owned(), format!("ip_vs_{}", self.scheduler)]);
                if !self.needs_no_list() {
                    names.extend(BASIC_SCHEDULERS.map(str::to_owned));
                }
            }
            ProxyMode::Nftables => {
                let all = nftables::MODULES.iter().chain(&nftables::IPV6_MODULES).chain(&IPTABLES_MODULES);
                names.extend(all.map(|name| (*name).to_owned()));
            }
            ProxyMode::Iptables => {}
        }
        if let Selection::Named(more) = &self.selection {
            names.extend(more.iter().cloned());
        }
        names
    }

    /// The modules for `kernel` of `host`, each with whether it is mandatory.
    pub fn modules(&self, kernel: Option<&Kernel>, host: &Host) -> BTreeMap<String, bool> {
        match self.mode {
            ProxyMode::Ipvs => self.ipvs_modules(kernel, &host.loaded),
            ProxyMode::Nftables => self.nftables_modules(host),
            ProxyMode::Iptables => BTreeMap::new(),
        }
    }

    fn nftables_modules(&self, host: &Host) -> BTreeMap<String, bool> {
        let mut wanted = BTreeMap::new();
        if let Selection::Named(names) = &self.selection {
            wanted.extend(names.iter().map(|name| (name.clone(), false)));
        }
        wanted.extend(nftables::MODULES.map(|name| (name.to_owned(), true)));
        if !host.without_ipv6 {
            wanted.extend(nftables::IPV6_MODULES.map(|name| (name.to_owned(), true)));
        }
        wanted
    }

    fn ipvs_modules(&self, kernel: Option<&Kernel>, loaded: &BTreeSet<String>) -> BTreeMap<String, bool> {
        let mut wanted = BTreeMap::new();
        match &self.selection {
            Selection::All => {
                wanted.extend(kernel.into_iter().flat_map(|k| k.ipvs.iter().cloned()).map(|m| (m, false)));
            }
            Selection::Required => {}
            Selection::Named(names) => wanted.extend(names.iter().cloned().map(|m| (m, false))),
        }
        let mut mandatory = self.ipvs_mandatory();
        if self.minor.is_none() {
            // It may be a version that requires them.
            wanted.extend(BASIC_SCHEDULERS.map(|m| (m.to_owned(), false)));
        }
        let there = |name: &&&str| {
            loaded.contains(**name)
                || kernel.is_some_and(|k| k.builtin.contains(**name) || k.files.contains_key(**name))
        };
        let conntrack: Vec<&str> = CONNTRACK.iter().filter(there).copied().collect();
        let conntrack = if conntrack.is_empty() { vec![CONNTRACK[0]] } else { conntrack };
        mandatory.extend(conntrack.into_iter().map(str::to_owned));
        wanted.extend(mandatory.into_iter().map(|name| (name, true)));
        wanted
    }
}
