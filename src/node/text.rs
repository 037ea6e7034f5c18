//! The reports of the node commands for people: one line per module, file and leftover, a summary, findings.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::command::NodeAnswer;
use super::decide::module_state::State;
use super::kube_proxy::report::LeftoversReport;
use super::report::NodeReport;
use crate::node_protocol::{CleanReport, Leftover, LeftoverKind, Survey};
use crate::report::Finding;

impl NodeAnswer {
    /// The report as text.
    pub fn text(&self) -> String {
        match self {
            Self::Node(report) => report.text(),
            Self::Survey(survey) => survey_text(survey),
            Self::Leftovers(report) => report.text(),
            Self::Bridge(report) => {
                let mut text = format!("{}\n", report.summary);
                push_rest(&mut text, &[], &report.findings);
                text
            }
            Self::Clean(report) => clean_text(report),
        }
    }
}

impl NodeReport {
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
fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Appends a table if it has rows.
fn push_table(text: &mut String, table: &Table) {
    if table.row_count() > 0 {
        for line in table.lines() {
            let _ = writeln!(text, "{}", line.trim());
        }
    }
}

impl LeftoversReport {
    fn text(&self) -> String {
        let mut text = String::new();
        push_leftovers(&mut text, &self.leftovers);
        match (&self.running, self.leftovers.len()) {
            (None, _) => {}
            (Some(mode), 0) => {
                text.push_str(&format!("no leftovers of another mode; kube-proxy runs in {mode} mode\n"));
            }
            (Some(mode), number) => text.push_str(&format!(
                "{number} left over; kube-proxy runs in {mode} mode. Remove them with: kpx-prep node clean\n"
            )),
        }
        push_rest(&mut text, &self.suspicious, &self.findings);
        text
    }
}

/// A survey as text.
fn survey_text(survey: &Survey) -> String {
    let mut text = String::new();
    let mut table = plain_table();
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    for (name, value) in [
        ("host", format!("{}, kernel {}", survey.distro, survey.kernel)),
        ("modules", survey.modules.summary.clone()),
        ("mode", or_none(survey.running.clone())),
        ("iptables", or_none(survey.iptables.clone())),
        ("both variants", yes_no(survey.both_iptables)),
        ("nft", or_none(survey.nft.clone())),
        ("input drops", or_none((!survey.input_drops.is_empty()).then(|| survey.input_drops.join(", ")))),
        ("forward drops", or_none((!survey.forward_drops.is_empty()).then(|| survey.forward_drops.join(", ")))),
        ("local ports", or_none(survey.local_ports.map(|(first, last)| format!("{first}-{last}")))),
        ("conn_reuse_mode", or_none(survey.conn_reuse_mode.map(|mode| mode.to_string()))),
        (
            "other data plane",
            or_none((!survey.translated.is_empty()).then(|| {
                let addresses: Vec<_> = survey.translated.iter().map(ToString::to_string).collect();
                addresses.join(", ")
            })),
        ),
        ("NetworkManager", if survey.network_manager_interferes { "interferes" } else { "-" }.to_owned()),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    push_table(&mut text, &table);
    let mut table = plain_table();
    for server in &survey.virtual_servers {
        table.add_row([
            format!("{} {} {}", server.protocol, server.address, server.port),
            server.scheduler.clone(),
            format!("{} connections", server.connections),
            if server.claimed { "kube-proxy's" } else { "not kube-proxy's" }.to_owned(),
        ]);
    }
    push_table(&mut text, &table);
    push_leftovers(&mut text, &survey.leftovers);
    let _ = writeln!(text, "{} virtual servers, {} left over", survey.virtual_servers.len(), survey.leftovers.len());
    push_rest(&mut text, &survey.suspicious, &survey.modules.findings);
    push_rest(&mut text, &[], &survey.findings);
    text
}

/// A clean report as text.
fn clean_text(report: &CleanReport) -> String {
    let mut text = String::new();
    if report.transactions.is_empty() {
        push_leftovers(&mut text, &report.removed);
    } else {
        report.transactions.iter().for_each(|transaction| text.push_str(transaction));
        let by_ourselves =
            |leftover: &&Leftover| matches!(leftover.kind, LeftoverKind::VirtualServer | LeftoverKind::Link);
        let rest: Vec<Leftover> = report.removed.iter().filter(by_ourselves).cloned().collect();
        push_leftovers(&mut text, &rest);
    }
    if !report.remaining.is_empty() {
        text.push_str("remaining:\n");
        push_leftovers(&mut text, &report.remaining);
    }
    let _ = writeln!(text, "{}", report.summary);
    push_rest(&mut text, &report.suspicious, &report.findings);
    text
}

fn push_leftovers(text: &mut String, leftovers: &[Leftover]) {
    let mut table = plain_table();
    for leftover in leftovers {
        let kind = match leftover.kind {
            LeftoverKind::Chain => "chain",
            LeftoverKind::Rule => "rule",
            LeftoverKind::Table => "table",
            LeftoverKind::Set => "set",
            LeftoverKind::VirtualServer => "virtual server",
            LeftoverKind::Link => "link",
        };
        table.add_row([&leftover.of, kind, &leftover.place, &leftover.name]);
    }
    push_table(text, &table);
}

fn push_rest(text: &mut String, suspicious: &[String], findings: &[Finding]) {
    for suspicious in suspicious {
        let _ = writeln!(text, "not changed: {suspicious}");
    }
    for finding in findings {
        text.push_str(&finding.text());
    }
}
