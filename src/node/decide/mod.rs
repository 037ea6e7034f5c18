//! Decides from the observed state and the request what to do, and what prevents it. Pure.

pub mod boot_findings;
pub mod file;
pub mod module_findings;
pub mod module_state;
pub mod nftables_findings;

use super::boot::files::{BootFile, Existing, SCRIPT};
use super::boot::request::NodeRequest;
use super::boot::{self, Boot, BootList, classic_script};
use super::facts::HostFacts;
use super::host::nft::NftProbe;
use super::modules::kernel::Kernel;
use super::mounts::Lasting;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, finding};
use boot_findings::{boot_findings, declarative_finding, doubtful_findings, read_only_finding};
use file::{FileAction, FileDecision};
use module_findings::{config_findings, module_findings, unseen_finding, version_finding};
use module_state::{Module, ModuleContext, State};
use nftables_findings::nftables_findings;

/// What to do on a node.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Every requested module with its state.
    pub modules: Vec<Module>,
    /// Every file with its action.
    pub files: Vec<FileDecision>,
    /// The findings; an error prevents the installation.
    pub findings: Vec<Finding>,
}

impl Decision {
    /// Whether an error prevents it.
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }

    /// Why the kernel's nftables must not be tried now: the trial would load modules, or they cannot be loaded.
    fn not_yet(&self) -> Option<String> {
        let is_there = |m: &&Module| matches!(m.state, State::Loaded | State::BuiltIn | State::Unknown);
        let waits: Vec<&str> =
            self.modules.iter().filter(|m| m.mandatory && !is_there(m)).map(|m| m.name.as_str()).collect();
        (!waits.is_empty()).then(|| format!("not loaded: {}", waits.join(" ")))
    }

    /// Adds what was decided for another mode.
    pub fn join(&mut self, other: Self) {
        for module in other.modules {
            match self.modules.iter_mut().find(|known| known.name == module.name) {
                Some(known) => known.mandatory |= module.mandatory,
                None => self.modules.push(module),
            }
        }
        self.modules.sort_by(|a, b| a.name.cmp(&b.name));
        self.files.extend(other.files);
        let new = |finding: &Finding| !self.findings.contains(finding);
        let findings: Vec<Finding> = other.findings.into_iter().filter(new).collect();
        self.findings.extend(findings);
    }

    /// The modules to load with modprobe.
    pub fn to_load(&self) -> Vec<&str> {
        self.modules.iter().filter(|m| m.state == State::Loadable).map(|m| m.name.as_str()).collect()
    }
}

/// Asks the `nft` programs of a node, if the mode uses them and no module would be loaded by it.
pub fn ask_nft(facts: &mut HostFacts, request: &NodeRequest, probe: Option<&dyn NftProbe>) {
    match request.mode {
        ProxyMode::Nftables => {}
        ProxyMode::Ipvs | ProxyMode::Iptables => return,
    }
    let families: &[&'static str] = if facts.host.without_ipv6 { &["ip"] } else { &["ip", "ip6"] };
    facts.nft = probe.map(|probe| probe.probe(families, decide(facts, request, false).not_yet()));
}

/// Decides what to do to prepare the node. `force` replaces files that kpx-prep did not write.
pub fn decide(facts: &HostFacts, request: &NodeRequest, force: bool) -> Decision {
    let kernel = facts.kernel();
    let wanted = request.modules(kernel, &facts.host);
    let context = ModuleContext::of(facts, request.mode);
    let mut decision = Decision {
        modules: wanted.iter().map(|(name, mandatory)| context.module(name, *mandatory)).collect(),
        ..Decision::default()
    };
    decision.findings.extend(module_findings(&decision.modules));
    match request.mode {
        ProxyMode::Ipvs => {
            decision.findings.extend(version_finding(request, &decision.modules));
            decision.findings.extend(kernel.into_iter().flat_map(config_findings));
            decision.findings.extend(kernel.and_then(|kernel| unseen_finding(request, kernel, &decision.modules)));
        }
        ProxyMode::Nftables => decision.findings.extend(nftables_findings(facts)),
        ProxyMode::Iptables => {}
    }
    decision.findings.extend(unreadable_findings(facts));
    decision.findings.extend(doubtful_findings(&facts.boot));
    if let Some(kind) = &facts.host.container {
        if !decision.is_blocked() {
            decision.findings.push(finding(
                Level::Warning,
                "container",
                format!("this is a container ({kind}); kernel modules belong to its host, so nothing is written here"),
                "run `kpx-prep node install` on the host",
            ));
        }
        return decision;
    }
    let nothing = Existing::Absent { missing: Vec::new() };
    // A folder that was created for a file of another mode is removed with the last file in it.
    let mut made = facts.unfinished_folders.clone();
    made.extend(facts.existing.iter().flat_map(|(path, existing)| existing.folders_made(path)));
    let only_scripts = facts.boot.runs_scripts() && !facts.boot.reads_lists();
    for mut file in boot::files::wanted(request, &wanted, &facts.kernels, facts.host.network_manager, only_scripts) {
        let existing = facts.existing.get(file.path).unwrap_or(&nothing);
        file.note_folders(existing, &made);
        let action = match existing {
            Existing::Absent { .. } => FileAction::Create,
            Existing::File { content, mode }
                if boot::files::does_the_same(content, &file.content) && *mode == file.mode =>
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
                decision.findings.push(finding(
                    Level::Error,
                    "in-the-way",
                    format!("{} cannot be written: {why}", file.path),
                    "remove it or replace it with a regular file",
                ));
                FileAction::InTheWay
            }
        };
        decision.files.push(FileDecision { file, action });
    }
    decision.findings.extend(read_only_finding(facts, &decision.files));
    decision.findings.extend(declarative_finding(facts, &decision.files));
    let boot = boot_after(&facts.boot, &decision.files);
    decision.findings.extend(boot_findings(facts, request.mode, &boot, &decision.modules));
    decision
}

/// Files that may concern modules and could not be read.
fn unreadable_findings(facts: &HostFacts) -> impl Iterator<Item = Finding> {
    let all = facts.config.unreadable.iter().chain(&facts.boot.unreadable);
    // Files that install writes have findings of their own.
    all.filter(|(path, _)| !boot::files::PATHS.contains(&path.as_str())).map(|(path, why)| {
        finding(
            Level::Warning,
            "unreadable-file",
            format!("{path} cannot be read: {why}; its effect on kernel modules is unknown"),
            "make it a readable regular file, or remove it",
        )
    })
}

fn foreign_file(file: &BootFile, content: &str, mode: u32, kernel: Option<&Kernel>, boot: &Boot) -> Finding {
    let faults = match file.path {
        SCRIPT => classic_script::faults(content, mode, kernel, boot.runs_scripts()),
        _ => Vec::new(),
    };
    let faults = if faults.is_empty() { String::new() } else { format!(": {}", faults.join("; ")) };
    finding(
        Level::Warning,
        "foreign-file",
        format!("{} was not written by kpx-prep; kept{faults}", file.path),
        "to replace it, keeping a backup, run `kpx-prep node install --force`",
    )
}

/// What will load modules at boot once the files are installed.
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
