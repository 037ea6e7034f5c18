//! Reports of the node commands: one line per module and per file, a summary, findings with hints; or JSON and YAML.

use serde::Serialize;

use super::boot::mechanism::Mechanism;
use super::decide::Decision;
use super::decide::file::FileAction;
use super::decide::module_findings::KUBERNETES_VERSION;
use super::decide::module_state::{Module, State};
use super::facts::HostFacts;
use super::root::Root;
use crate::mode::ProxyMode;
pub use crate::node_protocol::PreparationOutcome as Outcome;
use crate::report::{API_VERSION, Finding, Level};

/// The finding for a file that could not be restored.
pub const NOT_UNDONE: &str = "not-undone";

/// A file and what was done with it.
#[derive(Clone, Debug, Serialize)]
pub struct FileLine {
    /// Its path on the host.
    pub path: String,
    /// What was done with it, in a word or two.
    pub state: &'static str,
    /// Details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The report of a node command. Its JSON form is an interface.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    api_version: &'static str,
    kind: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The summary, in one line.
    pub summary: String,
    /// The modes for which the node was prepared or checked.
    pub modes: Vec<ProxyMode>,
    root: String,
    distro: String,
    kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    /// What loads modules at boot.
    pub boot: Vec<Mechanism>,
    /// Whether `boot` is from `--boot-mechanism` and was not verified.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub boot_vouched: bool,
    /// Every requested module with its state.
    pub modules: Vec<Module>,
    /// Every file with its state.
    pub files: Vec<FileLine>,
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}

impl NodeReport {
    /// A report on a node, its findings sorted by severity.
    pub fn new(
        root: &Root,
        facts: &HostFacts,
        modes: &[ProxyMode],
        outcome: Outcome,
        decision: Decision,
        files: Vec<FileLine>,
    ) -> Self {
        let mut findings = decision.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        let mut report = Self {
            api_version: API_VERSION,
            kind: "NodeReport",
            outcome,
            summary: String::new(),
            modes: modes.to_vec(),
            root: root.path().display().to_string(),
            distro: format!("{} {}", facts.host.distro, facts.host.distro_version).trim_end().to_owned(),
            kernel: facts.host.release.clone().or_else(|| facts.kernel().map(|kernel| kernel.release.clone())),
            container: facts.host.container.clone(),
            boot: facts.boot.mechanisms.clone(),
            boot_vouched: facts.boot.vouched,
            modules: decision.modules,
            files,
            findings,
        };
        report.summary = report.summarize();
        report
    }

    fn summarize(&self) -> String {
        let count = |state| self.modules.iter().filter(|module| module.state == state).count();
        let mut modules = Vec::new();
        for (state, word) in [
            (State::Loaded, "loaded"),
            (State::BuiltIn, "built in"),
            (State::Loadable, "loadable"),
            (State::Missing, "missing"),
            (State::Unknown, "unknown"),
            (State::Blocked, "blocked"),
        ] {
            if count(state) > 0 {
                modules.push(format!("{} {word}", count(state)));
            }
        }
        let modules = format!("modules: {}", modules.join(", "));
        let errors = self.findings.iter().filter(|finding| finding.level == Level::Error).count();
        let only = if self.findings.iter().any(|finding| finding.id == KUBERNETES_VERSION) {
            " for kube-proxy 1.27 and later only"
        } else {
            ""
        };
        // ipvs alone is what these commands did first, and what they do without --mode.
        let modes: Vec<&str> = self.modes.iter().map(|mode| mode.name()).collect();
        let modes =
            if self.modes == [ProxyMode::Ipvs] { String::new() } else { format!(" for {}", modes.join(" and ")) };
        match self.outcome {
            Outcome::Prepared => format!("prepared{modes}{only}; {modules}"),
            Outcome::AlreadyPrepared => format!("already prepared{modes}{only}; {modules}"),
            Outcome::WouldPrepare => format!("dry run, nothing was changed; {modules}"),
            Outcome::NotPrepared => format!(
                "not prepared{modes}: {errors} error{}; nothing was changed; {modules}",
                if errors == 1 { "" } else { "s" }
            ),
            Outcome::Failed if self.findings.iter().any(|finding| finding.id == NOT_UNDONE) => {
                format!("failed, and not all changes could be undone; {modules}")
            }
            Outcome::Failed => format!("failed; the files are in their previous state; {modules}"),
            Outcome::Removed => "removed all files written by kpx-prep".to_owned(),
            Outcome::NothingToRemove => "nothing to remove: no files written by kpx-prep found".to_owned(),
        }
    }
}

/// The line for a file; `done`: the action was carried out.
pub fn file_line(path: &str, action: FileAction, done: bool) -> FileLine {
    let state = match (action, done) {
        (FileAction::Keep, _) => "unchanged",
        (FileAction::Create, true) => "written",
        (FileAction::Create, false) => "absent",
        (FileAction::Update, true) => "updated",
        (FileAction::Update, false) => "differs",
        (FileAction::KeepForeign, _) => "kept, not ours",
        (FileAction::ReplaceForeign, true) => "replaced",
        (FileAction::ReplaceForeign, false) => "not ours",
        (FileAction::InTheWay, _) => "in the way",
    };
    FileLine { path: path.to_owned(), state, detail: None }
}
