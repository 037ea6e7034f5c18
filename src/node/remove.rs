//! `node remove`: takes away exactly what `node install` wrote.

use std::fs;

use anyhow::Context as _;

use super::boot_files::{self, Existing, NETWORK_MANAGER};
use super::decide::Decision;
use super::facts::Facts;
use super::host;
use super::install::COPY_SUFFIX;
use super::lock::NodeLock;
use super::modprobe::Modprobe;
use super::modules::Wish;
use super::network_manager;
use super::report::{FileLine, NodeReport, Outcome};
use super::root::Root;
use super::transaction;
use crate::atomic_file;
use crate::exit_code::Exit;
use crate::report::{Finding, Level};

/// Rounds of unloading: schedulers first, then what they held.
const ROUNDS: usize = 5;

/// Removes the files that carry kpx-prep's mark, puts back what `--force` had replaced, and unloads what is unused if asked.
///
/// # Errors
/// When a file cannot be removed; the message says what is gone already. Running it again goes on.
pub fn remove(root: &Root, unload: bool, modprobe: &dyn Modprobe) -> anyhow::Result<(NodeReport, Exit)> {
    let _lock = NodeLock::take(root)?;
    let existing = boot_files::observe(root)?;
    let wish = boot_files::installed_wish(&existing).unwrap_or_default();
    let mut files = Vec::new();
    let mut decision = Decision::default();
    let mut removed = Vec::new();
    for (path, existing) in &existing {
        let line = |state, detail| FileLine { path: (*path).to_owned(), state, detail };
        let place = root.resolve(path)?;
        if !existing.is_ours() {
            // A killed install may have left only its temporary file.
            if let (Some(folder), Some(name)) = (place.parent(), place.file_name()) {
                let _ = fs::remove_file(folder.join(atomic_file::temporary_name(&name.to_string_lossy())));
            }
            files.push(match existing {
                Existing::Absent => line("absent", None),
                Existing::File { .. } => line("kept, not ours", None),
                Existing::InTheWay(why) => line("kept, not ours", Some(why.clone())),
            });
            continue;
        }
        let so_far = if removed.is_empty() { "nothing".to_owned() } else { removed.join(", ") };
        let context =
            || format!("removing {} failed; removed so far: {so_far}. Run it again to go on", place.display());
        let copy = newest_copy(root, path);
        let line = if let Some(copy) = copy {
            fs::rename(root.resolve(&copy)?, &place).with_context(context)?;
            line("restored", Some(format!("from {copy}")))
        } else {
            transaction::remove(&place).with_context(context)?;
            line("removed", None)
        };
        removed.push(*path);
        files.push(line);
    }
    if removed.contains(&NETWORK_MANAGER) {
        decision.findings.extend(network_manager::reload(root));
    }
    let mut outcome = if removed.is_empty() { Outcome::NothingToRemove } else { Outcome::Removed };
    if unload {
        let gone = unload_unused(root, &wish, modprobe, &mut decision)?;
        if gone > 0 {
            outcome = Outcome::Removed;
        }
    }
    let facts = Facts::observe(root, boot_files::observe(root)?, &wish)?;
    let around = facts.surroundings();
    let wanted = wish.modules(facts.kernel(), &facts.host.loaded);
    decision.modules = wanted.iter().map(|(name, mandatory)| around.module(name, *mandatory)).collect();
    Ok((NodeReport::new(root, &facts, outcome, decision, files), Exit::Done))
}

/// The last copy that `--force` made of a file.
fn newest_copy(root: &Root, path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let number = |entry: &String| -> Option<u32> {
        let rest = entry.strip_prefix(name)?.strip_prefix(COPY_SUFFIX)?;
        if rest.is_empty() { Some(1) } else { rest.strip_prefix('.')?.parse().ok() }
    };
    let copies = root.list(folder).into_iter().filter_map(|entry| Some((number(&entry)?, entry)));
    copies.max().map(|(_, entry)| format!("{folder}/{entry}"))
}

/// Unloads wanted modules that nothing uses, in rounds; how many are gone. What is in use stays and is named.
fn unload_unused(root: &Root, wish: &Wish, modprobe: &dyn Modprobe, decision: &mut Decision) -> anyhow::Result<usize> {
    let facts = Facts::observe(root, boot_files::observe(root)?, wish)?;
    let mut ours: Vec<String> = wish.modules(facts.kernel(), &facts.host.loaded).into_keys().collect();
    ours.retain(|name| facts.host.loaded.contains(name));
    let before = ours.len();
    let mut said = String::new();
    for _ in 0..ROUNDS {
        let unused: Vec<String> = host::unused_modules(root)?.into_iter().filter(|name| ours.contains(name)).collect();
        if unused.is_empty() {
            break;
        }
        let names: Vec<&str> = unused.iter().map(String::as_str).collect();
        said.push_str(
            &modprobe.unload(&names).context("running modprobe -r failed; the files are removed, the modules stay")?,
        );
        let loaded = host::loaded_modules(root)?;
        let left = ours.len();
        ours.retain(|name| loaded.contains(name));
        if ours.len() == left {
            break;
        }
    }
    if !ours.is_empty() {
        decision.findings.push(Finding {
            level: Level::Warning,
            id: "module-in-use",
            message: format!(
                "{}: still loaded, because in use. {}",
                ours.join(" "),
                said.lines().next().unwrap_or_default()
            )
            .trim_end()
            .to_owned(),
            hint: Some("kube-proxy in IPVS mode holds them: switch it to another mode first".to_owned()),
        });
    }
    Ok(before - ours.len())
}
