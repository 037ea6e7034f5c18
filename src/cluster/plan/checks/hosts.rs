//! Checks of the nodes' hosts, from the node helper's survey.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::question::{Question, surveys};
use crate::cidr::Cidr;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::mode::ProxyMode;
use crate::mode::traits::ForeignIpvs;
use crate::node::decide::module_findings::WITHOUT_IPV6;
use crate::node_protocol::{PreparationOutcome, Survey};
use crate::report::{Finding, Level, few, finding};

pub(super) fn check(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, target, .. } = question;
    excluded(question, findings);
    let included = |node: &&NodeFacts| !request.exclude_nodes.contains(&node.name);
    let asked: Vec<_> = facts.proxy_nodes().filter(|node| node.ready && node.host.is_some()).filter(included).collect();
    let prepares = target.mode.traits().is_prepared && !request.nodes_are_prepared;
    if asked.is_empty() {
        if prepares && !request.is_restore() {
            let message = if target.mode.traits().needs_modules {
                "the nodes were not inspected; without the kernel modules for ipvs kube-proxy exits \
                     (1.26 and newer) or silently falls back to iptables"
            } else {
                "the nodes were not inspected; on one that cannot run nftables, kube-proxy serves no Services"
            };
            let hint = format!(
                "inspect them with --dry-run --nodes; a run without --dry-run also does so before any change; {}",
                about(target.mode)
            );
            findings.push(finding(Level::Warning, "nodes-prepared", message, hint));
        }
        return;
    }
    let switches = question.edits || facts.proxy_nodes().any(|node| node.proof.mode != Some(target.mode));
    findings.extend(leftovers(facts, request.clean));
    if !switches {
        return;
    }
    unreachable(&asked, prepares && !request.is_restore(), findings);
    if prepares {
        unprepared(&asked, target.mode, request.is_restore(), findings);
        if target.mode == ProxyMode::Ipvs {
            without_ipv6(question, &asked, findings);
        }
    }
    foreign_servers(question, &asked, findings);
    super::host_network::check(question, &asked, findings);
}

/// Findings of `status` about the inspected hosts.
pub fn of_status(facts: &ClusterFacts) -> Vec<Finding> {
    let asked: Vec<_> = facts.proxy_nodes().filter(|node| node.host.is_some()).collect();
    let mut findings = Vec::new();
    unreachable(&asked, false, &mut findings);
    if let Some(mode) = facts.target().ok().filter(|mode| mode.traits().is_prepared) {
        unprepared(&asked, mode, true, &mut findings);
        // A mode whose modules are loaded on demand runs on a node that is not prepared, too.
        let not_yet = surveys(asked.iter().copied()).filter(|(_, survey)| {
            mode.traits().needs_modules && survey.modules.outcome == PreparationOutcome::WouldPrepare
        });
        let names: Vec<_> = not_yet.map(|(name, _)| name.to_owned()).collect();
        if !names.is_empty() {
            let message = format!("{}: not prepared for {mode} now or at the next boot", few(&names));
            let hint = format!(
                "prepare them with: {}, or on one host with: {}; {}",
                facts.remediate(),
                mode.install_command(),
                about(mode)
            );
            findings.push(finding(Level::Warning, "node-modules", message, &hint));
        }
    }
    findings.extend(leftovers(facts, false));
    findings
}

/// Leftovers of other modes on nodes, and suspicious objects.
fn leftovers(facts: &ClusterFacts, cleaned: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let with = |wanted: fn(&Survey) -> usize| -> Vec<String> {
        let counted = surveys(facts.proxy_nodes()).map(|(node, survey)| (node, wanted(survey)));
        counted.filter(|(_, count)| *count > 0).map(|(node, count)| format!("{node} ({count})")).collect()
    };
    let left = with(|survey| survey.leftovers.len());
    if !left.is_empty() {
        let message = format!(
            "{}: leftover rules, ipsets, virtual servers or links of another mode{}",
            few(&left),
            if cleaned { "; they will be removed" } else { "" }
        );
        let hint = format!(
            "remove them with: {}, or on one host with: kpx-prep node clean; stale rules can reject traffic; https://github.com/kubernetes/kubernetes/issues/102314",
            facts.remediate()
        );
        findings.push(finding(if cleaned { Level::Info } else { Level::Warning }, "leftovers", message, &hint));
    }
    let suspicious = with(|survey| survey.suspicious.len());
    if !suspicious.is_empty() {
        let message = format!(
            "{}: objects that look like kube-proxy's but are not, or are used by others; not changed",
            few(&suspicious)
        );
        let hint = "list them on the host with: kpx-prep node leftovers; https://kubernetes.io/docs/reference/networking/virtual-ips/";
        findings.push(finding(Level::Info, "suspicious-rules", message, hint));
    }
    findings
}

fn excluded(question: Question, findings: &mut Vec<Finding>) {
    let Question { facts, request, target, .. } = question;
    if request.exclude_nodes.is_empty() {
        return;
    }
    let unknown: Vec<_> = request
        .exclude_nodes
        .iter()
        .filter(|name| !facts.nodes.iter().any(|node| node.name == **name))
        .cloned()
        .collect();
    if !unknown.is_empty() {
        let message = format!("--exclude-nodes: node not found: {}", few(&unknown));
        findings.push(finding(Level::Error, "exclude-nodes", message, "list the nodes with: kpx-prep status"));
    }
    // Nodes with another configuration, or none, are not affected.
    let reads = |name: &&String| facts.proxy_nodes().any(|node| node.name == **name);
    let names: Vec<_> = request.exclude_nodes.iter().filter(reads).cloned().collect();
    if names.is_empty() {
        return;
    }
    let names = few(&names);
    let hint = "remove them from --exclude-nodes, or prepare them with: kpx-prep node install; https://github.com/kubernetes/kubernetes/blob/master/pkg/proxy/ipvs/README.md";
    let (level, message) = if !target.mode.traits().needs_modules {
        (
            Level::Warning,
            format!("{names}: not switched now; their kube-proxy switches to {} at its next restart", target.mode),
        )
    } else if facts.minor() <= 25 {
        (
            Level::Warning,
            format!(
                "{names}: not prepared and not switched; all nodes use one ConfigMap, so their kube-proxy tries ipvs at its next restart, and silently falls back to iptables if the modules are missing"
            ),
        )
    } else {
        (
            Level::Error,
            format!(
                "{names}: all nodes use one ConfigMap; kube-proxy 1.26 or newer exits at its next restart on a node that cannot run ipvs"
            ),
        )
    };
    findings.push(finding(level, "exclude-nodes", message, hint));
}

fn unreachable(nodes: &[&NodeFacts], needed: bool, findings: &mut Vec<Finding>) {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        if let Some(Err(why)) = &node.host {
            by_reason.entry(why).or_default().push(node.name.clone());
        }
    }
    let level = if needed { Level::Error } else { Level::Warning };
    for (why, names) in by_reason {
        let message = format!("{}: inspection by the node helper failed: {why}", few(&names));
        let hint = "check with: kubectl describe pods --all-namespaces -l app.kubernetes.io/name=kpx-prep-node; or run kpx-prep node install on the node; https://kubernetes.io/docs/tasks/debug/debug-application/debug-running-pod/";
        findings.push(finding(level, "node-helper", message, hint));
    }
}

/// What a mode needs on a node.
fn about(mode: ProxyMode) -> &'static str {
    match mode {
        ProxyMode::Ipvs | ProxyMode::Iptables => {
            "https://github.com/kubernetes/kubernetes/blob/master/pkg/proxy/ipvs/README.md#prerequisite"
        }
        ProxyMode::Nftables => "https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-nftables",
    }
}

/// Nodes that cannot be prepared, by reason.
fn unprepared(nodes: &[&NodeFacts], mode: ProxyMode, restores: bool, findings: &mut Vec<Finding>) {
    let mut by_reason: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, survey) in
        surveys(nodes.iter().copied()).filter(|(_, survey)| survey.modules.outcome == PreparationOutcome::NotPrepared)
    {
        let errors = survey.modules.findings.iter().filter(|note| note.level == Level::Error);
        let (messages, hints): (Vec<_>, BTreeSet<_>) =
            errors.map(|note| (note.message.as_str(), note.hint.as_deref().unwrap_or_default())).unzip();
        let message = if messages.is_empty() { survey.modules.summary.clone() } else { messages.join("; ") };
        let hints =
            hints.into_iter().filter(|hint| !hint.is_empty()).chain([about(mode)]).collect::<Vec<_>>().join("; ");
        by_reason.entry((message, hints)).or_default().push(name.to_owned());
    }
    let level = if restores { Level::Warning } else { Level::Error };
    for ((message, hint), names) in by_reason {
        findings.push(finding(level, "node-modules", format!("{}: {message}", few(&names)), &hint));
    }
}

/// Nodes whose IPVS does not support IPv6, if there are Services that need it.
fn without_ipv6(question: Question, nodes: &[&NodeFacts], findings: &mut Vec<Finding>) {
    if !question.surroundings.services.addresses.iter().any(IpAddr::is_ipv6) {
        return;
    }
    let lacks = |survey: &Survey| survey.modules.findings.iter().any(|note| note.id == WITHOUT_IPV6);
    let names: Vec<_> =
        surveys(nodes.iter().copied()).filter(|(_, survey)| lacks(survey)).map(|(name, _)| name.to_owned()).collect();
    if !names.is_empty() {
        let message = format!(
            "{}: the kernel's IPVS does not support IPv6, but there are Services with IPv6 addresses",
            few(&names)
        );
        let hint = "boot kernels built with CONFIG_IP_VS_IPV6, or skip these nodes with --exclude-nodes; https://kubernetes.io/docs/concepts/services-networking/dual-stack/";
        let level = if question.request.is_restore() { Level::Warning } else { Level::Error };
        findings.push(finding(level, WITHOUT_IPV6, message, hint));
    }
}

fn foreign_servers(question: Question, nodes: &[&NodeFacts], findings: &mut Vec<Finding>) {
    let Question { surroundings, target, .. } = question;
    let given = target.config.as_ref().map(|config| config.exclude_cidrs.clone()).unwrap_or_default();
    let ranges: Vec<Cidr> = given.iter().filter_map(|cidr| Some(Cidr::around(cidr).ok()?.0)).collect();
    let protects = match target.mode.traits().foreign_ipvs {
        ForeignIpvs::Kept => return,
        ForeignIpvs::DeletedUnlessExcluded => true,
        ForeignIpvs::AllDeleted => false,
    };
    let (mut on, mut servers, mut cidrs) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (name, survey) in surveys(nodes.iter().copied()) {
        let foreign: Vec<_> =
            survey.virtual_servers.iter().filter(|server| surroundings.services.is_foreign(server)).collect();
        let mut destroyed = false;
        for server in foreign {
            let own = format!("{}/{}", server.address, if server.address.is_ipv6() { 128 } else { 32 });
            let covered = own.parse::<Cidr>().is_ok_and(|own| ranges.iter().any(|range| range.overlaps(own)));
            // kube-proxy compares addresses only; one with a firewall mark has no address.
            if protects && (covered || server.protocol == "FWM") {
                continue;
            }
            destroyed = true;
            servers.insert(format!("{} {}:{}", server.protocol, server.address, server.port));
            cidrs.insert(own);
        }
        if destroyed {
            on.push(name.to_owned());
        }
    }
    if on.is_empty() {
        return;
    }
    let list = few(&servers.into_iter().collect::<Vec<_>>());
    let (message, hint) = if protects {
        let all: Vec<String> = given.into_iter().chain(cidrs).collect();
        (
            format!(
                "{}: IPVS virtual servers not owned by kube-proxy ({list}) would be deleted in ipvs mode",
                few(&on)
            ),
            format!(
                "protect them with --exclude-cidrs {}; https://github.com/kubernetes/kubernetes/issues/59507",
                all.join(",")
            ),
        )
    } else {
        (
            format!(
                "{}: IPVS virtual servers not owned by kube-proxy ({list}); in nftables mode kube-proxy flushes IPVS at every start",
                few(&on)
            ),
            "they cannot run on the same node; move them to other nodes first; https://github.com/kubernetes/kubernetes/issues/55857"
                .to_owned(),
        )
    };
    findings.push(finding(Level::Error, "foreign-virtual-servers", message, &hint));
}
