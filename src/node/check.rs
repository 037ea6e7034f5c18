//! `node check`: the checks of `node install`, read-only.

use super::boot;
use super::boot::request::NodeRequest;
use super::decide::boot_findings::boot_findings;
use super::decide::file::FileAction;
use super::decide::module_state::{Module, State};
use super::decide::{Decision, ask_nft, decide};
use super::facts::HostFacts;
use super::host::nft::NftProbe;
use super::report::{NodeReport, Outcome, file_line};
use super::root::Root;
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::{Level, finding};

/// Checks whether a node is prepared. `requests` builds the requests from those recorded in the installed files, one for
/// each mode. `loaded`: the modules must be loaded now; otherwise it is enough that they can be loaded.
///
/// # Errors
/// If the node cannot be inspected.
pub fn check(
    root: &Root,
    requests: impl FnOnce(&[NodeRequest]) -> anyhow::Result<Vec<NodeRequest>>,
    loaded: bool,
    probe: Option<&dyn NftProbe>,
) -> anyhow::Result<(NodeReport, Exit)> {
    let existing = boot::existing::observe(root)?;
    let requests = requests(&boot::record::installed_requests(&existing))?;
    let requests: Vec<NodeRequest> = requests.into_iter().map(|request| request.remembering(&existing)).collect();
    let (mut facts, mut decision) = (HostFacts::default(), Decision::default());
    for request in &requests {
        facts = HostFacts::observe(root, existing.clone(), request)?;
        ask_nft(&mut facts, request, probe.filter(|_| loaded));
        decision.join(decide_now(&facts, request, loaded));
    }
    let modes: Vec<ProxyMode> = requests.iter().map(|request| request.mode).collect();
    let (outcome, exit) =
        if decision.is_blocked() { (Outcome::NotPrepared, Exit::CheckSaysNo) } else { (Outcome::Prepared, Exit::Done) };
    let files = decision.files.iter().map(|file| file_line(file.file.path, file.action, false)).collect();
    Ok((NodeReport::new(root, &facts, &modes, outcome, decision, files), exit))
}

/// What is missing now for a mode.
fn decide_now(facts: &HostFacts, request: &NodeRequest, loaded: bool) -> Decision {
    let mut decision = decide(facts, request, false);

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
        decision.findings.extend(boot_findings(facts, request.mode, &facts.boot, &decision.modules));
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
                    format!("run `{}`", request.mode.install_command()),
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
            format!("run `{}`", request.mode.install_command()),
        ));
    }
    decision
}
