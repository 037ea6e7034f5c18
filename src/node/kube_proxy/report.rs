//! Text output of `node survey`, `node leftovers` and `node clean`: tables of leftovers, a summary, findings.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::process::toolbox::{Known, Toolbox};
use super::process::{answers, shares_network};
use super::rules::leftovers::Leftovers;
use super::rules::observe::Observed;
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::node::report::{plain_table, push_table};
use crate::node::root::Root;
use crate::node_protocol::{CleanReport, Leftover, LeftoverKind, Survey};
use crate::report::{API_VERSION, Finding, Level, finding};

/// The result of `node leftovers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftoversReport {
    /// [`crate::report::API_VERSION`].
    pub api_version: String,
    /// `LeftoversReport`.
    pub kind: String,
    /// The verified mode of kube-proxy.
    pub running: Option<String>,
    /// What other modes left behind.
    pub leftovers: Vec<Leftover>,
    /// What looks like kube-proxy's but is not.
    pub suspicious: Vec<String>,
    /// Further findings.
    pub findings: Vec<Finding>,
}

/// Finds the leftovers on a host.
///
/// # Errors
/// If the host cannot be inspected.
pub fn leftovers(root: &Root, port: u16, known: &Known) -> anyhow::Result<(LeftoversReport, Exit)> {
    let mut report = LeftoversReport {
        api_version: API_VERSION.to_owned(),
        kind: "LeftoversReport".to_owned(),
        running: answers::mode_of(root, known, port),
        leftovers: Vec::new(),
        suspicious: Vec::new(),
        findings: Vec::new(),
    };
    let observed = Observed::new(root, &Toolbox::new(root, known))?;
    report.findings.clone_from(&observed.findings);
    let unknown = |message: String| {
        finding(
            Level::Error,
            "mode-unknown",
            format!("{message}; leftovers cannot be identified"),
            "set --metrics-port if kube-proxy's metrics port is not 10249",
        )
    };
    let running = match &report.running {
        _ if !shares_network(root) => Err("this process is not in the host's network namespace".to_owned()),
        None => Err(format!("no kube-proxy answers on 127.0.0.1:{port}/proxyMode")),
        Some(mode) => mode.parse::<ProxyMode>().map_err(|error| error.to_string()),
    };
    match running {
        Err(why) => report.findings.push(unknown(why)),
        Ok(mode) => {
            let left = Leftovers::new(&observed, mode, None);
            report.leftovers = left.list();
            report.suspicious = left.suspicious;
        }
    }
    let unclear = report.findings.iter().any(|note| note.level == Level::Error);
    let exit = if unclear || !report.leftovers.is_empty() { Exit::CheckSaysNo } else { Exit::Done };
    Ok((report, exit))
}

impl LeftoversReport {
    /// The report as text.
    pub fn text(&self) -> String {
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
pub fn survey_text(survey: &Survey) -> String {
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
        ("local ports", or_none(survey.local_ports.map(|(first, last)| format!("{first}-{last}")))),
        ("conn_reuse_mode", or_none(survey.conn_reuse_mode.map(|mode| mode.to_string()))),
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
pub fn clean_text(report: &CleanReport) -> String {
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
