//! ipvs and nftables mode are reached from each other by way of iptables mode: one change in two legs. Pure.
//!
//! kube-proxy empties IPVS when it starts in nftables mode (`platformCleanup`, `cmd/kube-proxy/app/server_linux.go`), which ends
//! every connection through it. When it starts in iptables mode it leaves IPVS alone, and connections can drain.

use super::checks::gap::GUIDE as GAP_GUIDE;
use super::request::{Goal, OnTheWay, Request};
use super::{Original, Plan, one_leg};
use crate::cluster::kube_proxy::backup::Backup;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::kubeadm::given::Given;
use crate::kubeadm::proxy::RawSettings;
use crate::mode::ProxyMode;
use crate::node_protocol::{LeftoverKind, Survey};
use crate::report::{Finding, Level, finding};

/// The mode between the two legs.
pub const BETWEEN: ProxyMode = ProxyMode::Iptables;

/// The plan of a change in two legs; `None` if it is made in one, as `whole`.
pub(super) fn in_two(
    facts: &ClusterFacts,
    surroundings: &Surroundings,
    request: &Request,
    whole: &Plan,
) -> Option<Plan> {
    let target = whole.target.as_ref()?;
    if request.direct || target.unfit.is_some() {
        return None;
    }
    let from = first_mode(facts, request, target.mode)?;
    let on_the_way = OnTheWay { to: target.mode, restores: target.backup.clone() };
    let mode = Given { place: "--mode".to_owned(), text: BETWEEN.name().to_owned() };
    let goal = Goal::Settings(Box::new(RawSettings { mode: Some(mode), ..RawSettings::default() }));
    let mut first = one_leg(facts, surroundings, &Request { goal, on_the_way: Some(on_the_way), ..request.clone() });
    // A text that cannot be edited can only be restored directly, which a check tells.
    if first.target.is_none() || first.is_empty() {
        return None;
    }
    // For the backup, which names what the second leg restores.
    first.then = Some(Box::new(whole.clone()));
    let there = arrived(facts, &first);
    let mut second = one_leg(&there, surroundings, request);
    second.from = Some(BETWEEN);
    for check in second.checks.iter_mut().filter(|check| check.id == "no-bridge") {
        // --direct would leave out the first leg, too, which keeps the connections of ipvs mode.
        check.hint = Some(format!(
            "first switch to {BETWEEN} mode (--mode {BETWEEN}), which keeps connections; then add --direct: new connections fail on each node until the first sync; {GAP_GUIDE}"
        ));
    }
    // What changes for the cluster is reported for the whole change; what serves until the first sync, for each leg.
    let of_gap = |check: &&Finding| ["by-way-of-iptables", "service-gap", "no-bridge"].contains(&&*check.id);
    let of_whole = whole.checks.iter().filter(|check| !of_gap(check));
    let found: Vec<_> = of_whole.chain(second.checks.iter().filter(of_gap)).cloned().collect();
    for check in found {
        if !first.checks.iter().any(|known| known.id == check.id && known.message == check.message) {
            first.checks.push(check);
        }
    }
    if !request.clean && target.mode == ProxyMode::Nftables {
        first.checks.push(not_drained(request));
        super::checks::soften(&mut first.checks, request);
    }
    first.from = Some(from);
    if first.edits && !request.is_restore() {
        first.original = again(facts, &first).and_then(Original::of);
    }
    // For the operator, it is one change of the settings.
    first.translation.clone_from(&whole.translation);
    second.translation.clear();
    // Nodes are prepared before anything is changed.
    first.to_prepare.clone_from(&second.to_prepare);
    first.then = Some(Box::new(second));
    Some(first)
}

/// The mode that is not changed to this one directly.
pub fn by_way(to: ProxyMode) -> Option<ProxyMode> {
    match to {
        ProxyMode::Ipvs => Some(ProxyMode::Nftables),
        ProxyMode::Nftables => Some(ProxyMode::Ipvs),
        ProxyMode::Iptables => None,
    }
}

/// The mode that the first leg leaves: that from which a node comes, or [`BETWEEN`] if one only has connections of it left;
/// `None` if there is no such node.
fn first_mode(facts: &ClusterFacts, request: &Request, to: ProxyMode) -> Option<ProxyMode> {
    let from = by_way(to)?;
    let configured = facts.target().ok();
    let runs = |node: &NodeFacts| node.proof.mode.or(configured);
    let nodes = || facts.nodes.iter().filter(|node| request.includes(node));
    if nodes().any(|node| runs(node) == Some(from)) {
        return Some(from);
    }
    let left = |node: &NodeFacts| to == ProxyMode::Nftables && runs(node) == Some(BETWEEN) && holds_connections(node);
    nodes().any(left).then_some(BETWEEN)
}

/// Whether a node that left ipvs mode still has virtual servers of kube-proxy.
fn holds_connections(node: &NodeFacts) -> bool {
    let kept = |survey: &Survey| {
        survey.virtual_servers.iter().any(|server| server.claimed)
            || survey.leftovers.iter().any(|left| left.kind == LeftoverKind::VirtualServer)
    };
    node.survey().is_some_and(kept)
}

fn not_drained(request: &Request) -> Finding {
    let level = if request.is_restore() { Level::Warning } else { Level::Error };
    let message = "with --no-clean, connections through IPVS are not drained in iptables mode; they end when kube-proxy starts in nftables mode";
    let hint = "remove --no-clean, or add --direct to end them; https://kubernetes.io/docs/reference/networking/virtual-ips/#migrating-from-iptables-mode-to-nftables";
    finding(level, "by-way-of-iptables", message, hint)
}

/// A change in one leg, with a finding where connections would have to be drained first and may not.
pub(super) fn undrained(facts: &ClusterFacts, request: &Request, mut plan: Plan) -> Plan {
    let into = plan.mode() == Some(ProxyMode::Nftables);
    let holds = facts.nodes.iter().filter(|node| request.includes(node)).any(holds_connections);
    if into && holds && !plan.is_empty() && !request.clean && !request.direct {
        plan.checks.push(not_drained(request));
        super::checks::soften(&mut plan.checks, request);
    }
    plan
}

/// The cluster after the first leg.
fn arrived(facts: &ClusterFacts, first: &Plan) -> ClusterFacts {
    let mut there = facts.clone();
    if let (Some(config), Some(target)) = (&mut there.config, &first.target) {
        let new = first.replacement(target);
        let original = std::mem::replace(&mut config.text, target.text.clone());
        config.parsed = crate::proxy_config::read(&target.text);
        there.backups.insert(0, Backup::planned(&config.name, original, new));
    }
    let switched =
        |name: &String| first.canary.as_ref() == Some(name) || first.batches.iter().flatten().any(|n| n == name);
    for node in &mut there.nodes {
        let is_switched = switched(&node.name);
        if is_switched {
            node.proof.mode = Some(BETWEEN);
            node.proof.sync = None;
        }
        if (is_switched || first.to_clean.contains(&node.name))
            && let Some(Ok(survey)) = &mut node.host
        {
            survey.leftovers.clear();
            survey.virtual_servers.retain(|server| !server.claimed);
            survey.running = Some(BETWEEN.name().to_owned());
        }
    }
    there
}

/// The backup with the original of the change whose second leg a plan is: it edits the text between the legs, or that of the
/// second leg is there already.
pub(super) fn original(facts: &ClusterFacts, edits: bool) -> Option<&Backup> {
    let text = &facts.config.as_ref()?.text;
    let backup = facts.backups.iter().find(|backup| backup.was_replaced_by(text))?;
    (backup.is_between(text) == edits && backup.on_the_way.is_some()).then_some(backup)
}

/// The backup of a change in two legs whose second text is configured, if its first leg is this one.
fn again<'a>(facts: &'a ClusterFacts, first: &Plan) -> Option<&'a Backup> {
    let (text, target) = (&facts.config.as_ref()?.text, first.target.as_ref()?);
    let backup = facts.backups.iter().find(|backup| backup.was_replaced_by(text))?;
    (backup.is_between(&target.text) && backup.written.as_ref() == Some(text)).then_some(backup)
}
