//! `node install`: write the files, load the modules, prove it; or leave everything as it was.

use std::fs;

use anyhow::Context as _;

use super::boot_files::{Existing, NETWORK_MANAGER};
use super::decide::{Decision, FileAction, decide};
use super::facts::Facts;
use super::host;
use super::lock::NodeLock;
use super::modprobe::Modprobe;
use super::modules::{State, Wish};
use super::network_manager;
use super::report::{FileLine, NodeReport, Outcome, file_line};
use super::root::{Root, is_absent};
use super::transaction::Transaction;
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
    let _lock = if options.dry_run { None } else { Some(NodeLock::take(root)?) };
    let mut facts = Facts::observe_all(root, wish)?;
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
    if options.dry_run || !(writes || loads) {
        let outcome = if writes || loads { Outcome::WouldPrepare } else { Outcome::AlreadyPrepared };
        let files = if options.dry_run { would_be(&decision) } else { lines(&decision, true) };
        return Ok((NodeReport::new(root, &facts, outcome, decision, files), Exit::Done));
    }

    let mut transaction = Transaction::new(root, facts.host.selinux);
    let mut files = lines(&decision, true);
    for (decision, line) in decision.files.iter().zip(&mut files).filter(|(d, _)| d.action.writes()) {
        if decision.action == FileAction::ReplaceForeign
            && let Some(Existing::File { mode, .. }) = facts.existing.get(decision.file.path)
        {
            let copy = keep_copy(root, &mut transaction, decision.file.path, *mode)?;
            line.detail = Some(format!("the file that was there is kept as {copy}"));
        }
        transaction.write(decision.file.path, decision.file.content.as_bytes(), decision.file.mode)?;
    }
    if loads {
        let said = modprobe
            .load(&decision.to_load())
            .with_context(|| "running modprobe failed; the files are as they were before, no module was loaded")?;
        facts.host.loaded = host::loaded_modules(root)?;
        let not_loaded = after_loading(&facts, &mut decision, &said);
        if not_loaded {
            drop(transaction);
            let files = lines(&decision, false);
            return Ok((NodeReport::new(root, &facts, Outcome::Failed, decision, files), Exit::Failed));
        }
    }
    transaction.commit();
    let wrote = |path| decision.files.iter().any(|file| file.file.path == path && file.action.writes());
    if wrote(NETWORK_MANAGER) {
        decision.findings.extend(network_manager::reload(root));
    }
    Ok((NodeReport::new(root, &facts, Outcome::Prepared, decision, files), Exit::Done))
}

fn would_be(decision: &Decision) -> Vec<FileLine> {
    let line = |file: &super::decide::FileDecision| {
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

/// Copies a foreign file beside itself, never over another copy; says where.
fn keep_copy(root: &Root, transaction: &mut Transaction<'_>, path: &str, mode: u32) -> anyhow::Result<String> {
    let content =
        fs::read(root.resolve(path)?).with_context(|| format!("reading {path} to copy it (nothing was changed)"))?;
    for number in 1_u32.. {
        let copy = if number == 1 { format!("{path}{COPY_SUFFIX}") } else { format!("{path}{COPY_SUFFIX}.{number}") };
        match fs::read(root.resolve(&copy)?) {
            Ok(same) if same == content => return Ok(copy),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {
                transaction.write(&copy, &content, mode)?;
                return Ok(copy);
            }
            Err(error) => return Err(error).with_context(|| format!("reading {copy} (nothing was changed)")),
        }
    }
    anyhow::bail!("no name is left for a copy of {path}; nothing was changed")
}
