//! `node leftovers`: what other modes left on a host.

use serde::{Deserialize, Serialize};

use super::bridge::Bridge;
use super::process::toolbox::{Known, Toolbox};
use super::process::{answers, shares_network};
use super::rules::leftovers::Leftovers;
use super::rules::observe::Observed;
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::node::root::Root;
use crate::node_protocol::Leftover;
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
    report.leftovers = Bridge::of(&observed).list();
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
            report.leftovers.extend(left.list());
            report.suspicious = left.suspicious;
        }
    }
    let unclear = report.findings.iter().any(|note| note.level == Level::Error);
    let exit = if unclear || !report.leftovers.is_empty() { Exit::CheckSaysNo } else { Exit::Done };
    Ok((report, exit))
}
