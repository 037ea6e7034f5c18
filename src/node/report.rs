//! Reports of the node commands: one line per module and per file, a summary, findings with hints; or JSON and YAML.

use std::fmt::Write as _;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::boot::mechanism::Mechanism;
use super::decide::Decision;
use super::decide::file::FileAction;
use super::decide::module_findings::KUBERNETES_VERSION;
use super::decide::module_state::{Module, State};
use super::facts::HostFacts;
use super::root::Root;
pub use crate::node_protocol::PreparationOutcome as Outcome;
use crate::report::{API_VERSION, Finding, Format, Level, serialize};

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
    root: String,
    distro: String,
    kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    boot: Vec<Mechanism>,
    /// Whether `boot` is from `--boot-mechanism` and was not verified.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    boot_vouched: bool,
    /// Every requested module with its state.
    pub modules: Vec<Module>,
    /// Every file with its state.
    pub files: Vec<FileLine>,
    /// The findings, errors first.
    pub findings: Vec<Finding>,
}

impl NodeReport {
    /// A report on a node, its findings sorted by severity.
    pub fn new(root: &Root, facts: &HostFacts, outcome: Outcome, decision: Decision, files: Vec<FileLine>) -> Self {
        let mut findings = decision.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        let mut report = Self {
            api_version: API_VERSION,
            kind: "NodeReport",
            outcome,
            summary: String::new(),
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
        match self.outcome {
            Outcome::Prepared => format!("prepared{only}; {modules}"),
            Outcome::AlreadyPrepared => format!("already prepared{only}; {modules}"),
            Outcome::WouldPrepare => format!("dry run, nothing was changed; {modules}"),
            Outcome::NotPrepared => format!(
                "not prepared: {errors} error{}; nothing was changed; {modules}",
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

    /// The report in the requested format.
    ///
    /// # Errors
    /// If it cannot be serialized.
    pub fn render(&self, format: Format) -> anyhow::Result<String> {
        if format == Format::Text { Ok(self.text()) } else { serialize(self, format) }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut table = plain_table();
        for module in &self.modules {
            let weight = if module.mandatory { "mandatory" } else { "optional" };
            table.add_row([
                module.name.as_str(),
                state_word(module.state),
                weight,
                module.detail.as_deref().unwrap_or(""),
            ]);
        }
        push_table(&mut text, &table);
        let mut table = plain_table();
        for file in &self.files {
            table.add_row([file.path.as_str(), file_word(file.state), file.detail.as_deref().unwrap_or("")]);
        }
        push_table(&mut text, &table);
        for mechanism in &self.boot {
            let vouched = if self.boot_vouched { " (by --boot-mechanism, not verified)" } else { "" };
            let _ = writeln!(text, "boot: {}{vouched}", mechanism.describe());
        }
        let _ = writeln!(text, "{}", self.summary);
        for finding in &self.findings {
            text.push_str(&finding.text());
        }
        text
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

/// A file's state in the text output; in JSON it is a stable value.
fn file_word(state: &'static str) -> &'static str {
    match state {
        "kept, not ours" => "kept (not managed by kpx-prep)",
        "not ours" => "not managed by kpx-prep",
        other => other,
    }
}

fn state_word(state: State) -> &'static str {
    match state {
        State::Loaded => "loaded",
        State::BuiltIn => "built in",
        State::Loadable => "loadable",
        State::Missing => "missing",
        State::Unknown => "unknown",
        State::Blocked => "blocked",
    }
}

/// A table without borders.
pub(super) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Appends a table if it has rows.
pub(super) fn push_table(text: &mut String, table: &Table) {
    if table.row_count() > 0 {
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim());
        }
    }
}
