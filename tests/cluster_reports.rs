//! What `status` and `remediate` print, as goldens: their JSON is an interface. `BLESS=1` writes them anew.

#[path = "support/cluster_facts.rs"]
mod cluster_facts;
#[path = "support/golden.rs"]
mod golden;

use std::path::Path;

use cluster_facts::{CHANGED, SYNCED, cluster, node, request, text};
use golden::Goldens;
use kpx_prep::cluster::api::lock::other_run::OtherRun;
use kpx_prep::cluster::helper::work::Cleaned;
use kpx_prep::cluster::kube_proxy::backup::Backup;
use kpx_prep::cluster::kube_proxy::proof::Proof;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::{Plan, plan};
use kpx_prep::cluster::report::plan_text::plan_text;
use kpx_prep::cluster::report::remediation::{FirstLeg, NodeOutcome, NodeResult, Outcome, RemediationReport};
use kpx_prep::cluster::report::remediation_page;
use kpx_prep::cluster::report::status::StatusReport;
use kpx_prep::exit_code::Exit;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{CleanOutcome, Leftover, LeftoverKind, Preparation, PreparationOutcome, Survey};
use kpx_prep::page::{Page, PageFormat};
use kpx_prep::report::event::What;
use kpx_prep::report::recorded::Recorded;
use kpx_prep::report::{Format, serialize};
use kpx_prep::sync_health::{SyncHealth, SyncState};

fn golden(name: &str, text: &str) {
    // Locales that are not UTF-8 show it too: names of objects are ASCII, and so is what kpx-prep writes itself.
    assert!(text.is_ascii(), "{name} is not ASCII");
    let mut goldens = Goldens::default();
    goldens.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster-reports").join(name), text);
    goldens.end(1);
}

/// A roll that stopped half-way, with one of each kind of node.
fn half_way() -> ClusterFacts {
    let mut facts = cluster("ipvs", ProxyMode::Iptables);
    facts.nodes[1].proof.mode = Some(ProxyMode::Ipvs);
    facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 5;
    facts.nodes[2].ready = false;
    facts.nodes[2].proof = Proof::missing("port-forward: no answer within 8 s; log: no answer");
    facts.nodes[3].pod = None;
    facts.nodes[3].proof = Proof::missing("there is no kube-proxy pod");
    facts.nodes.push(node("zone-windows", None));
    facts.nodes.last_mut().unwrap().windows = true;
    facts.nodes.push(node("zone-without", None));
    facts.nodes.last_mut().unwrap().wanted = false;
    facts.kube_proxy.as_mut().unwrap().mode_flag = Some("iptables".to_owned());
    facts.backups.push(Backup {
        name: "kpx-prep-backup-0123456789".to_owned(),
        of: "kube-proxy".to_owned(),
        replaced_at: "2026-11-23T02:00:00.000000Z".to_owned(),
        uid: String::new(),
        resource_version: "7".to_owned(),
        text: text(""),
        written: Some(text("ipvs")),
        on_the_way: None,
        restores: None,
    });
    facts
}

fn planned(facts: &ClusterFacts) -> Plan {
    plan(facts, &Surroundings::default(), &request("ipvs"))
}

#[test]
fn status() {
    let report = StatusReport::new(&half_way());
    assert_eq!(report.exit(), Exit::CheckSaysNo);
    golden("status-half-way.json", &report.render(Format::Json, false).unwrap());
    golden("status-half-way.txt", &report.render(Format::Text, false).unwrap());
    golden("status-half-way-wide.txt", &report.render(Format::Text, true).unwrap());
    let right = StatusReport::new(&cluster("iptables", ProxyMode::Iptables));
    assert_eq!(right.exit(), Exit::Done);
    golden("status-right.txt", &right.render(Format::Text, false).unwrap());
    let mut without = cluster("", ProxyMode::Iptables);
    (without.kube_proxy, without.config) = (None, None);
    without.nodes.iter_mut().for_each(|node| node.wanted = false);
    let without = StatusReport::new(&without);
    assert_eq!(without.exit(), Exit::CheckSaysNo);
    golden("status-no-kube-proxy.txt", &without.render(Format::Text, false).unwrap());
}

/// A cluster whose hosts were inspected, with a node whose name is an attack on the text.
fn inspected() -> ClusterFacts {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    let left = Leftover {
        of: "iptables".to_owned(),
        kind: LeftoverKind::Chain,
        place: "ipv4 filter (legacy)".to_owned(),
        name: "KUBE-SERVICES".to_owned(),
    };
    let modules = |outcome| Preparation { outcome, ..Preparation::default() };
    let survey = |outcome, leftovers| Some(Ok(Survey { modules: modules(outcome), leftovers, ..Survey::default() }));
    facts.nodes[0].host = survey(PreparationOutcome::AlreadyPrepared, vec![left.clone(), left]);
    facts.nodes[1].host = survey(PreparationOutcome::WouldPrepare, Vec::new());
    facts.nodes[2].host = Some(Err("no pod".to_owned()));
    "worker-3\"} 1\nkpx_drift 0\n\\\u{1b}[2J\u{202e}".clone_into(&mut facts.nodes[3].name);
    let failing = SyncHealth { state: SyncState::Behind, pending_seconds: Some(90), failures: 7, ..SYNCED };
    facts.nodes[3].proof.sync = Some(SyncHealth { healthy: Some(false), ..failing });
    // A name that is there twice.
    let twice = facts.nodes[1].clone();
    facts.nodes.push(twice);
    facts.other_run = Some(OtherRun { holder: "host".to_owned(), since: None, progress: None, alive: true });
    facts
}

/// For Prometheus: what `promtool` says to these files is in `tests/alerts/check`.
#[test]
fn metrics() {
    let now = 1_790_000_000;
    golden("status-half-way.prom", &StatusReport::new(&half_way()).prometheus(now));
    golden("status-inspected.prom", &StatusReport::new(&inspected()).prometheus(now));
    let mut without = cluster("", ProxyMode::Iptables);
    (without.kube_proxy, without.config) = (None, None);
    without.nodes.iter_mut().for_each(|node| node.wanted = false);
    golden("status-no-kube-proxy.prom", &StatusReport::new(&without).prometheus(now));
}

#[test]
fn remediation() {
    let facts = cluster("", ProxyMode::Iptables);
    let plan = planned(&facts);
    golden("plan.txt", &plan_text(Some(&facts), &plan));
    let mut report =
        RemediationReport::new(&plan, Outcome::RolledBack, "Failed and rolled back: worker-1: it crashed.");
    report.backup = Some("kpx-prep-backup-0123456789".to_owned());
    report.nodes.push(NodeResult {
        mode: Some("iptables"),
        detail: Some("kube-proxy crashes in pod kube-proxy-worker-1 (2 restarts)".to_owned()),
        ..NodeResult::new("worker-1", NodeOutcome::RolledBack)
    });
    report.nodes.push(NodeResult::new("worker-2", NodeOutcome::NotReached));
    golden("rolled-back.json", &serialize(&report, Format::Json).unwrap());
    golden("rolled-back.txt", &report.summary());
    let facts = half_way();
    golden("plan-half-way.txt", &plan_text(Some(&facts), &planned(&facts)));
}

/// From ipvs to nftables: both legs of the change are shown before it is confirmed.
#[test]
fn two_legs() {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    "v1.33.1".clone_into(&mut facts.version);
    "registry.k8s.io/kube-proxy:v1.33.1".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    for pod in facts.nodes.iter_mut().filter_map(|node| node.pod.as_mut()) {
        pod.started = Some(pod.created + 5);
    }
    let plan = plan(&facts, &Surroundings::default(), &request("nftables"));
    golden("plan-two-legs.txt", &plan_text(Some(&facts), &plan));
}

/// Above 50 nodes the text has groups; those that need attention keep a line each, and JSON has all.
#[test]
fn many_nodes() {
    let mut facts = half_way();
    facts.nodes.extend((100..400).map(|number| node(&format!("worker-{number}"), Some(ProxyMode::Iptables))));
    for node in facts.nodes.iter_mut().filter(|node| node.name.ends_with('7')) {
        node.ready = false;
    }
    let report = StatusReport::new(&facts);
    golden("status-many.txt", &report.render(Format::Text, false).unwrap());
    let all = facts.proxy_nodes().count();
    let json: serde_json::Value = serde_json::from_str(&report.render(Format::Json, false).unwrap()).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), all);
    let wide = report.render(Format::Text, true).unwrap();
    assert_eq!(wide.lines().filter(|line| line.starts_with(" worker-")).count(), 303, "{wide}");

    let plan = planned(&facts);
    golden("plan-many.txt", &plan_text(Some(&facts), &plan));
    let mut report = RemediationReport::new(&plan, Outcome::NodesFailed, "Done with failures: worker-100: it crashed.");
    for (number, name) in plan.batches.iter().flatten().enumerate() {
        let outcome = if number % 100 == 50 { NodeOutcome::Failed } else { NodeOutcome::Proved };
        let mode = (outcome == NodeOutcome::Proved).then_some("ipvs");
        let detail = (outcome == NodeOutcome::Failed).then(|| "kube-proxy is crashing".to_owned());
        report.nodes.push(NodeResult { mode, detail, ..NodeResult::new(name, outcome) });
    }
    golden("result-many.txt", &report.summary());
}

fn event(seconds: i64, what: What, node: &str) -> Recorded {
    let time = jiff::Timestamp::from_second(1_790_000_000 + seconds).unwrap();
    Recorded { time, what, node: (!node.is_empty()).then(|| node.to_owned()) }
}

/// A page in both formats. `tests/report-page/run` opens the HTML in a browser.
fn page(name: &str, page: &Page) {
    for (ending, format) in [("md", PageFormat::Markdown), ("html", PageFormat::Html)] {
        golden(&format!("{name}.{ending}"), &page.render(format).replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}

/// `--report`: of a run that failed, of one in two legs, of errors, and of `status`.
#[test]
fn pages() {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    "v1.33.1".clone_into(&mut facts.version);
    "registry.k8s.io/kube-proxy:v1.33.1".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    let plan = plan(&facts, &Surroundings::default(), &request("nftables"));
    let last = plan.then.as_deref().unwrap().clone();
    let mut report = RemediationReport::new(&last, Outcome::LeftoversRemain, "All nodes run nftables; see below.");
    report.backup = Some("kpx-prep-backup-0123456789".to_owned());
    for (name, remaining) in [("control-1", 0), ("worker-1", 1), ("worker-2", 0)] {
        let outcome = if remaining > 0 { CleanOutcome::Failed } else { CleanOutcome::Cleaned };
        let cleaned = Cleaned {
            outcome,
            removed: 12,
            remaining,
            connections_cut: 0,
            detail: None,
            running: None,
            to_drain: false,
        };
        let node = NodeResult::new(name, NodeOutcome::Proved);
        report.nodes.push(NodeResult { mode: Some("nftables"), cleaned: Some(cleaned), ..node });
    }
    report.first_leg = Some(Box::new(FirstLeg {
        from: Some(ProxyMode::Ipvs),
        to: Some(ProxyMode::Iptables),
        backup: Some("kpx-prep-backup-fedcba9876".to_owned()),
        nodes: report.nodes.iter().map(|node| NodeResult { mode: Some("iptables"), ..node.clone() }).collect(),
    }));
    let events = [
        event(0, What::Preparing, ""),
        event(2, What::Prepared, "worker-1"),
        event(3, What::Prepared, "control-1"),
        event(4, What::Started, ""),
        event(5, What::Replacing, "worker-1"),
        event(11, What::Verified, "worker-1"),
        event(12, What::Replacing, "control-1"),
        event(24, What::Verified, "control-1"),
        event(26, What::Draining, ""),
        event(150, What::Drained, "control-1"),
        event(326, What::Drained, "worker-1"),
        event(330, What::Started, ""),
        event(331, What::Replacing, "worker-1"),
        event(339, What::Verified, "worker-1"),
        event(341, What::Replacing, "control-1"),
        event(350, What::Verified, "control-1"),
        event(351, What::Finished, ""),
    ];
    page("page-two-legs", &report.page(&events));

    let facts = half_way();
    let mut report = RemediationReport::new(
        &planned(&facts),
        Outcome::Failed,
        "Rolling back failed: worker-1 <b>does not answer</b>. Run kpx-prep remediate --rollback.",
    );
    report.backup = Some("kpx-prep-backup-0123456789".to_owned());
    report.nodes.push(NodeResult {
        detail: Some("kube-proxy crashes: panic | `nft` *failed* \u{1b}[31m@all".to_owned()),
        ..NodeResult::new("worker-1", NodeOutcome::Failed)
    });
    let events = [
        event(0, What::Replacing, "worker-1"),
        event(40, What::Failed, "worker-1"),
        event(41, What::RollingBack, ""),
        event(42, What::Replacing, "worker-1"),
        event(341, What::Failed, "worker-1"),
    ];
    page("page-failed", &report.page(&events));
    page("page-error", &remediation_page::failed("no answer from https://10.0.0.1:6443 within 30 s", &[]));
    page("page-unfinished", &remediation_page::unfinished());
    page("page-status", &StatusReport::new(&inspected()).page());
    page("page-status-half-way", &StatusReport::new(&half_way()).page());
}
