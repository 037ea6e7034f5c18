//! Every finding of `status`: a change of a cluster in which all is as configured, and the finding that it causes.

#[path = "support/cluster_facts.rs"]
mod cluster_facts;

use cluster_facts::{CHANGED, cluster, node, request};
use kpx_prep::checks::{Command, checks};
use kpx_prep::cluster::api::lock::other_run::OtherRun;
use kpx_prep::cluster::kube_proxy::config_map::HashAnnotation;
use kpx_prep::cluster::kube_proxy::daemon_set::ConfigSource;
use kpx_prep::cluster::kube_proxy::parking::Parked;
use kpx_prep::cluster::kube_proxy::proof::Proof;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::flavour::{Flavour, OtherSet};
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::Request;
use kpx_prep::cluster::report::status::StatusReport;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{Leftover, LeftoverKind, PreparationOutcome, Survey};
use kpx_prep::proxy_config;
use kpx_prep::report::{Format, Level};
use kpx_prep::sync_health::SyncState;

type Case = (&'static str, Level, fn(&mut ClusterFacts));

fn config(facts: &mut ClusterFacts, change: impl Fn(&str) -> String) {
    let config = facts.config.as_mut().unwrap();
    config.text = change(&config.text);
    config.parsed = proxy_config::read(&config.text);
}

fn run(alive: bool) -> OtherRun {
    OtherRun { holder: "laptop".to_owned(), since: None, progress: None, alive }
}

fn surveyed(facts: &mut ClusterFacts, change: fn(&mut Survey)) {
    let mut survey = Survey::default();
    survey.modules.outcome = PreparationOutcome::AlreadyPrepared;
    change(&mut survey);
    facts.nodes[1].host = Some(Ok(survey));
}

const CASES: &[Case] = &[
    ("config-field", Level::Error, |facts| config(facts, |text| text.replace("strictARP: false", "strictARP: maybe"))),
    ("config-hash", Level::Info, |facts| facts.config.as_mut().unwrap().hash = HashAnnotation::Differs),
    ("config-unknown-field", Level::Info, |facts| config(facts, |text| format!("{text}shceduler: rr\n"))),
    ("config-unreadable", Level::Error, |facts| config(facts, |_| "kind: [".to_owned())),
    ("drift", Level::Warning, |facts| facts.nodes[1].proof.mode = Some(ProxyMode::Iptables)),
    ("flag-only-config", Level::Error, |facts| facts.kube_proxy.as_mut().unwrap().config = ConfigSource::Flags),
    ("helper-left", Level::Info, |facts| {
        facts.daemon_sets.push(OtherSet { name: "kube-system/kpx-prep-node".to_owned(), runs: Vec::new() });
    }),
    ("ignored-flags", Level::Info, |facts| {
        facts.kube_proxy.as_mut().unwrap().ignored_flags.push("--ipvs-scheduler".to_owned());
    }),
    ("leftovers", Level::Warning, |facts| {
        surveyed(facts, |survey| {
            survey.leftovers.push(Leftover {
                of: "iptables".to_owned(),
                kind: LeftoverKind::Chain,
                place: "ipv4 nat".to_owned(),
                name: "KUBE-SVC-X".to_owned(),
            });
        });
    }),
    ("lock-left", Level::Info, |facts| facts.other_run = Some(run(false))),
    ("managed-cluster", Level::Warning, |facts| facts.flavour = Flavour::Eks),
    ("mode-empty", Level::Info, |facts| config(facts, |text| text.replace("\"ipvs\"", "\"\""))),
    ("mode-flag", Level::Warning, |facts| facts.kube_proxy.as_mut().unwrap().mode_flag = Some("ipvs".to_owned())),
    ("mode-invalid", Level::Error, |facts| config(facts, |text| text.replace("\"ipvs\"", "\"bogus\""))),
    ("no-kube-proxy", Level::Error, |facts| facts.kube_proxy = None),
    ("no-pod", Level::Warning, |facts| facts.nodes[1].pod = None),
    ("node-helper", Level::Warning, |facts| {
        facts.nodes[1].host = Some(Err("the helper does not run there".to_owned()));
    }),
    ("node-modules", Level::Warning, |facts| {
        surveyed(facts, |survey| survey.modules.outcome = PreparationOutcome::WouldPrepare);
    }),
    ("nodes-not-ready", Level::Warning, |facts| facts.nodes[1].ready = false),
    ("not-kubeadm", Level::Info, |facts| facts.flavour = Flavour::Other),
    ("other-kube-proxy", Level::Warning, |facts| facts.elsewhere.push("edge/kube-proxy".to_owned())),
    ("parked", Level::Warning, |facts| {
        facts.kube_proxy.as_mut().unwrap().parked = Some(Parked { selects: true, ..Parked::default() });
        facts.nodes.iter_mut().for_each(|node| node.pod = None);
    }),
    ("run-in-progress", Level::Info, |facts| facts.other_run = Some(run(true))),
    ("silent-fallback", Level::Warning, |facts| {
        facts.nodes[1].proof.fallback = true;
        facts.nodes[1].proof.mode = Some(ProxyMode::Iptables);
    }),
    ("stale-pods", Level::Info, |facts| facts.nodes[1].pod.as_mut().unwrap().created = CHANGED - 1),
    ("suspicious-rules", Level::Info, |facts| surveyed(facts, |survey| survey.suspicious.push("KUBE-MINE".to_owned()))),
    ("unhealthy-pods", Level::Warning, |facts| facts.nodes[1].pod.as_mut().unwrap().ready = false),
    ("not-syncing", Level::Warning, |facts| {
        facts.nodes[1].proof.sync.as_mut().unwrap().state = SyncState::Never;
    }),
    ("unproved", Level::Warning, |facts| facts.nodes[1].proof = Proof::missing("no answer")),
    ("version-policy", Level::Info, |facts| {
        "kube-proxy:v1.35.1".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    }),
    ("windows", Level::Info, |facts| {
        facts.windows_sets.push("kube-system/kube-proxy-windows".to_owned());
        facts.nodes.push(node("zone-windows", None));
    }),
];

/// A cluster in which all is as configured.
fn right() -> ClusterFacts {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    facts.config.as_mut().unwrap().hash = HashAnnotation::Matches;
    for node in &mut facts.nodes {
        node.pod.as_mut().unwrap().created = CHANGED + 1;
    }
    facts
}

fn ids(facts: &ClusterFacts) -> Vec<(String, String)> {
    let report = StatusReport::new(facts).render(Format::Json, false).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| (text(&finding["level"]), text(&finding["id"]))).collect()
}

#[test]
fn each_fires_alone() {
    assert_eq!(ids(&right()), []);
    for (id, level, change) in CASES {
        let mut facts = right();
        change(&mut facts);
        let found = ids(&facts);
        assert!(found.contains(&(level.word().to_owned(), (*id).to_owned())), "{id}: {found:?}");
    }
}

#[test]
fn every_check_of_status_is_tried() {
    let tried: Vec<&str> = CASES.iter().map(|(id, ..)| *id).collect();
    let of_status = checks().iter().filter(|check| check.commands.contains(&Command::Status));
    let missing: Vec<&str> = of_status.map(|check| check.id.as_str()).filter(|id| !tried.contains(id)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// What stops a run for what the cluster is can be ignored too, where there is something to go on with.
#[test]
fn a_managed_cluster_can_be_ignored() {
    let mut facts = cluster("", ProxyMode::Iptables);
    facts.flavour = Flavour::Eks;
    let mut asked = request("ipvs");
    let planned = |asked: &Request| plan(&facts, &Surroundings::default(), asked);
    let stops = planned(&asked).checks.iter().any(|check| check.id == "managed-cluster" && check.level == Level::Error);
    assert!(stops);
    asked.ignored_checks = vec!["managed-cluster".to_owned()];
    assert!(!planned(&asked).is_blocked());
}
