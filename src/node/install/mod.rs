//! `node install`: write the files, load the modules and verify them; on failure, restore the previous state.

pub mod network_manager;
pub mod transaction;
pub mod undo;

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::boot::files::NETWORK_MANAGER;
use super::boot::request::NodeRequest;
use super::decide::file::{FileAction, FileDecision};
use super::decide::module_state::{ModuleContext, State};
use super::decide::nftables_findings::of_programs;
use super::decide::{Decision, ask_nft, decide};
use super::facts::HostFacts;
use super::host::nft::NftProbe;
use super::lock::NodeLock;
use super::modules::modprobe::Modprobe;
use super::report::{FileLine, NOT_UNDONE, NodeReport, Outcome, file_line};
use super::root::Root;
use super::{boot, host};
use crate::exit_code::Exit;
use crate::report::{Level, finding};
use transaction::{Transaction, remove_temporary};
use undo::Undone;

/// Options of `node install`.
#[derive(Clone, Copy, Debug)]
pub struct InstallOptions {
    /// Load the modules now.
    pub load: bool,
    /// Only report what would be done.
    pub dry_run: bool,
    /// Replace files that kpx-prep did not write, keeping a backup.
    pub force: bool,
}

/// Prepares a node. `probe`: the `nft` programs to ask in nftables mode, if modules are loaded.
///
/// # Errors
/// If the node cannot be inspected, a file cannot be written, or modprobe cannot be run; files written before are restored.
/// A module that cannot be loaded is not an error but a report with [`Outcome::Failed`].
pub fn install(
    root: &Root,
    request: &NodeRequest,
    options: InstallOptions,
    modprobe: &dyn Modprobe,
    probe: Option<&dyn NftProbe>,
) -> anyhow::Result<(NodeReport, Exit)> {
    let mut lock = if options.dry_run { None } else { Some(NodeLock::take(root)?) };
    let existing = boot::existing::observe(root)?;
    // Version and boot mechanism are kept as recorded before.
    let request = &request.clone().remembering(&existing);
    let mut facts = HostFacts::observe(root, existing, request)?;
    facts.unfinished_folders = lock.as_ref().map(|lock| lock.unfinished().clone()).unwrap_or_default();
    let probe = probe.filter(|_| options.load);
    ask_nft(&mut facts, request, probe);
    let mut decision = decide(&facts, request, options.force);
    let lines = |decision: &Decision, done: bool| -> Vec<FileLine> {
        decision.files.iter().map(|f| file_line(f.file.path, f.action, done)).collect()
    };

    if decision.is_blocked() {
        // Something in a file's place is not a failed check of the node but a failed installation.
        let in_the_way = decision.files.iter().any(|file| file.action == FileAction::InTheWay);
        let exit = if in_the_way { Exit::Failed } else { Exit::CheckSaysNo };
        let files = lines(&decision, false);
        return Ok((NodeReport::new(root, &facts, &[request.mode], Outcome::NotPrepared, decision, files), exit));
    }
    let writes = decision.files.iter().any(|file| file.action.writes());
    let loads = options.load && !decision.to_load().is_empty();
    let Some(lock) = lock.as_mut().filter(|_| writes || loads) else {
        if let Some(lock) = &mut lock {
            tidy(root, &decision, lock);
        }
        let outcome = if writes || loads { Outcome::WouldPrepare } else { Outcome::AlreadyPrepared };
        let files = if options.dry_run { would_be(&decision) } else { lines(&decision, true) };
        return Ok((NodeReport::new(root, &facts, &[request.mode], outcome, decision, files), Exit::Done));
    };

    lock.held()?;
    lock.note(&folders_to_make(&decision))?;
    let mut transaction = Transaction::new(root, facts.host.selinux);
    let mut files = lines(&decision, true);
    if let Err(error) = write_files(root, &mut transaction, &decision, &mut files) {
        if transaction.is_undone() {
            lock.settle();
        }
        return Err(error);
    }
    if loads {
        let said = match modprobe.load(&decision.to_load()) {
            Ok(said) => said,
            Err(error) => {
                let undone = undo(&mut transaction, lock);
                return Err(
                    anyhow!("{error}").context(format!("running modprobe failed; {undone}; no module was loaded"))
                );
            }
        };
        facts.host.loaded = match host::loaded_modules(root) {
            Ok(loaded) => loaded,
            Err(error) => {
                let undone = undo(&mut transaction, lock);
                return Err(error.context(format!("after loading the modules, which stay loaded; {undone}")));
            }
        };
        let not_loaded = after_loading(&facts, request, &mut decision, &said);
        let refused = !not_loaded && after_asking(&mut facts, request, &mut decision, probe);
        if not_loaded || refused {
            let undone = undo(&mut transaction, lock);
            let files = lines(&decision, false);
            decision.findings.extend(undone.failures.into_iter().map(|message| {
                finding(Level::Error, NOT_UNDONE, message, "run `kpx-prep node remove` once the cause is fixed")
            }));
            return Ok((
                NodeReport::new(root, &facts, &[request.mode], Outcome::Failed, decision, files),
                Exit::Failed,
            ));
        }
    }
    decision.findings.extend(transaction.commit().into_iter().map(|message| {
        finding(Level::Warning, "leftover", message, "`kpx-prep node install` removes it once the cause is fixed")
    }));
    lock.settle();
    let wrote = |path| decision.files.iter().any(|file| file.file.path == path && file.action.writes());
    if wrote(NETWORK_MANAGER) {
        decision.findings.extend(network_manager::reload(root));
    }
    Ok((NodeReport::new(root, &facts, &[request.mode], Outcome::Prepared, decision, files), Exit::Done))
}

fn write_files(
    root: &Root,
    transaction: &mut Transaction<'_>,
    decision: &Decision,
    files: &mut [FileLine],
) -> anyhow::Result<()> {
    for (decision, line) in decision.files.iter().zip(files).filter(|(decision, _)| decision.action.writes()) {
        if decision.action == FileAction::ReplaceForeign {
            let copy = keep_copy(root, transaction, decision.file.path)?;
            line.detail = Some(format!("the previous file is saved as {copy}"));
        }
        transaction.write(decision.file.path, decision.file.content.as_bytes(), decision.file.mode)?;
    }
    Ok(())
}

fn would_be(decision: &Decision) -> Vec<FileLine> {
    let line = |file: &FileDecision| {
        let state = match file.action {
            FileAction::Create => "would be written",
            FileAction::Update => "would be updated",
            FileAction::ReplaceForeign => "would be replaced",
            other => return file_line(file.file.path, other, false),
        };
        FileLine { path: file.file.path.to_owned(), state, detail: None }
    };
    decision.files.iter().map(line).collect()
}

/// Verifies in `/proc/modules` what modprobe loaded. Returns whether a mandatory module is missing.
fn after_loading(facts: &HostFacts, request: &NodeRequest, decision: &mut Decision, said: &str) -> bool {
    let context = ModuleContext::of(facts, request.mode);
    let mut failed = false;
    for module in decision.modules.iter_mut().filter(|module| module.state == State::Loadable) {
        let name = module.name.clone();
        *module = context.module(&name, module.mandatory);
        if module.state == State::Loaded {
            continue;
        }
        failed |= module.mandatory;
        let about: Vec<&str> = said.lines().filter(|line| line.contains(&name)).map(str::trim).collect();
        let about = if about.is_empty() { "modprobe printed no reason".to_owned() } else { about.join("; ") };
        decision.findings.push(finding(
            if module.mandatory { Level::Error } else { Level::Warning },
            "load-failed",
            format!("{name} is not in /proc/modules after modprobe: {about}"),
            format!("modprobe -v {name}; dmesg | tail"),
        ));
    }
    failed
}

/// Tries the kernel's nftables with the modules that were loaded. Returns whether kube-proxy would fail.
fn after_asking(
    facts: &mut HostFacts,
    request: &NodeRequest,
    decision: &mut Decision,
    probe: Option<&dyn NftProbe>,
) -> bool {
    let Some(before) = facts.nft.take() else { return false };
    // What was not known before the modules were loaded.
    let stale = of_programs(&before);
    decision.findings.retain(|finding| !stale.contains(finding));
    ask_nft(facts, request, probe);
    decision.findings.extend(facts.nft.iter().flat_map(of_programs));
    decision.is_blocked()
}

/// Suffix of the backup of a foreign file. It must not be one of scripts and lists, or the backup would be run or read too.
pub const COPY_SUFFIX: &str = ".before-kpx-prep";

/// The limit for the number of backups of one file.
const MOST_COPIES: u32 = 1000;

/// Makes a backup of a foreign file next to it without overwriting another backup; returns its path.
fn keep_copy(root: &Root, transaction: &mut Transaction<'_>, path: &str) -> anyhow::Result<String> {
    let content = |path: &str| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        root.folder(folder).and_then(|folder| folder.read(name))
    };
    let original = content(path).ok().flatten();
    for number in 1..=MOST_COPIES {
        let copy = if number == 1 { format!("{path}{COPY_SUFFIX}") } else { format!("{path}{COPY_SUFFIX}.{number}") };
        match content(&copy) {
            Ok(None) => {
                transaction.keep(path, &copy)?;
                return Ok(copy);
            }
            Ok(same) if same.as_ref().map(|(text, _)| text) == original.as_ref().map(|(text, _)| text) => {
                return Ok(copy);
            }
            // The name is in use, by another backup or something else.
            Ok(_) | Err(_) => {}
        }
    }
    let undone = transaction.roll_back();
    anyhow::bail!("{path} already has {MOST_COPIES} backups, the maximum; {undone}. Remove some of them")
}

/// The folders that are created by writing the files.
fn folders_to_make(decision: &Decision) -> BTreeSet<String> {
    let writes = decision.files.iter().filter(|file| file.action.writes());
    writes.flat_map(|file| boot::files::folders_made(file.file.path, &file.file.content)).collect()
}

/// Restores the files. The record of the changes is then not needed any more.
fn undo(transaction: &mut Transaction<'_>, lock: &mut NodeLock) -> Undone {
    let undone = transaction.roll_back();
    if transaction.is_undone() {
        lock.settle();
    }
    undone
}

/// Removes what a killed run left next to files that are up to date. The files themselves record the folders created for
/// them.
fn tidy(root: &Root, decision: &Decision, lock: &mut NodeLock) {
    if !decision.files.is_empty() && decision.files.iter().all(|file| file.action == FileAction::Keep) {
        lock.settle();
    }
    for path in boot::files::PATHS {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        // A failure is harmless.
        let _ = root.folder(folder).and_then(|folder| remove_temporary(&folder, name));
    }
}
