//! `node remove`: removes exactly what `node install` wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::boot::files::{Existing, NETWORK_MANAGER};
use super::boot::request::NodeRequest;
use super::decide::Decision;
use super::decide::module_state::ModuleContext;
use super::facts::HostFacts;
use super::install::transaction::remove_temporary;
use super::install::{COPY_SUFFIX, network_manager};
use super::lock::NodeLock;
use super::modules::modprobe::Modprobe;
use super::report::{FileLine, NodeReport, Outcome};
use super::root::Root;
use super::{boot, host};
use crate::exit_code::Exit;
use crate::file_kind::is_regular;
use crate::folder::unless_absent;
use crate::mode::ProxyMode;
use crate::report::{Level, finding};

/// Rounds of unloading: schedulers first, then the modules that they used.
const ROUNDS: usize = 5;

/// Removes the files with kpx-prep's mark and the folders created for them, restores files that `--force` had replaced, and
/// unloads unused modules if requested. `only`: what was installed for this mode.
///
/// # Errors
/// If a file cannot be removed; the message lists what was removed already. Running it again continues.
pub fn remove(
    root: &Root,
    only: Option<ProxyMode>,
    unload: bool,
    modprobe: &dyn Modprobe,
) -> anyhow::Result<(NodeReport, Exit)> {
    let mut lock = NodeLock::take(root)?;
    let mut existing = boot::existing::observe(root)?;
    let (requests, kept) = requests(&existing, only);
    let mode_of = |path: &str| boot::files::purpose(path).map(|(mode, _)| mode);
    existing.retain(|path, _| only.is_none_or(|mode| mode_of(path) == Some(mode)));
    let ours = existing.iter().filter(|(_, existing)| existing.is_ours()).count();
    if ours > 0 || unload || !lock.unfinished().is_empty() {
        lock.held()?;
    }
    let mut made = lock.unfinished().clone();
    for (path, existing) in &existing {
        if let Existing::File { content, .. } = existing
            && existing.is_ours()
        {
            made.extend(boot::files::folders_made(path, content));
        }
    }
    // The record of them is removed with the file.
    lock.note(&made)?;
    let mut files = Vec::new();
    let mut decision = Decision::default();
    let mut removed = Vec::new();
    for (path, existing) in &existing {
        let line = remove_one(root, path, existing).with_context(|| failed_at(&root.display(path), &removed))?;
        if existing.is_ours() {
            removed.push(*path);
        }
        // That there is nothing is said of the modes in question only.
        if existing.is_there() || requests.iter().any(|request| mode_of(path) == Some(request.mode)) {
            files.push(line);
        }
    }
    if remove_folders(root, &made, &mut decision) {
        lock.settle();
    }
    if removed.contains(&NETWORK_MANAGER) {
        decision.findings.extend(network_manager::reload(root));
    }
    let mut outcome = if removed.is_empty() { Outcome::NothingToRemove } else { Outcome::Removed };
    if unload {
        let gone = unload_unused(root, (&requests, &kept), modprobe, &mut decision)?;
        if gone > 0 {
            outcome = Outcome::Removed;
        }
    }
    let mut facts = HostFacts::default();
    for request in &requests {
        facts = HostFacts::observe(root, boot::existing::observe(root)?, request)?;
        let context = ModuleContext::of(&facts, request.mode);
        let wanted = request.modules(facts.kernel(), &facts.host);
        let modules = wanted.iter().map(|(name, mandatory)| context.module(name, *mandatory)).collect();
        decision.join(Decision { modules, ..Decision::default() });
    }
    let modes: Vec<ProxyMode> = requests.iter().map(|request| request.mode).collect();
    let mut report = NodeReport::new(root, &facts, &modes, outcome, decision, files);
    if let (Some(mode), Outcome::Removed) = (only, outcome) {
        report.summary = format!("removed the files that kpx-prep wrote for {mode}");
    }
    Ok((report, Exit::Done))
}

/// What is recorded in the installed files: for the modes in question, and for the other ones. For a mode of which nothing is
/// recorded, the default.
fn requests(
    existing: &BTreeMap<&'static str, Existing>,
    mode: Option<ProxyMode>,
) -> (Vec<NodeRequest>, Vec<NodeRequest>) {
    let recorded = boot::record::installed_requests(existing);
    let (mut asked, kept): (Vec<_>, Vec<_>) =
        recorded.into_iter().partition(|request| mode.is_none_or(|mode| mode == request.mode));
    if asked.is_empty() {
        asked.push(NodeRequest { mode: mode.unwrap_or(ProxyMode::Ipvs), ..NodeRequest::default() });
    }
    (asked, kept)
}

fn failed_at(place: &Path, removed: &[&str]) -> String {
    let so_far = if removed.is_empty() { "nothing".to_owned() } else { removed.join(", ") };
    format!("removing {} failed; removed so far: {so_far}. Run it again to continue", place.display())
}

/// Removes one file if kpx-prep wrote it, and in any case what a killed run left next to it.
fn remove_one(root: &Root, path: &str, existing: &Existing) -> io::Result<FileLine> {
    let line = |state, detail| Ok(FileLine { path: path.to_owned(), state, detail });
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = unless_absent(root.folder(folder));
    if !existing.is_ours() {
        if let Ok(Some(folder)) = folder {
            let _ = remove_temporary(&folder, name);
        }
        return match existing {
            Existing::Absent { .. } => line("absent", None),
            Existing::File { .. } => line("kept, not ours", None),
            Existing::InTheWay(why) => line("kept, not ours", Some(why.clone())),
        };
    }
    let Some(folder) = folder? else { return line("removed", None) };
    remove_temporary(&folder, name)?;
    let copy = newest_copy(root, path);
    if let Some(copy) = &copy {
        folder.rename(copy, name)?;
        // rename(2) does nothing if both names are the same file.
        folder.remove_file(copy)?;
    } else {
        folder.remove_file(name)?;
    }
    folder.sync()?;
    match copy {
        Some(copy) => line("restored", Some(format!("from {}", copy_path(path, &copy)))),
        None => line("removed", None),
    }
}

/// Removes the empty folders that install created, deepest first. Returns whether all succeeded.
fn remove_folders(root: &Root, made: &BTreeSet<String>, decision: &mut Decision) -> bool {
    let before = decision.findings.len();
    for path in made.iter().rev() {
        let Some((above, name)) = path.rsplit_once('/') else { continue };
        let above = if above.is_empty() { "/" } else { above };
        let removed = unless_absent(root.folder(above)).and_then(|folder| {
            let Some(folder) = folder else { return Ok(()) };
            if folder.remove_folder(name)? { folder.sync() } else { Ok(()) }
        });
        if let Err(error) = removed {
            decision.findings.push(finding(
                Level::Warning,
                "folder-left",
                format!("{path}, created by install, could not be removed: {error}"),
                "run `kpx-prep node remove` again once the cause is fixed",
            ));
        }
    }
    decision.findings.len() == before
}

fn copy_path(path: &str, copy: &str) -> String {
    path.rsplit_once('/').map_or_else(|| copy.to_owned(), |(folder, _)| format!("{folder}/{copy}"))
}

/// The name of the newest backup that `--force` made of a file.
fn newest_copy(root: &Root, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let number = |entry: &String| -> Option<u32> {
        let rest = entry.strip_prefix(name)?.strip_prefix(COPY_SUFFIX)?;
        if rest.is_empty() { Some(1) } else { rest.strip_prefix('.')?.parse().ok() }
    };
    let held = root.folder(folder).ok()?;
    let is_file = |entry: &String| held.stat(entry).ok().flatten().is_some_and(|stat| is_regular(&stat));
    let copies = root.list(folder).into_iter().filter_map(|entry| Some((number(&entry)?, entry)));
    copies.filter(|(_, entry)| is_file(entry)).max().map(|(_, entry)| entry)
}

/// Unloads requested modules that are not in use, in rounds; returns their number. Modules in use are reported. Those of
/// the modes for which the node stays prepared are kept.
fn unload_unused(
    root: &Root,
    (requests, kept): (&[NodeRequest], &[NodeRequest]),
    modprobe: &dyn Modprobe,
    decision: &mut Decision,
) -> anyhow::Result<usize> {
    let loaded = |requests: &[NodeRequest]| -> anyhow::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for request in requests {
            let facts = HostFacts::observe(root, boot::existing::observe(root)?, request)?;
            let wanted = request.modules(facts.kernel(), &facts.host).into_keys();
            names.extend(wanted.filter(|name| facts.host.loaded.contains(name)));
        }
        Ok(names)
    };
    let mut ours: Vec<String> = loaded(requests)?.difference(&loaded(kept)?).cloned().collect();
    let before = ours.len();
    let mut said = String::new();
    for _ in 0..ROUNDS {
        let unused: Vec<String> = host::unused_modules(root)?.into_iter().filter(|name| ours.contains(name)).collect();
        if unused.is_empty() {
            break;
        }
        let names: Vec<&str> = unused.iter().map(String::as_str).collect();
        said.push_str(
            &modprobe
                .unload(&names)
                .context("running modprobe -r failed; the files were removed, the modules are still loaded")?,
        );
        let loaded = host::loaded_modules(root)?;
        let left = ours.len();
        ours.retain(|name| loaded.contains(name));
        if ours.len() == left {
            break;
        }
    }
    if !ours.is_empty() {
        decision.findings.push(finding(
            Level::Warning,
            "module-in-use",
            format!("{}: still loaded because in use. {}", ours.join(" "), said.lines().next().unwrap_or_default())
                .trim_end()
                .to_owned(),
            if requests.iter().all(|request| request.mode == ProxyMode::Ipvs) {
                "kube-proxy in IPVS mode uses them; switch it to another mode first"
            } else {
                "kube-proxy or another program of this host uses them; switch kube-proxy to another mode first"
            },
        ));
    }
    Ok(before - ours.len())
}
