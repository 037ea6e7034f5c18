//! From ipvs to nftables mode and back by way of iptables mode: which leg is due.

use kpx_prep::cluster::kube_proxy::backup::{Backup, Leg};
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::plan::request::{Goal, Request};
use kpx_prep::cluster::plan::{Plan, plan};
use kpx_prep::cluster::report::plan_text::plan_text;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{Leftover, LeftoverKind, Preparation, PreparationOutcome, Survey, VirtualServer};
use kpx_prep::report::Level;

use crate::cluster_facts::{CHANGED, cluster, request, text};
use crate::{ids, order, set_config, set_image, surroundings};

fn on_1_33(configured: &str, runs: ProxyMode) -> ClusterFacts {
    let mut facts = cluster(configured, runs);
    "v1.33.1".clone_into(&mut facts.version);
    set_image(&mut facts, "registry.k8s.io/kube-proxy:v1.33.1");
    facts
}

/// The backup of a change from ipvs, of which this was written.
fn backup(on_the_way: Option<&str>, written: &str) -> Backup {
    Backup {
        name: "kpx-prep-backup-1".to_owned(),
        of: "kube-proxy".to_owned(),
        replaced_at: "1".to_owned(),
        uid: String::new(),
        resource_version: "1".to_owned(),
        text: text("ipvs"),
        written: Some(text(written)),
        on_the_way: on_the_way.map(text),
        restores: None,
    }
}

fn planned(facts: &ClusterFacts, request: &Request) -> Plan {
    plan(facts, &surroundings(), request)
}

/// A plan's mode, and that of its second leg.
fn legs(plan: &Plan) -> (Option<ProxyMode>, Option<ProxyMode>) {
    (plan.to, plan.then.as_ref().and_then(|then| then.to))
}

const ALL: &str = "worker-1 | worker-2 worker-3 control-1";
const IN_TWO: (Option<ProxyMode>, Option<ProxyMode>) = (Some(ProxyMode::Iptables), Some(ProxyMode::Nftables));
const IN_ONE: (Option<ProxyMode>, Option<ProxyMode>) = (Some(ProxyMode::Nftables), None);

#[test]
fn both_legs_are_planned() {
    let facts = on_1_33("ipvs", ProxyMode::Ipvs);
    let made = planned(&facts, &request("nftables"));
    assert_eq!(legs(&made), IN_TWO, "{made:?}");
    let then = made.then.as_deref().unwrap();
    assert_eq!((order(&made).as_str(), order(then).as_str()), (ALL, ALL));
    assert_eq!(then.from, Some(ProxyMode::Iptables));
    assert_eq!(made.target.as_ref().unwrap().text, text("iptables"));
    assert_eq!(made.end().unwrap().text, text("nftables"));
    assert_eq!(made.replacement(made.target.as_ref().unwrap()).leg, Leg::First);
    assert_eq!(ids(&made, Level::Error), [] as [&str; 0]);
    let back = planned(&on_1_33("nftables", ProxyMode::Nftables), &request("ipvs"));
    assert_eq!(legs(&back), (Some(ProxyMode::Iptables), Some(ProxyMode::Ipvs)));
    // Edited by hand, and not restarted yet.
    assert_eq!(legs(&planned(&on_1_33("nftables", ProxyMode::Ipvs), &request("nftables"))), IN_TWO);
    // What runs in neither counts as configured.
    let mut facts = on_1_33("ipvs", ProxyMode::Ipvs);
    facts.nodes.iter_mut().for_each(|node| node.proof.mode = None);
    assert_eq!(legs(&planned(&facts, &request("nftables"))), IN_TWO);
}

/// --direct from ipvs would leave out the leg that keeps its connections.
#[test]
fn where_no_bridge_is_possible_the_hint_keeps_the_first_leg() {
    let hint = |runs: ProxyMode| {
        let mut facts = on_1_33(runs.name(), runs);
        let modules = Preparation { outcome: PreparationOutcome::AlreadyPrepared, ..Preparation::default() };
        facts.nodes[2].host = Some(Ok(Survey { lacks_time_match: true, modules, ..Survey::default() }));
        let made = planned(&facts, &Request { nodes_are_prepared: false, ..request("nftables") });
        made.checks.iter().find(|check| check.id == "no-bridge").and_then(|check| check.hint.clone()).unwrap()
    };
    assert!(hint(ProxyMode::Ipvs).starts_with("first switch to iptables mode"), "{}", hint(ProxyMode::Ipvs));
    assert!(hint(ProxyMode::Iptables).starts_with("add --direct"), "{}", hint(ProxyMode::Iptables));
}

#[test]
fn other_changes_have_one_leg() {
    for (runs, to) in [
        (ProxyMode::Ipvs, "iptables"),
        (ProxyMode::Iptables, "ipvs"),
        (ProxyMode::Iptables, "nftables"),
        (ProxyMode::Nftables, "iptables"),
    ] {
        let made = planned(&on_1_33(runs.name(), runs), &request(to));
        assert!(made.then.is_none() && made.edits, "{runs} to {to}");
        assert_eq!(made.replacement(made.target.as_ref().unwrap()).leg, Leg::Only);
    }
    let facts = on_1_33("ipvs", ProxyMode::Ipvs);
    let direct = Request { direct: true, ..request("nftables") };
    assert_eq!(legs(&planned(&facts, &direct)), IN_ONE);
    // Nodes that this run does not switch decide nothing.
    let mut mixed = on_1_33("iptables", ProxyMode::Iptables);
    mixed.nodes[1].proof.mode = Some(ProxyMode::Ipvs);
    let without = Request { exclude_nodes: vec!["worker-1".to_owned()], ..request("nftables") };
    assert_eq!(legs(&planned(&mixed, &without)), IN_ONE);
    mixed.nodes[1].ready = false;
    assert_eq!(legs(&planned(&mixed, &request("nftables"))), IN_ONE);
}

#[test]
fn a_killed_run_is_resumed_in_its_leg() {
    // In the first: one node was switched.
    let mut facts = on_1_33("iptables", ProxyMode::Ipvs);
    facts.backups = vec![backup(Some("iptables"), "iptables")];
    facts.nodes[1].proof.mode = Some(ProxyMode::Iptables);
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 1;
    let made = planned(&facts, &request("nftables"));
    assert_eq!((legs(&made), made.edits, order(&made).as_str()), (IN_TWO, false, "worker-2 | worker-3 control-1"));
    assert!(made.original.is_none(), "it is rolled back to the backup of what is configured");
    // Between them.
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    facts.backups = vec![backup(Some("iptables"), "iptables")];
    let made = planned(&facts, &request("nftables"));
    assert_eq!((legs(&made), made.edits), (IN_ONE, true));
    let target = made.target.as_ref().unwrap();
    assert_eq!(made.replacement(target).leg, Leg::Second("kpx-prep-backup-1"));
    let original = made.original.unwrap();
    assert_eq!((original.text, original.on_the_way), (text("ipvs"), text("iptables")));
    // The second is recorded, and not written yet.
    facts.backups = vec![backup(Some("iptables"), "nftables")];
    assert_eq!(planned(&facts, &request("nftables")).original.unwrap().text, text("ipvs"));
    // In the second.
    let mut facts = on_1_33("nftables", ProxyMode::Iptables);
    facts.backups = vec![backup(Some("iptables"), "nftables")];
    facts.nodes[1].proof.mode = Some(ProxyMode::Nftables);
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 1;
    let made = planned(&facts, &request("nftables"));
    assert_eq!((legs(&made), made.edits, order(&made).as_str()), (IN_ONE, false, "worker-2 | worker-3 control-1"));
    assert_eq!(made.original.unwrap().on_the_way, text("iptables"));
    // A node comes back with the first mode: only it goes through the first leg, and the original stays the one that it was.
    facts.nodes[3].proof.mode = Some(ProxyMode::Ipvs);
    facts.nodes[2].proof.mode = Some(ProxyMode::Nftables);
    facts.nodes[0].proof.mode = Some(ProxyMode::Nftables);
    let made = planned(&facts, &request("nftables"));
    assert_eq!((legs(&made), order(&made).as_str()), (IN_TWO, "worker-3 | "));
    assert_eq!(made.replacement(made.target.as_ref().unwrap()).leg, Leg::Again("kpx-prep-backup-1"));
    assert_eq!(made.from, Some(ProxyMode::Ipvs));
}

/// What the texts say of both legs, and of one that is resumed.
#[test]
fn the_plan_says_which_leg_it_is() {
    let facts = on_1_33("ipvs", ProxyMode::Ipvs);
    let text = plan_text(Some(&facts), &planned(&facts, &request("nftables")));
    for words in [
        "Plan: to nftables by way of iptables, as one change in two legs",
        "Leg 1: ipvs to iptables. Connections continue; those through IPVS until --drain has passed, before leg 2.",
        "Leg 2: iptables to nftables, once leg 1 is verified. Connections continue: ",
        "save the current ConfigMap as a backup",
        "drain existing IPVS connections",
        "go back to iptables mode, then restore the original ConfigMap",
    ] {
        assert!(text.contains(words), "nothing about {words:?}:\n{text}");
    }
    assert_eq!(text.matches("as a backup").count(), 1, "{text}");
    // Resumed in the first: the ConfigMap is written already.
    let mut facts = on_1_33("iptables", ProxyMode::Ipvs);
    facts.backups = vec![backup(Some("iptables"), "iptables")];
    facts.nodes[1].proof.mode = Some(ProxyMode::Iptables);
    let text = plan_text(Some(&facts), &planned(&facts, &request("nftables")));
    assert!(text.contains("Leg 1: ipvs to iptables.") && text.contains("drain existing IPVS connections"), "{text}");
    // In the second.
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    facts.backups = vec![backup(Some("iptables"), "iptables")];
    let text = plan_text(Some(&facts), &planned(&facts, &request("nftables")));
    assert!(text.contains("from iptables to nftables, the second leg of a change by way of iptables"), "{text}");
}

#[test]
fn iptables_mode_that_was_asked_for_is_no_leg() {
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    // The newest change led there from nftables mode.
    let newest = Backup { text: text("nftables"), ..backup(None, "iptables") };
    facts.backups = vec![newest, backup(Some("iptables"), "nftables")];
    let made = planned(&facts, &request("ipvs"));
    assert!(made.original.is_none());
    assert_eq!(made.replacement(made.target.as_ref().unwrap()).leg, Leg::Only);
}

#[test]
fn connections_that_are_not_drained_are_part_of_the_first_leg() {
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    let left = Leftover {
        of: "ipvs".to_owned(),
        kind: LeftoverKind::VirtualServer,
        place: String::new(),
        name: "TCP 10.96.0.1:443".to_owned(),
    };
    facts.nodes[2].host = Some(Ok(Survey { leftovers: vec![left], ..Survey::default() }));
    for node in &mut facts.nodes {
        node.pod.as_mut().unwrap().created = CHANGED + 1;
    }
    let made = planned(&facts, &request("nftables"));
    assert_eq!((legs(&made), made.edits, order(&made).as_str()), (IN_TWO, false, "- | "));
    assert_eq!(made.to_clean, ["worker-2"]);
    assert_eq!(order(made.then.as_deref().unwrap()), ALL);
    assert_eq!(made.then.unwrap().from, Some(ProxyMode::Iptables));
    // Other leftovers are no reason.
    facts.nodes[2].host.as_mut().unwrap().as_mut().unwrap().leftovers[0].kind = LeftoverKind::Chain;
    assert_eq!(legs(&planned(&facts, &request("nftables"))), IN_ONE);
}

#[test]
fn without_cleaning_nothing_drains() {
    let facts = on_1_33("ipvs", ProxyMode::Ipvs);
    let made = planned(&facts, &Request { clean: false, ..request("nftables") });
    assert_eq!(ids(&made, Level::Error), ["by-way-of-iptables"]);
    let ignored = vec!["by-way-of-iptables".to_owned()];
    let made = planned(&facts, &Request { clean: false, ignored_checks: ignored, ..request("nftables") });
    assert!(!made.is_blocked() && ids(&made, Level::Warning).contains(&"by-way-of-iptables"), "{:?}", made.checks);
    // Killed between the legs, and repeated so.
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    let server = VirtualServer {
        protocol: "TCP".to_owned(),
        address: [10, 96, 0, 1].into(),
        port: 443,
        scheduler: "rr".to_owned(),
        claimed: true,
        connections: 1,
    };
    facts.nodes[2].host = Some(Ok(Survey { virtual_servers: vec![server], ..Survey::default() }));
    let made = planned(&facts, &Request { clean: false, ..request("nftables") });
    assert!(ids(&made, Level::Error).contains(&"by-way-of-iptables"), "{:?}", made.checks);
    let back = planned(&on_1_33("nftables", ProxyMode::Nftables), &Request { clean: false, ..request("ipvs") });
    assert!(!back.is_blocked(), "{:?}", back.checks);
}

#[test]
fn a_rollback_has_two_legs_too() {
    let restore = Request { goal: Goal::Restore { backup: None, force: false }, ..request("ipvs") };
    let mut facts = on_1_33("nftables", ProxyMode::Nftables);
    facts.backups = vec![backup(Some("iptables"), "nftables")];
    let made = planned(&facts, &restore);
    assert_eq!(legs(&made), (Some(ProxyMode::Iptables), Some(ProxyMode::Ipvs)));
    assert_eq!(made.end().unwrap().text, text("ipvs"));
    let replacement = made.replacement(made.target.as_ref().unwrap());
    assert_eq!((replacement.leg, replacement.restores), (Leg::First, Some("kpx-prep-backup-1")));
    // Between its legs: the newest backup is that of the first leg, and leads to the other.
    let mut facts = on_1_33("iptables", ProxyMode::Iptables);
    let of_first = Backup {
        name: "kpx-prep-backup-2".to_owned(),
        text: text("nftables"),
        restores: Some("kpx-prep-backup-1".to_owned()),
        ..backup(Some("iptables"), "iptables")
    };
    facts.backups = vec![of_first, backup(Some("iptables"), "nftables")];
    let made = planned(&facts, &restore);
    assert_eq!((made.to, made.target.as_ref().unwrap().text.clone()), (Some(ProxyMode::Ipvs), text("ipvs")));
    assert_eq!(made.replacement(made.target.as_ref().unwrap()).leg, Leg::Second("kpx-prep-backup-2"));
    // Undone after a failure: the same command does the same again.
    facts.backups[0].written = Some(text("ipvs"));
    set_config(&mut facts, &text("nftables"));
    facts.nodes.iter_mut().for_each(|node| node.proof.mode = Some(ProxyMode::Nftables));
    let made = planned(&facts, &restore);
    assert_eq!(made.end().unwrap().text, text("ipvs"));
    // A name that names nothing is no reason to refuse.
    facts.backups[0].restores = Some("kpx-prep-backup-9".to_owned());
    set_config(&mut facts, &text("iptables"));
    assert_eq!(ids(&planned(&facts, &restore), Level::Error), [] as [&str; 0]);
    // A configuration that cannot be edited is restored directly.
    let mut facts = on_1_33("nftables", ProxyMode::Nftables);
    facts.backups = vec![Backup { written: Some("kind: [".to_owned()), ..backup(None, "nftables") }];
    set_config(&mut facts, "kind: [");
    let made = planned(&facts, &restore);
    assert_eq!(legs(&made), (Some(ProxyMode::Ipvs), None));
    assert!(ids(&made, Level::Warning).contains(&"by-way-of-iptables"), "{:?}", made.checks);
}
