//! From what was observed and what was asked for to what is to be done, and what stands against it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::boot::{Boot, BootList, Mechanism, names_in_list, names_in_script};
use super::boot_files::{self, BootFile, Existing, LIST, SCRIPT};
use super::classic_script;
use super::facts::Facts;
use super::kernel::Kernel;
use super::modules::{Module, State, Wish};
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
    decision.findings.extend(unreadable_findings(facts));
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
    let boot = boot_after(&facts.boot, &decision.files);
    decision.findings.extend(boot_findings(facts, &boot, &decision.modules));
    decision
}

/// Missing and blocked modules, one finding for all that share a reason.
fn module_findings(modules: &[Module]) -> Vec<Finding> {
    /// Mandatory ones first; then by reason and hint.
    type Group<'a> = (bool, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Group<'_>, Vec<&Module>> = BTreeMap::new();
    for module in modules.iter().filter(|m| matches!(m.state, State::Missing | State::Blocked)) {
        groups.entry((!module.mandatory, module.reason, module.hint.as_deref())).or_default().push(module);
    }
    let finding = |((optional, _, hint), group): (Group<'_>, Vec<&Module>)| {
        let names: Vec<&str> = group.iter().map(|module| module.name.as_str()).collect();
        let detail = group.first().and_then(|module| module.detail.as_deref()).unwrap_or_default();
        let missing = group.first().is_some_and(|module| module.state == State::Missing);
        Finding {
            level: if optional { Level::Warning } else { Level::Error },
            id: if missing { "module-missing" } else { "module-blocked" },
            message: format!("{}: {detail}", names.join(" ")),
            hint: hint.map(str::to_owned),
        }
    };
    groups.into_iter().map(finding).collect()
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
        let (honoured, modules) = match decision.file.path {
            LIST => (boot.reads_lists(), names_in_list(&decision.file.content)),
            SCRIPT => (boot.runs_scripts(), names_in_script(&decision.file.content)),
            _ => continue,
        };
        after.lists.retain(|list| list.path != decision.file.path);
        if honoured {
            after.lists.push(BootList { path: decision.file.path.to_owned(), modules });
        }
    }
    after
}

/// Whether the mandatory modules come back at the next boot, of the running kernel or of another installed one.
pub fn boot_findings(facts: &Facts, boot: &Boot, modules: &[Module]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some((why, hint)) = &boot.why_none
        && boot.mechanisms.is_empty()
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
    let uncovered: BTreeSet<&str> = modules
        .iter()
        .filter(|m| m.mandatory && matches!(m.state, State::Loaded | State::Loadable))
        .map(|m| m.name.as_str())
        .filter(|name| boot.covered_by(name, kernel).is_none())
        .collect();
    if !uncovered.is_empty() {
        let names = uncovered.into_iter().collect::<Vec<_>>().join(" ");
        let mechanisms: Vec<&str> = boot.mechanisms.iter().copied().map(Mechanism::describe).collect();
        findings.push(Finding {
            level: Level::Error,
            id: "boot-coverage",
            message: format!("{names}: not loaded at the next boot ({})", mechanisms.join("; ")),
            hint: Some(if findings.is_empty() {
                "kpx-prep node install; with --force where it keeps a file of somebody else's".to_owned()
            } else {
                "make every installed kernel have the modules, or remove the kernel that lacks them".to_owned()
            }),
        });
    }
    findings
}
