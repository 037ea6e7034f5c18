//! `node check`: the checks of `node install`, read-only.

use super::boot;
use super::boot::request::NodeRequest;
use super::decide::boot_findings::boot_findings;
use super::decide::decide;
use super::decide::file::FileAction;
use super::decide::module_state::{Module, State};
use super::facts::HostFacts;
use super::report::{NodeReport, Outcome, file_line};
use super::root::Root;
use crate::exit_code::Exit;
use crate::report::{Level, finding};

/// Checks whether a node is prepared. `request` builds the request from the one recorded in the installed files, if any.
/// `loaded`: the modules must be loaded now; otherwise it is enough that they can be loaded.
///
/// # Errors
/// If the node cannot be inspected.
pub fn check(
    root: &Root,
    request: impl FnOnce(Option<NodeRequest>) -> NodeRequest,
    loaded: bool,
) -> anyhow::Result<(NodeReport, Exit)> {
    let existing = boot::files::observe(root)?;
    let request = request(boot::files::installed_request(&existing));
    let facts = HostFacts::observe(root, existing, &request)?;
    let mut decision = decide(&facts, &request, false);

    // The current state counts, not the one after install.
    decision.findings.retain(|finding| {
        ![
            "boot-coverage",
            "boot-files-lost",
            "boot-mechanism",
            "kernel-lacks-modules",
            "not-in-configuration",
            "read-only",
        ]
        .contains(&&*finding.id)
    });
    if facts.host.container.is_none() {
        decision.findings.extend(boot_findings(&facts, &facts.boot, &decision.modules));
    }
    if loaded {
        for mandatory in [true, false] {
            let waits = |m: &&Module| m.mandatory == mandatory && m.state == State::Loadable;
            let names: Vec<&str> = decision.modules.iter().filter(waits).map(|m| m.name.as_str()).collect();
            if !names.is_empty() {
                decision.findings.push(finding(
                    if mandatory { Level::Error } else { Level::Warning },
                    "module-not-loaded",
                    format!("{}: not loaded", names.join(" ")),
                    "run `kpx-prep node install`",
                ));
            }
        }
    }
    for file in &decision.files {
        let (id, what) = match file.action {
            FileAction::Create => ("file-missing", "does not exist"),
            FileAction::Update => ("file-differs", "differs from what kpx-prep would write"),
            _ => continue,
        };
        decision.findings.push(finding(
            Level::Warning,
            id,
            format!("{} {what}", file.file.path),
            "run `kpx-prep node install`",
        ));
    }
    let (outcome, exit) =
        if decision.is_blocked() { (Outcome::NotPrepared, Exit::CheckSaysNo) } else { (Outcome::Prepared, Exit::Done) };
    let files = decision.files.iter().map(|file| file_line(file.file.path, file.action, false)).collect();
    Ok((NodeReport::new(root, &facts, outcome, decision, files), exit))
}
