//! `node install`: write the files, load the modules, prove it; or leave everything as it was.

use std::collections::BTreeSet;

use anyhow::anyhow;

use super::boot_files::{self, NETWORK_MANAGER};
use super::decide::{Decision, decide};
use super::facts::Facts;
use super::file_decision::FileAction;
use super::lock::NodeLock;
use super::modprobe::Modprobe;
use super::modules::State;
use super::report::{FileLine, NOT_UNDONE, NodeReport, Outcome, file_line};
use super::root::Root;
use super::transaction::{Transaction, remove_temporary};
use super::undo::Undone;
use super::wish::Wish;
use super::{host, network_manager};
use crate::exit_code::Exit;
use crate::report::{Finding, Level};

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Load the modules now.
    pub load: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Replace files that somebody else wrote, keeping a copy.
    pub force: bool,
}

/// Prepares a node.
///
/// # Errors
/// When the node cannot be observed, a file cannot be written (what was written is undone), or modprobe cannot be run
/// (the same). A module that does not load is no error here but a report with [`Outcome::Failed`].
pub fn install(
    root: &Root,
    wish: &Wish,
    options: Options,
    modprobe: &dyn Modprobe,
) -> anyhow::Result<(NodeReport, Exit)> {
    let mut lock = if options.dry_run { None } else { Some(NodeLock::take(root)?) };
    let existing = boot_files::observe(root)?;
    // For which version, and what reads the files, stays as it was said once.
    let wish = &wish.clone().with(wish.minor, wish.mechanism, boot_files::installed_wish(&existing).as_ref());
    let mut facts = Facts::observe(root, existing, wish)?;
    facts.unfinished_folders = lock.as_ref().map(|lock| lock.unfinished().clone()).unwrap_or_default();
    let mut decision = decide(&facts, wish, options.force);
    let lines = |decision: &Decision, done: bool| -> Vec<FileLine> {
        decision.files.iter().map(|f| file_line(f.file.path, f.action, done)).collect()
    };

    if decision.is_blocked() {
        // Something in a file's place is no property of the node that a check is about: it failed.
        let in_the_way = decision.files.iter().any(|file| file.action == FileAction::InTheWay);
        let exit = if in_the_way { Exit::Failed } else { Exit::CheckSaysNo };
        let files = lines(&decision, false);
        return Ok((NodeReport::new(root, &facts, Outcome::NotPrepared, decision, files), exit));
    }
    let writes = decision.files.iter().any(|file| file.action.writes());
    let loads = options.load && !decision.to_load().is_empty();
    let Some(lock) = lock.as_mut().filter(|_| writes || loads) else {
        if let Some(lock) = &mut lock {
            tidy(root, &decision, lock);
        }
        let outcome = if writes || loads { Outcome::WouldPrepare } else { Outcome::AlreadyPrepared };
        let files = if options.dry_run { would_be(&decision) } else { lines(&decision, true) };
        return Ok((NodeReport::new(root, &facts, outcome, decision, files), Exit::Done));
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
                return Err(error.context(format!("after loading the modules, which stay; {undone}")));
            }
        };
        let not_loaded = after_loading(&facts, &mut decision, &said);
        if not_loaded {
            let undone = undo(&mut transaction, lock);
            let files = lines(&decision, false);
            decision.findings.extend(undone.failures.into_iter().map(|message| Finding {
                level: Level::Error,
                id: NOT_UNDONE,
                message,
                hint: Some("kpx-prep node remove, once that is possible".to_owned()),
            }));
            return Ok((NodeReport::new(root, &facts, Outcome::Failed, decision, files), Exit::Failed));
        }
    }
    decision.findings.extend(transaction.commit().into_iter().map(|message| Finding {
        level: Level::Warning,
        id: "leftover",
        message,
        hint: Some("kpx-prep node install removes it, once that is possible".to_owned()),
    }));
    lock.settle();
    let wrote = |path| decision.files.iter().any(|file| file.file.path == path && file.action.writes());
    if wrote(NETWORK_MANAGER) {
        decision.findings.extend(network_manager::reload(root));
    }
    Ok((NodeReport::new(root, &facts, Outcome::Prepared, decision, files), Exit::Done))
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
            line.detail = Some(format!("the file that was there is kept as {copy}"));
        }
        transaction.write(decision.file.path, decision.file.content.as_bytes(), decision.file.mode)?;
    }
    Ok(())
}

fn would_be(decision: &Decision) -> Vec<FileLine> {
    let line = |file: &super::file_decision::FileDecision| {
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

/// Judges by `/proc/modules` what modprobe has done. Whether a mandatory module is still not there.
fn after_loading(facts: &Facts, decision: &mut Decision, said: &str) -> bool {
    let around = facts.surroundings();
    let mut failed = false;
    for module in decision.modules.iter_mut().filter(|module| module.state == State::Loadable) {
        let name = module.name.clone();
        *module = around.module(&name, module.mandatory);
        if module.state == State::Loaded {
            continue;
        }
        failed |= module.mandatory;
        let about: Vec<&str> = said.lines().filter(|line| line.contains(&name)).map(str::trim).collect();
        let about = if about.is_empty() { "modprobe did not say why".to_owned() } else { about.join("; ") };
        decision.findings.push(Finding {
            level: if module.mandatory { Level::Error } else { Level::Warning },
            id: "load-failed",
            message: format!("{name} is not in /proc/modules after modprobe: {about}"),
            hint: Some(format!("modprobe -v {name}; dmesg | tail")),
        });
    }
    failed
}

/// What a copy of a foreign file is called. It must not end as scripts and lists do, or it would be run and read too.
pub const COPY_SUFFIX: &str = ".before-kpx-prep";

/// How many copies of one file may be there.
const MOST_COPIES: u32 = 1000;

/// Keeps a foreign file beside itself, never over another copy; says where.
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
            // Another copy, or something that is no copy at all.
            Ok(_) | Err(_) => {}
        }
    }
    let undone = transaction.roll_back();
    anyhow::bail!("{path} has {MOST_COPIES} copies already, no name is left for one more; {undone}")
}

/// The folders that writing the files makes.
fn folders_to_make(decision: &Decision) -> BTreeSet<String> {
    let writes = decision.files.iter().filter(|file| file.action.writes());
    writes.flat_map(|file| boot_files::folders_made(file.file.path, &file.file.content)).collect()
}

/// Undoes what was written. Then no note of it is needed any more.
fn undo(transaction: &mut Transaction<'_>, lock: &mut NodeLock) -> Undone {
    let undone = transaction.roll_back();
    if transaction.is_undone() {
        lock.settle();
    }
    undone
}

/// Removes what a killed run left beside files that are as wanted. Where each is, each also says which folders were
/// made for it.
fn tidy(root: &Root, decision: &Decision, lock: &mut NodeLock) {
    if !decision.files.is_empty() && decision.files.iter().all(|file| file.action == FileAction::Keep) {
        lock.settle();
    }
    for path in boot_files::PATHS {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        // Where that is not possible, it does no harm.
        let _ = root.folder(folder).and_then(|folder| remove_temporary(&folder, name));
    }
}
