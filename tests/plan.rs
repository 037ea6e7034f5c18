//! Planning: from facts and a wish to steps, or to reasons why not. Tables; no cluster.

#[path = "plan/checks.rs"]
mod checks;
#[path = "support/cluster_facts.rs"]
mod cluster_facts;
#[path = "plan/legs.rs"]
mod legs;
#[path = "plan/mode_choice.rs"]
mod mode_choice;
#[path = "plan/parking.rs"]
mod parking;
#[path = "plan/patience.rs"]
mod patience;
#[path = "plan/translation.rs"]
mod translation;

use cluster_facts::{CHANGED, cluster, request, text};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kpx_prep::cluster::kube_proxy::backup::Backup;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::request::{Goal, Request};
use kpx_prep::cluster::plan::{Plan, plan};
use kpx_prep::mode::ProxyMode;
use kpx_prep::proxy_config;
use kpx_prep::report::Level;

fn set_config(facts: &mut ClusterFacts, text: &str) {
    let config = facts.config.as_mut().unwrap();
    text.clone_into(&mut config.text);
    config.parsed = proxy_config::read(text);
}

fn set_image(facts: &mut ClusterFacts, image: &str) {
    image.clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    for node in &mut facts.nodes {
        image.clone_into(&mut node.pod.as_mut().unwrap().image);
    }
}

fn restore() -> Request {
    Request { goal: Goal::Restore { backup: None, force: false }, ..request("ipvs") }
}

fn surroundings() -> Surroundings {
    Surroundings { newest_revisions: [("uid".to_owned(), "rev-1".to_owned())].into(), ..Surroundings::default() }
}

fn order(plan: &Plan) -> String {
    let batches: Vec<_> = plan.batches.iter().map(|batch| batch.join("+")).collect();
    format!("{} | {}", plan.canary.as_deref().unwrap_or("-"), batches.join(" "))
}

fn ids(plan: &Plan, level: Level) -> Vec<&str> {
    plan.checks.iter().filter(|check| check.level == level).map(|check| &*check.id).collect()
}

#[test]
fn the_canary_is_a_ready_worker_and_control_plane_nodes_come_last() {
    let mut facts = cluster("", ProxyMode::Iptables);
    assert_eq!(order(&plan(&facts, &surroundings(), &request("ipvs"))), "worker-1 | worker-2 worker-3 control-1");
    facts.nodes[1].ready = false;
    let planned = plan(&facts, &surroundings(), &request("ipvs"));
    assert_eq!(order(&planned), "worker-2 | worker-3 control-1");
    assert_eq!(planned.left_alone[0].node, "worker-1");
    let asked = Request { canary: Some("control-1".to_owned()), ..request("ipvs") };
    assert_eq!(order(&plan(&facts, &surroundings(), &asked)), "control-1 | worker-2 worker-3");
    let wrong = Request { canary: Some("worker-9".to_owned()), ..request("ipvs") };
    assert_eq!(ids(&plan(&facts, &surroundings(), &wrong), Level::Error), ["canary"]);
    facts.nodes.truncate(1);
    assert_eq!(order(&plan(&facts, &surroundings(), &request("ipvs"))), "control-1 | ");
}

#[test]
fn batches_are_no_larger_than_asked() {
    let facts = cluster("", ProxyMode::Iptables);
    for (of_set, asked, expected) in [
        (None, None, 1),
        (Some("2"), None, 2),
        (Some("2"), Some("1"), 1),
        (Some("26%"), None, 2),
        (Some("25%"), None, 1),
        (None, Some("100%"), 4),
        (Some("0"), None, 1),
    ] {
        let number = |text: &str| text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int);
        let mut facts = facts.clone();
        facts.kube_proxy.as_mut().unwrap().max_unavailable = of_set.map(number);
        let request = Request { max_unavailable: asked.map(number), ..request("ipvs") };
        let planned = plan(&facts, &surroundings(), &request);
        assert_eq!(planned.batch_size, expected, "{of_set:?} {asked:?}");
        assert!(planned.batches.iter().all(|batch| batch.len() <= expected));
    }
}

#[test]
fn only_the_mode_changes() {
    let planned = plan(&cluster("", ProxyMode::Iptables), &surroundings(), &request("ipvs"));
    assert_eq!(planned.target.as_ref().unwrap().text, text("ipvs"));
    assert!(planned.diff.contains("-mode: \"\"  # kept\n+mode: \"ipvs\"  # kept\n"), "{}", planned.diff);
    assert_eq!((planned.from, planned.to), (Some(ProxyMode::Iptables), Some(ProxyMode::Ipvs)));
    assert!(!planned.is_blocked(), "{:?}", planned.checks);
}

#[test]
fn a_run_that_was_killed_goes_on_from_what_is_observed() {
    // Configured, and one node switched since: its pod is younger than the change.
    let mut facts = cluster("ipvs", ProxyMode::Iptables);
    facts.nodes[1].proof.mode = Some(ProxyMode::Ipvs);
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 5;
    let planned = plan(&facts, &surroundings(), &request("ipvs"));
    assert!(!planned.edits);
    assert_eq!(planned.already_right, ["worker-1"]);
    assert_eq!(order(&planned), "worker-2 | worker-3 control-1");
    // The same command again, its canary done.
    let same = Request { canary: Some("worker-1".to_owned()), ..request("ipvs") };
    let again = plan(&facts, &surroundings(), &same);
    assert_eq!((order(&again).as_str(), again.is_blocked()), ("worker-2 | worker-3 control-1", false));
    // The same second counts as younger.
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED;
    assert_eq!(plan(&facts, &surroundings(), &request("ipvs")).already_right, ["worker-1"]);
    // In the right mode, but older than the configuration: other settings may have changed.
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED - 1;
    assert_eq!(order(&plan(&facts, &surroundings(), &request("ipvs"))), "worker-1 | worker-2 worker-3 control-1");
}

#[test]
fn nothing_to_do_is_said_without_checks() {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    for node in &mut facts.nodes {
        node.pod.as_mut().unwrap().created = CHANGED + 1;
    }
    let planned = plan(&facts, &surroundings(), &Request { nodes_are_prepared: false, ..request("ipvs") });
    assert!(planned.is_empty() && !planned.is_blocked(), "{planned:?}");
    assert_eq!(planned.already_right.len(), 4);
}

/// The pods of a rollback are verified where the restored configuration has them answer, with its scheduler.
#[test]
fn a_restored_configuration_is_read() {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    let original = format!("{}  scheduler: lc\nmetricsBindAddress: 0.0.0.0:10999\n", text("ipvs"));
    facts.backups = vec![Backup {
        name: "kpx-prep-backup-1".to_owned(),
        of: "kube-proxy".to_owned(),
        replaced_at: "1".to_owned(),
        uid: String::new(),
        resource_version: "1".to_owned(),
        text: original,
        written: Some(text("ipvs")),
        on_the_way: None,
        restores: None,
    }];
    let target = plan(&facts, &surroundings(), &restore()).target.unwrap();
    assert_eq!((target.ports().metrics, target.scheduler()), (10999, "lc"));
    // One that kube-proxy cannot read has kube-proxy's defaults.
    facts.backups[0].text = "kind: [".to_owned();
    let target = plan(&facts, &surroundings(), &restore()).target.unwrap();
    assert_eq!((target.ports().metrics, target.scheduler(), target.config.is_none()), (10249, "rr", true));
}

#[test]
fn going_back_restarts_only_what_saw_the_change() {
    let mut facts = cluster("ipvs", ProxyMode::Iptables);
    facts.nodes[1].proof.mode = Some(ProxyMode::Ipvs);
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 5;
    let backup = |replaced_at: &str, mode: &str, written: &str| Backup {
        name: format!("kpx-prep-backup-{replaced_at}"),
        of: "kube-proxy".to_owned(),
        replaced_at: replaced_at.to_owned(),
        uid: String::new(),
        resource_version: replaced_at.to_owned(),
        text: text(mode),
        written: Some(text(written)),
        on_the_way: None,
        restores: None,
    };
    assert_eq!(ids(&plan(&facts, &surroundings(), &restore()), Level::Error), ["no-backup"]);
    facts.backups = vec![backup("2", "", "ipvs"), backup("1", "nftables", "")];
    let planned = plan(&facts, &surroundings(), &restore());
    assert_eq!((order(&planned).as_str(), planned.edits, planned.to), ("worker-1 | ", true, Some(ProxyMode::Iptables)));
    // An older one: nobody runs that.
    let older = Request { goal: Goal::Restore { backup: Some("1".to_owned()), force: false }, ..restore() };
    let planned = plan(&facts, &surroundings(), &older);
    let then = planned.then.as_deref().unwrap();
    assert_eq!((then.to, order(&planned).as_str(), then.batches.len()), (Some(ProxyMode::Nftables), "worker-1 | ", 3));
    // Put back already, but a pod was not: only that one.
    set_config(&mut facts, &text(""));
    let planned = plan(&facts, &surroundings(), &restore());
    assert_eq!((order(&planned).as_str(), planned.edits), ("worker-1 | ", false));
    // Edited by hand since.
    set_config(&mut facts, &text("ipvs").replace("# kept", "# by hand"));
    let planned = plan(&facts, &surroundings(), &restore());
    assert_eq!(ids(&planned, Level::Error), ["edited-since"]);
    assert!(planned.checks[0].message.contains("+mode: \"ipvs\"  # by hand"), "{}", planned.checks[0].message);
    let forced = Request { goal: Goal::Restore { backup: None, force: true }, ..restore() };
    assert!(!plan(&facts, &surroundings(), &forced).is_blocked());
}

#[test]
fn version_policy() {
    for (image, mode, blocked, gate) in [
        ("v1.20.2", "ipvs", false, None),
        ("v1.36.3", "ipvs", false, None),
        ("v1.40.0", "ipvs", false, Some("KubeProxyIPVS: true")),
        ("v1.43.0", "ipvs", true, None),
        ("v1.28.0", "nftables", true, None),
        ("v1.30.0", "nftables", false, Some("NFTablesProxyMode: true")),
        ("v1.36.3", "nftables", false, None),
        ("v1.36.3", "bogus", true, None),
        ("v1.36.3", "IPVS", true, None),
    ] {
        let mut facts = cluster("", ProxyMode::Iptables);
        image.clone_into(&mut facts.version);
        set_image(&mut facts, &format!("registry.k8s.io/kube-proxy:{image}"));
        let planned = plan(&facts, &surroundings(), &request(mode));
        assert_eq!(planned.is_blocked(), blocked, "{image} {mode}: {:?}", planned.checks);
        if blocked {
            assert!(ids(&planned, Level::Error).contains(&"version-policy"), "{image} {mode}: {:?}", planned.checks);
        }
        if let Some(gate) = gate {
            assert!(planned.target.unwrap().text.contains(gate), "{image} {mode}");
        }
    }
}
