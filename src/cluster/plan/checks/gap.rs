//! What serves Services while kube-proxy goes into or out of nftables mode: from 1.29 on it removes the old rules when it
//! starts, before it has written its own (`platformCleanup`, `cmd/kube-proxy/app/server_linux.go`).

use super::question::Question;
use crate::mode::ProxyMode;
use crate::report::{Finding, Level, finding};

const GUIDE: &str =
    "https://kubernetes.io/docs/reference/networking/virtual-ips/#migrating-from-iptables-mode-to-nftables";

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, target, .. } = question;
    let now: Vec<ProxyMode> = facts.proxy_nodes().filter_map(|node| node.proof.mode).collect();
    let runs = |mode: ProxyMode| now.contains(&mode);
    let (into, out) = match target.mode {
        ProxyMode::Nftables => (runs(ProxyMode::Iptables) || runs(ProxyMode::Ipvs), false),
        ProxyMode::Iptables | ProxyMode::Ipvs => (false, runs(ProxyMode::Nftables)),
    };
    if !into && !out {
        return;
    }
    let other = if into { ProxyMode::Ipvs } else { ProxyMode::Nftables };
    let between_ipvs = if into { runs(ProxyMode::Ipvs) } else { target.mode == ProxyMode::Ipvs };
    if between_ipvs && !request.direct {
        let message = if into {
            "from ipvs directly to nftables, kube-proxy empties IPVS when it starts: every connection through a Service ends, and new ones fail until its first sync".to_owned()
        } else {
            format!("from {other} directly to ipvs, what serves until the first sync is not tested with every network")
        };
        // An original is restored whatever it was.
        let level = if request.is_restore() { Level::Warning } else { Level::Error };
        let hint = format!(
            "go by way of iptables: first remediate --mode iptables, which loses no connection, then remediate --mode {}; or add --direct; {GUIDE}",
            target.mode
        );
        findings.push(finding(level, "by-way-of-iptables", message, &hint));
    }
    if request.direct || !request.runs_on_nodes() {
        let message = "kube-proxy removes the old rules when it starts: on each node, new connections to Services fail until its first sync, which takes seconds, and minutes with thousands of Services";
        let hint = if request.direct {
            "without --direct, kpx-prep serves Services from a copy of the old rules until then"
        } else {
            "without --no-clean or --assume-nodes-prepared, the node helper serves Services from a copy of the old rules until then"
        };
        findings.push(finding(Level::Warning, "service-gap", message, format!("{hint}; {GUIDE}")));
    }
}
