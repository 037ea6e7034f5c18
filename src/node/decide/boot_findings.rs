//! Why modules may not be loaded after the next boot. Pure.

use std::collections::BTreeSet;

use super::file::FileDecision;
use super::module_state::{Module, State};
use crate::mode::ProxyMode;
use crate::node::boot::Boot;
use crate::node::boot::files::{Kind, LIST, PATHS, purpose};
use crate::node::boot::mechanism::Mechanism;
use crate::node::facts::HostFacts;
use crate::node::host::immutable::{UNKNOWN_WAY, own_way};
use crate::node::host::packages;
use crate::node::modules::kernel::Kernel;
use crate::node::mounts::Lasting;
use crate::report::{Finding, Level, finding};

/// Whether the mandatory modules are loaded at the next boot, of the running kernel or of another installed one.
pub fn boot_findings(facts: &HostFacts, mode: ProxyMode, boot: &Boot, modules: &[Module]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let needs_loading = |m: &&Module| m.mandatory && m.state != State::BuiltIn;
    if boot.vouched {
        let words: Vec<&str> = boot.mechanisms.iter().copied().map(Mechanism::describe).collect();
        findings.push(finding(
            Level::Info,
            "boot-mechanism",
            format!("by --boot-mechanism, {} at boot; this was not verified", words.join(" and ")),
            "",
        ));
    }
    if let Some((why, hint)) = &boot.why_none
        && boot.mechanisms.is_empty()
        && modules.iter().any(|m| needs_loading(&m))
    {
        findings.push(finding(
            Level::Error,
            "boot-mechanism",
            format!("{why}: the modules would not be loaded after a reboot"),
            hint.clone(),
        ));
        return findings;
    }
    let Some(kernel) = facts.kernel() else { return findings };
    let mandatory: Vec<&str> = modules.iter().filter(|m| m.mandatory).map(|m| m.name.as_str()).collect();
    let lacking = |other: &&Kernel| {
        // The name of the conntrack module depends on the kernel; one of the two must exist.
        let has = |name: &str| other.has(name) || (name.starts_with("nf_conntrack") && other.has("nf_conntrack"));
        other.release != kernel.release && mandatory.iter().any(|name| !has(name))
    };
    for other in facts.kernels.values().filter(lacking) {
        findings.push(finding(
            Level::Warning,
            "kernel-lacks-modules",
            format!(
                "installed kernel {} lacks mandatory modules; booted with it, this node cannot run {}",
                other.release,
                if mode == ProxyMode::Ipvs { "IPVS" } else { mode.name() }
            ),
            format!("{}, or remove that kernel", packages::hint(&facts.host, mode, &other.release)),
        ));
    }
    if boot.is_elsewhere() {
        return findings;
    }
    let kernels_lack = findings.iter().any(|finding| finding.id == "kernel-lacks-modules");
    let uncovered: BTreeSet<&str> = modules
        .iter()
        .filter(|m| m.mandatory && matches!(m.state, State::Loaded | State::Loadable))
        .map(|m| m.name.as_str())
        .filter(|name| boot.covered_by(name, Some(kernel)).is_none())
        .collect();
    if !uncovered.is_empty() {
        let names = uncovered.into_iter().collect::<Vec<_>>().join(" ");
        let honoured = |path: &&str| match purpose(path) {
            Some((of, Kind::List)) => of == mode && boot.reads_lists(),
            Some((of, Kind::Script)) => of == mode && boot.runs_scripts(),
            Some((_, Kind::Other)) | None => false,
        };
        let lost = PATHS.into_iter().filter(honoured).find_map(|path| match boot.lasting.get(path) {
            Some(Lasting::No(why)) => Some((path, "does", why)),
            Some(Lasting::Unknown(why)) => Some((path, "may", why)),
            _ => None,
        });
        let gone = || boot.gone.first().map(|(path, why)| (path.as_str(), "may", why));
        if let Some((path, may, why)) = lost.or_else(gone) {
            let way = own_way(&facts.host).unwrap_or_else(|| UNKNOWN_WAY.to_owned());
            findings.push(finding(
                Level::Error,
                "boot-files-lost",
                format!("{names}: not loaded at the next boot, because {path} {may} not persist across reboots: {why}"),
                way,
            ));
            return findings;
        }
        let mechanisms: Vec<&str> = boot.mechanisms.iter().copied().map(Mechanism::describe).collect();
        findings.push(finding(
            Level::Error,
            "boot-coverage",
            format!("{names}: not loaded at the next boot ({})", mechanisms.join("; ")),
            if kernels_lack {
                "install the modules for every installed kernel, or remove the kernels without them".to_owned()
            } else {
                format!("run `{}` (add --force to replace files not written by kpx-prep)", mode.install_command())
            },
        ));
    }
    findings
}

/// Systems built from a configuration may discard everything else at boot, which cannot be detected.
pub(super) fn declarative_finding(facts: &HostFacts, files: &[FileDecision]) -> Option<Finding> {
    let is_declarative = matches!(facts.host.distro.as_str(), "nixos" | "guix");
    let writes = files.iter().any(|file| file.action.writes());
    let lasts = facts.boot.lasting.is_empty();
    (is_declarative && writes && lasts).then(|| finding(Level::Warning, "not-in-configuration", "files written by kpx-prep are not part of this system's configuration; they are lost if / is reset at boot", own_way(&facts.host).unwrap_or_default()))
}

/// Whether a file to be written is on a read-only file system.
pub(super) fn read_only_finding(facts: &HostFacts, files: &[FileDecision]) -> Option<Finding> {
    files.iter().filter(|file| file.action.writes()).find_map(|file| {
        let Some(Lasting::ReadOnly(why)) = facts.boot.lasting.get(file.file.path) else { return None };
        let hint =
            own_way(&facts.host).unwrap_or_else(|| "remount it read-write, or add the files to the image".to_owned());
        Some(finding(Level::Error, "read-only", format!("{} cannot be written: {why}", file.file.path), hint))
    })
}

/// Files that seem to load modules but may not.
pub(super) fn doubtful_findings(boot: &Boot) -> impl Iterator<Item = Finding> {
    boot.doubtful.iter().filter(|(path, _)| *path != LIST).map(|(path, why)| {
        finding(
            Level::Warning,
            "boot-file-doubtful",
            format!("{path}: {why}"),
            "run `kpx-prep node install`, which writes a file that loads them",
        )
    })
}
