//! What serves Services while kube-proxy goes into or out of nftables mode: from 1.29 on it removes the old rules when it
//! starts, before it has written its own (`platformCleanup`, `cmd/kube-proxy/app/server_linux.go`).

use super::question::{Question, surveys};
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, few, finding};

pub(in crate::cluster::plan) const GUIDE: &str =
    "https://kubernetes.io/docs/reference/networking/virtual-ips/#migrating-from-iptables-mode-to-nftables";

/// `CleanupLeftovers`, `pkg/proxy/ipvs/cleanup.go`.
const EMPTIED: &str = "coming from ipvs mode, it empties IPVS as well, which ends every connection through a Service";

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, target, .. } = question;
    let switched = facts.nodes.iter().filter(|node| request.includes(node));
    let now: Vec<ProxyMode> = switched.filter_map(|node| node.proof.mode).collect();
    let runs = |mode: ProxyMode| now.contains(&mode);
    let (into, out) = match target.mode {
        ProxyMode::Nftables => (runs(ProxyMode::Iptables) || runs(ProxyMode::Ipvs), false),
        ProxyMode::Iptables | ProxyMode::Ipvs => (false, runs(ProxyMode::Nftables)),
    };
    if !into && !out {
        return;
    }
    let between = if into { runs(ProxyMode::Ipvs) } else { target.mode == ProxyMode::Ipvs };
    if between && !request.direct {
        // Else the change has two legs, see `plan::legs`. An original is restored whatever the live configuration is.
        let level = if request.is_restore() { Level::Warning } else { Level::Error };
        let loss = if into { EMPTIED } else { "what serves until the first sync is not tested with every network" };
        let message = format!(
            "the live configuration cannot be edited, so ipvs and nftables mode are not changed by way of iptables mode; {loss}"
        );
        let hint = format!("fix the live configuration and run again, or accept it with --direct; {GUIDE}");
        findings.push(finding(level, "by-way-of-iptables", message, hint));
    }
    if into && !request.direct && request.runs_on_nodes() {
        without_bridge(question, findings);
    }
    if request.direct || !request.runs_on_nodes() {
        let mut message = "kube-proxy removes the old rules when it starts: on each node, new connections to Services fail until its first sync, which takes seconds, and minutes with thousands of Services".to_owned();
        if into && between {
            message.push_str(&format!("; {EMPTIED}"));
        }
        let hint = if request.direct {
            "without --direct, kpx-prep goes by way of iptables mode and serves Services from a copy of the old rules until then"
        } else {
            "without --no-clean or --assume-nodes-prepared, the node helper serves Services from a copy of the old rules until then"
        };
        findings.push(finding(Level::Warning, "service-gap", message, format!("{hint}; {GUIDE}")));
    }
}

/// Nodes whose kernel has no clock in iptables rules, without which a copy of them would have no end.
fn without_bridge(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, .. } = question;
    let nodes = facts.nodes.iter().filter(|node| request.includes(node));
    let nodes = nodes.filter(|node| node.proof.mode == Some(ProxyMode::Iptables));
    let lacking = surveys(nodes).filter(|(_, survey)| survey.lacks_time_match);
    let names: Vec<_> = lacking.map(|(node, _)| node.to_owned()).collect();
    if !names.is_empty() {
        let level = if request.is_restore() { Level::Warning } else { Level::Error };
        let message = format!(
            "{}: the kernel has no xt_time, so the iptables rules that serve Services cannot be copied until kube-proxy's first sync",
            few(&names)
        );
        let hint = format!(
            "add --direct to switch without a copy: new connections fail on each node until the first sync; {GUIDE}"
        );
        findings.push(finding(level, "no-bridge", message, hint));
    }
}
