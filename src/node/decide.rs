//! From what was observed and what was asked for to what is to be done, and what stands against it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::boot::{Boot, BootList, Mechanism};
use super::boot_files::{self, BootFile, Existing, LIST, SCRIPT};
use super::classic_script;
use super::facts::Facts;
use super::immutable::{UNKNOWN_WAY, own_way};
use super::kernel::Kernel;
use super::kernel_config::Setting;
use super::modules::{BASIC_SCHEDULERS, LAST_WITH_LIST, Module, State, Wish};
use super::mounts::Lasting;
use super::packages;
use crate::report::{Finding, Level};

/// What to do with one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// As wanted already.
    Keep,
    /// Not there.
    Create,
    /// Ours, with other content or mode.
    Update,
    /// Somebody else's: stays.
    KeepForeign,
    /// Somebody else's, to be replaced on request after copying it.
    ReplaceForeign,
    /// Can be neither replaced nor written through.
    InTheWay,
}

impl FileAction {
    /// Whether the file gets written.
    pub fn writes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::ReplaceForeign)
    }
}

/// One file with what is to happen to it.
#[derive(Clone, Debug)]
pub struct FileDecision {
    /// As it is to be.
    pub file: BootFile,
    /// What to do.
    pub action: FileAction,
}

/// What is to be done on a node.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Every wanted module with its state.
    pub modules: Vec<Module>,
    /// Every file with what is to happen to it.
    pub files: Vec<FileDecision>,
    /// What was found; errors stand against going on.
    pub findings: Vec<Finding>,
}

impl Decision {
    /// Whether something stands against it.
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }

    /// The modules to hand to modprobe.
    pub fn to_load(&self) -> Vec<&str> {
        self.modules.iter().filter(|m| m.state == State::Loadable).map(|m| m.name.as_str()).collect()
    }
}

/// The finding for a kernel whose IPVS knows IPv4 only.
pub const WITHOUT_IPV6: &str = "ipvs-without-ipv6";

/// The finding for modules that only some versions of kube-proxy ask for, where the version is not known.
pub const KUBERNETES_VERSION: &str = "kubernetes-version";

/// What is to be done so that the node is prepared. `force` replaces files that somebody else wrote.
pub fn decide(facts: &Facts, wish: &Wish, force: bool) -> Decision {
    let kernel = facts.kernel();
    let wanted = wish.modules(kernel, &facts.host.loaded);
    let around = facts.surroundings();
    let mut decision = Decision {
        modules: wanted.iter().map(|(name, mandatory)| around.module(name, *mandatory)).collect(),
        ..Decision::default()
    };
    decision.findings.extend(module_findings(&decision.modules));
    decision.findings.extend(version_finding(wish, &decision.modules));
    decision.findings.extend(kernel.into_iter().flat_map(config_findings));
    decision.findings.extend(kernel.and_then(|kernel| unseen_finding(wish, kernel, &decision.modules)));
    decision.findings.extend(unreadable_findings(facts));
    decision.findings.extend(doubtful_findings(&facts.boot));
    if let Some(kind) = &facts.host.container {
        if !decision.is_blocked() {
            decision.findings.push(Finding {
                level: Level::Warning,
                id: "container",
                message: format!(
                    "this is a container ({kind}): its modules are its host's, and nothing is written here"
                ),
                hint: Some("make them permanent there: kpx-prep node install on the machine that runs it".to_owned()),
            });
        }
        return decision;
    }
    let nothing = Existing::Absent { missing: Vec::new() };
    for mut file in boot_files::wanted(wish, &wanted, &facts.kernels, facts.host.network_manager) {
        let existing = facts.existing.get(file.path).unwrap_or(&nothing);
        file.note_folders(existing, &facts.unfinished_folders);
        let action = match existing {
            Existing::Absent { .. } => FileAction::Create,
            Existing::File { content, mode } if *content == file.content && *mode == file.mode => FileAction::Keep,
            Existing::File { .. } if existing.is_ours() => FileAction::Update,
            Existing::File { .. } if force => FileAction::ReplaceForeign,
            Existing::File { content, mode } => {
                decision.findings.push(foreign_file(&file, content, *mode, kernel, &facts.boot));
                FileAction::KeepForeign
            }
            Existing::InTheWay(why) => {
                decision.findings.push(Finding {
                    level: Level::Error,
                    id: "in-the-way",
                    message: format!("{} cannot be written: {why}", file.path),
                    hint: Some("take it away or put a regular file in its place".to_owned()),
                });
                FileAction::InTheWay
            }
        };
        decision.files.push(FileDecision { file, action });
    }
    decision.findings.extend(read_only_finding(facts, &decision.files));
    decision.findings.extend(declarative_finding(facts, &decision.files));
    let boot = boot_after(&facts.boot, &decision.files);
    decision.findings.extend(boot_findings(facts, &boot, &decision.modules));
    decision
}

/// Missing and blocked modules, one finding for all that share a reason.
fn module_findings(modules: &[Module]) -> Vec<Finding> {
    /// Mandatory ones first; then by reason and hint.
    type Group<'a> = (bool, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Group<'_>, Vec<&Module>> = BTreeMap::new();
    for module in modules.iter().filter(|m| matches!(m.state, State::Missing | State::Blocked | State::Unknown)) {
        groups.entry((!module.mandatory, module.reason, module.hint.as_deref())).or_default().push(module);
    }
    let finding = |((optional, _, hint), group): (Group<'_>, Vec<&Module>)| {
        let names: Vec<&str> = group.iter().map(|module| module.name.as_str()).collect();
        let detail = group.first().and_then(|module| module.detail.as_deref()).unwrap_or_default();
        Finding {
            level: if optional { Level::Warning } else { Level::Error },
            id: match group.first().map(|module| module.state) {
                Some(State::Missing) => "module-missing",
                Some(State::Unknown) => "module-unknown",
                _ => "module-blocked",
            },
            message: format!("{}: {detail}", names.join(" ")),
            hint: hint.map(str::to_owned),
        }
    };
    // What holds for mandatory ones is said once.
    let detail = |group: &[&Module]| group.first().and_then(|module| module.detail.clone());
    let mandatory = groups.iter().filter(|((optional, _, _), _)| !optional);
    let said: BTreeSet<_> = mandatory.map(|((_, _, hint), group)| (*hint, detail(group))).collect();
    let news = |((optional, _, hint), group): &(&Group<'_>, &Vec<&Module>)| {
        !optional || !said.contains(&(*hint, detail(group)))
    };
    groups.iter().filter(news).map(|(key, group)| finding((*key, group.clone()))).collect()
}

/// What kube-proxy of an unknown version may ask for, and would not find.
fn version_finding(wish: &Wish, modules: &[Module]) -> Option<Finding> {
    let is_lacking = |module: &&Module| !matches!(module.state, State::Loaded | State::BuiltIn | State::Loadable);
    // No version can run ipvs without the mandatory ones.
    if wish.minor.is_some() || modules.iter().filter(|module| module.mandatory).any(|module| is_lacking(&module)) {
        return None;
    }
    let basic = modules.iter().filter(|module| BASIC_SCHEDULERS.contains(&module.name.as_str()));
    let lacking: Vec<&str> = basic.filter(is_lacking).map(|module| module.name.as_str()).collect();
    (!lacking.is_empty()).then(|| Finding {
        level: Level::Warning,
        id: KUBERNETES_VERSION,
        message: format!(
            "{} cannot be used, and the version of Kubernetes is not known: without them kube-proxy up to 1.25 silently runs iptables instead of ipvs, and 1.26 exits",
            lacking.join(" ")
        ),
        hint: Some("give --kubernetes-version vX.Y: kube-proxy from 1.27 on does not need them".to_owned()),
    })
}

/// Parts of the kernel that kube-proxy up to 1.26 does not see: it looks into `modules.builtin`, and then asks modprobe
/// (pkg/proxy/ipvs/proxier.go, `GetModules`).
fn unseen_finding(wish: &Wish, kernel: &Kernel, modules: &[Module]) -> Option<Finding> {
    let unseen = modules.iter().filter(|module| module.state == State::BuiltIn && module.name.starts_with("ip_vs"));
    let names: Vec<&str> = unseen.map(|module| module.name.as_str()).collect();
    let looks = wish.minor.is_none_or(|minor| minor <= LAST_WITH_LIST);
    (looks && !kernel.knows_builtin && !names.is_empty()).then(|| Finding {
        level: if wish.minor.is_some() { Level::Error } else { Level::Warning },
        id: "modules-builtin",
        message: format!(
            "{}: part of kernel {}, and no modules.builtin says so: kube-proxy up to 1.26 looks there, and takes them for missing",
            names.join(" "),
            kernel.release
        ),
        hint: Some(if wish.minor.is_some() {
            format!("put that kernel's modules.builtin at /lib/modules/{}, or use Kubernetes 1.27 or newer", kernel.release)
        } else {
            "give --kubernetes-version vX.Y: kube-proxy from 1.27 on tries IPVS itself".to_owned()
        }),
    })
}

/// Options of the kernel's configuration without which kube-proxy's ipvs mode fails although all modules are there.
fn config_findings(kernel: &Kernel) -> Vec<Finding> {
    // Where IPVS itself is off, that is said already.
    let Some(config) = kernel.config.as_ref().filter(|config| config.option("IP_VS") != Setting::Off) else {
        return Vec::new();
    };
    // pkg/proxy/ipvs/proxier.go: NewProxier sets net.ipv4.vs.conntrack, and ends with an error where it cannot.
    // The address families and protocols are those of net/netfilter/ipvs/Kconfig.
    let options = [
        (Level::Error, "IP_VS_NFCT", "kube-proxy cannot set net.ipv4.vs.conntrack, and exits"),
        (Level::Error, "IP_VS_PROTO_TCP", "IPVS cannot balance TCP"),
        (Level::Error, "IP_VS_PROTO_UDP", "IPVS cannot balance UDP, so cluster DNS fails"),
        (
            Level::Warning,
            "IP_VS_IPV6",
            "in a dual-stack or IPv6 cluster kube-proxy cannot serve IPv6 Services on this node",
        ),
    ];
    let off = options.into_iter().filter(|(_, name, _)| config.option(name) == Setting::Off);
    off.map(|(level, name, what)| Finding {
        level,
        id: if name == "IP_VS_IPV6" { WITHOUT_IPV6 } else { "kernel-config" },
        message: format!("kernel {} was built without CONFIG_{name} ({}): {what}", kernel.release, config.place),
        hint: Some(format!("boot a kernel that was built with CONFIG_{name}")),
    })
    .collect()
}

/// Systems that are built from a configuration may be set up to lose everything else at a boot, in ways that do not show.
fn declarative_finding(facts: &Facts, files: &[FileDecision]) -> Option<Finding> {
    let is_declarative = matches!(facts.host.distro.as_str(), "nixos" | "guix");
    let writes = files.iter().any(|file| file.action.writes());
    let lasts = facts.boot.lasting.is_empty();
    (is_declarative && writes && lasts).then(|| Finding {
        level: Level::Warning,
        id: "not-in-configuration",
        message:
            "what kpx-prep writes is not part of this system's configuration: where that empties / at boot, it goes"
                .to_owned(),
        hint: own_way(&facts.host),
    })
}

/// Whether a file that is to be written lies where nothing can be written.
fn read_only_finding(facts: &Facts, files: &[FileDecision]) -> Option<Finding> {
    files.iter().filter(|file| file.action.writes()).find_map(|file| {
        let Some(Lasting::ReadOnly(why)) = facts.boot.lasting.get(file.file.path) else { return None };
        let hint = own_way(&facts.host).unwrap_or_else(|| "remount it, or bake the files into the image".to_owned());
        Some(Finding {
            level: Level::Error,
            id: "read-only",
            message: format!("{} cannot be written: {why}", file.file.path),
            hint: Some(hint),
        })
    })
}

/// Files that may say something about modules and could not be read.
fn unreadable_findings(facts: &Facts) -> impl Iterator<Item = Finding> {
    let all = facts.config.unreadable.iter().chain(&facts.boot.unreadable);
    // Of those that install writes it says more.
    all.filter(|(path, _)| !boot_files::PATHS.contains(&path.as_str())).map(|(path, why)| Finding {
        level: Level::Warning,
        id: "unreadable-file",
        message: format!("{path} cannot be read: {why}; what it says about kernel modules is not known"),
        hint: Some("make it a regular file that can be read, or remove it".to_owned()),
    })
}

/// Files whose author may think that they load something.
fn doubtful_findings(boot: &Boot) -> impl Iterator<Item = Finding> {
    boot.doubtful.iter().filter(|(path, _)| *path != LIST).map(|(path, why)| Finding {
        level: Level::Warning,
        id: "boot-file-doubtful",
        message: format!("{path} does not count: {why}"),
        hint: Some("kpx-prep node install writes a file that does".to_owned()),
    })
}

fn foreign_file(file: &BootFile, content: &str, mode: u32, kernel: Option<&Kernel>, boot: &Boot) -> Finding {
    let faults = match file.path {
        SCRIPT => classic_script::faults(content, mode, kernel, boot.runs_scripts()),
        _ => Vec::new(),
    };
    let faults = if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) };
    Finding {
        level: Level::Warning,
        id: "foreign-file",
        message: format!("{} was not written by kpx-prep and is kept{faults}", file.path),
        hint: Some("kpx-prep node install --force replaces it and keeps a copy beside it".to_owned()),
    }
}

/// What the host will honour once the files are as decided.
fn boot_after(boot: &Boot, files: &[FileDecision]) -> Boot {
    let mut after = boot.clone();
    for decision in files.iter().filter(|decision| decision.action.writes()) {
        let path = decision.file.path;
        let modules = boot.loaded_by(path, &decision.file.content);
        after.lists.retain(|list| list.path != path);
        after.gone.retain(|(gone, _)| gone != path);
        match boot.lasting.get(path) {
            Some(Lasting::No(why) | Lasting::Unknown(why)) => after.gone.push((path.to_owned(), why.clone())),
            _ if !modules.is_empty() => after.lists.push(BootList { path: path.to_owned(), modules }),
            _ => {}
        }
    }
    after
}

/// Whether the mandatory modules come back at the next boot, of the running kernel or of another installed one.
pub fn boot_findings(facts: &Facts, boot: &Boot, modules: &[Module]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let needs_loading = |m: &&Module| m.mandatory && m.state != State::BuiltIn;
    if boot.vouched {
        let words: Vec<&str> = boot.mechanisms.iter().copied().map(Mechanism::describe).collect();
        findings.push(Finding {
            level: Level::Info,
            id: "boot-mechanism",
            message: format!("the operator vouches that {} at boot; that was not verified", words.join(" and ")),
            hint: None,
        });
    }
    if let Some((why, hint)) = &boot.why_none
        && boot.mechanisms.is_empty()
        && modules.iter().any(|m| needs_loading(&m))
    {
        findings.push(Finding {
            level: Level::Error,
            id: "boot-mechanism",
            message: format!("{why}: the modules would not come back after a reboot"),
            hint: Some(hint.clone()),
        });
        return findings;
    }
    let Some(kernel) = facts.kernel() else { return findings };
    let mandatory: Vec<&str> = modules.iter().filter(|m| m.mandatory).map(|m| m.name.as_str()).collect();
    let lacking = |other: &&Kernel| {
        // Conntrack's name differs by kernel; what counts there is that one of the two exists.
        let has = |name: &str| other.has(name) || (name.starts_with("nf_conntrack") && other.has("nf_conntrack"));
        other.release != kernel.release && mandatory.iter().any(|name| !has(name))
    };
    for other in facts.kernels.values().filter(lacking) {
        findings.push(Finding {
            level: Level::Warning,
            id: "kernel-lacks-modules",
            message: format!(
                "kernel {} is installed too and lacks mandatory modules: booted into it, this node could not run IPVS",
                other.release
            ),
            hint: Some(format!("{}; or remove that kernel", packages::hint(&facts.host, &other.release))),
        });
    }
    if boot.is_elsewhere() {
        return findings;
    }
    let kernels_lack = findings.iter().any(|finding| finding.id == "kernel-lacks-modules");
    let uncovered: BTreeSet<&str> = modules
        .iter()
        .filter(|m| m.mandatory && matches!(m.state, State::Loaded | State::Loadable))
        .map(|m| m.name.as_str())
        .filter(|name| boot.covered_by(name, Some(kernel)).is_none())
        .collect();
    if !uncovered.is_empty() {
        let names = uncovered.into_iter().collect::<Vec<_>>().join(" ");
        let ours = [(LIST, boot.reads_lists()), (SCRIPT, boot.runs_scripts())];
        let lost =
            ours.into_iter().filter(|(_, honoured)| *honoured).find_map(|(path, _)| match boot.lasting.get(path) {
                Some(Lasting::No(why)) => Some((path, "does", why)),
                Some(Lasting::Unknown(why)) => Some((path, "may", why)),
                _ => None,
            });
        let gone = || boot.gone.first().map(|(path, why)| (path.as_str(), "may", why));
        if let Some((path, may, why)) = lost.or_else(gone) {
            let way = own_way(&facts.host).unwrap_or_else(|| UNKNOWN_WAY.to_owned());
            findings.push(Finding {
                level: Level::Error,
                id: "boot-files-lost",
                message: format!(
                    "{names}: not loaded at the next boot, because {path} {may} not outlive this one: {why}"
                ),
                hint: Some(way),
            });
            return findings;
        }
        let mechanisms: Vec<&str> = boot.mechanisms.iter().copied().map(Mechanism::describe).collect();
        findings.push(Finding {
            level: Level::Error,
            id: "boot-coverage",
            message: format!("{names}: not loaded at the next boot ({})", mechanisms.join("; ")),
            hint: Some(if kernels_lack {
                "make every installed kernel have the modules, or remove the kernel that lacks them".to_owned()
            } else {
                "kpx-prep node install; with --force where it keeps a file of somebody else's".to_owned()
            }),
        });
    }
    findings
}
