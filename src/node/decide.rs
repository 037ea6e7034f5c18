//! From what was observed and what was asked for to what is to be done, and what stands against it. Pure.

use super::boot::{Boot, BootList};
use super::boot_files::{self, BootFile, Existing, SCRIPT};
use super::boot_findings::{boot_findings, declarative_finding, doubtful_findings, read_only_finding};
use super::classic_script;
use super::facts::Facts;
use super::file_decision::{FileAction, FileDecision};
use super::kernel::Kernel;
use super::module_findings::{config_findings, module_findings, unseen_finding, version_finding};
use super::modules::{Module, State};
use super::mounts::Lasting;
use super::wish::Wish;
use crate::report::{Finding, Level};

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
            Existing::File { content, mode }
                if boot_files::does_the_same(content, &file.content) && *mode == file.mode =>
            {
                FileAction::Keep
            }
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
