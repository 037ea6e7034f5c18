//! Reports with every field that they can have, made of the program's own types.

use kpx_prep::bundle::{Collected, Content};
use kpx_prep::cluster::api::lock::other_run::OtherRun;
use kpx_prep::cluster::collect::versions::NodeVersions;
use kpx_prep::cluster::collect::{Collection, Index};
use kpx_prep::cluster::helper::work::Cleaned;
use kpx_prep::cluster::kube_proxy::backup::Backup;
use kpx_prep::cluster::kube_proxy::daemon_set::KubeProxy;
use kpx_prep::cluster::observe::flavour::Flavour;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::report::remediation::{FirstLeg, NodeOutcome, NodeResult, Outcome, RemediationReport};
use kpx_prep::cluster::report::status::StatusReport;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{
    BridgeOutcome, BridgeReport, CleanOutcome, CleanReport, Leftover, LeftoverKind, Preparation, PreparationOutcome,
    Survey, VirtualServer,
};
use kpx_prep::report::event::{Event, What};
use kpx_prep::report::{API_VERSION, Finding, Format, Level, finding, serialize};
use kpx_prep::sync_health::{SyncHealth, SyncState};

use super::cluster_facts::{SYNCED, cluster, request, text};
use super::reports::Reports;

/// All of them.
pub(crate) fn all() -> Reports {
    let reports = [
        ("a status with hosts", status()),
        ("a change in two legs", remediation()),
        ("an event", event()),
        ("a survey", survey()),
        ("a clean-up", clean()),
        ("leftovers", leftovers()),
        ("a bridge", bridge()),
        ("a support bundle", support_bundle()),
    ];
    reports.map(|(name, report)| (name.to_owned(), serde_json::from_str(&report).unwrap())).into()
}

fn json(report: &impl serde::Serialize) -> String {
    serialize(report, Format::Json).unwrap()
}

fn note() -> Finding {
    finding(Level::Warning, "node-modules", "what", "do this")
}

fn leftover() -> Leftover {
    let (of, place, name) = ("iptables".to_owned(), "ipv4 filter (legacy)".to_owned(), "KUBE-SERVICES".to_owned());
    Leftover { of, kind: LeftoverKind::Chain, place, name }
}

fn status() -> String {
    let mut facts = cluster("ipvs", ProxyMode::Iptables);
    facts.flavour = Flavour::Eks;
    let modules = Preparation { outcome: PreparationOutcome::AlreadyPrepared, ..Preparation::default() };
    let survey = Survey { modules, leftovers: vec![leftover()], suspicious: vec!["x".to_owned()], ..Survey::default() };
    facts.nodes[0].host = Some(Ok(survey));
    facts.nodes[1].host = Some(Err("no pod".to_owned()));
    facts.nodes[1].proof.sync = Some(SyncHealth {
        state: SyncState::Behind,
        pending_seconds: Some(90),
        full_sync_seconds: Some(1.5),
        ..SYNCED
    });
    facts.nodes[2].proof.reason = Some("port-forward: no answer".to_owned());
    let kube_proxy = facts.kube_proxy.as_mut().unwrap();
    kube_proxy.siblings = vec![KubeProxy { name: "kube-proxy-arm64".to_owned(), ..kube_proxy.clone() }];
    kube_proxy.mode_flag = Some("iptables".to_owned());
    facts.other_run = Some(OtherRun { holder: "host".to_owned(), since: None, progress: None, alive: true });
    facts.backups.push(Backup {
        name: "kpx-prep-backup-0123456789".to_owned(),
        of: "kube-proxy".to_owned(),
        replaced_at: "2026-11-23T02:00:00.000000Z".to_owned(),
        uid: String::new(),
        resource_version: "7".to_owned(),
        text: text(""),
        written: None,
        on_the_way: None,
        restores: None,
    });
    StatusReport::new(&facts).render(Format::Json, false).unwrap()
}

fn remediation() -> String {
    let mut facts = cluster("ipvs", ProxyMode::Ipvs);
    "v1.33.1".clone_into(&mut facts.version);
    let image = "registry.k8s.io/kube-proxy:v1.33.1";
    image.clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
    for node in &mut facts.nodes {
        let pod = node.pod.as_mut().unwrap();
        image.clone_into(&mut pod.image);
        pod.started = Some(pod.created + 5);
    }
    facts.nodes[3].ready = false;
    let plan = plan(&facts, &Surroundings::default(), &request("nftables"));
    assert!(plan.then.is_some(), "{plan:?}");
    let mut report = RemediationReport::new(&plan, Outcome::LeftoversRemain, "Done.");
    report.backup = Some("kpx-prep-backup-1".to_owned());
    report.checks.push(note());
    let cleaned = Cleaned {
        outcome: CleanOutcome::Failed,
        removed: 1,
        remaining: 1,
        connections_cut: 0,
        detail: Some("in use".to_owned()),
        running: None,
        to_drain: false,
    };
    report.nodes.push(NodeResult {
        mode: Some("nftables"),
        detail: Some("in use".to_owned()),
        cleaned: Some(cleaned),
        ..NodeResult::new("worker-1", NodeOutcome::Proved)
    });
    report.first_leg = Some(Box::new(FirstLeg {
        from: plan.from,
        to: plan.to,
        backup: report.backup.clone(),
        nodes: report.nodes.clone(),
    }));
    json(&report)
}

fn event() -> String {
    Event {
        node: Some("worker-1"),
        mode: Some("ipvs"),
        done: Some(1),
        total: Some(2),
        seconds_left: Some(3),
        outcome: Some(Outcome::Done.name()),
        exit: Some(0),
        ..Event::new(What::Finished, "Done.")
    }
    .line()
}

fn survey() -> String {
    let server = VirtualServer {
        protocol: "TCP".to_owned(),
        address: "192.0.2.1".parse().unwrap(),
        port: 80,
        scheduler: "rr".to_owned(),
        claimed: true,
        connections: 1,
    };
    let text = || vec!["x".to_owned()];
    json(&Survey {
        api_version: API_VERSION.to_owned(),
        kind: "NodeSurvey".to_owned(),
        modules: Preparation { findings: vec![note()], ..Preparation::default() },
        running: Some("ipvs".to_owned()),
        virtual_servers: vec![server],
        leftovers: vec![leftover()],
        suspicious: text(),
        input_drops: text(),
        forward_drops: text(),
        local_ports: Some((32768, 60999)),
        conn_reuse_mode: Some(0),
        iptables: Some("nft".to_owned()),
        nft: Some("1.0.6".to_owned()),
        lacks_time_match: true,
        answering: vec!["192.0.2.1:443".parse().unwrap()],
        mark_chains: text(),
        other_kube_proxies: text(),
        findings: vec![note()],
        ..Survey::default()
    })
}

fn clean() -> String {
    json(&CleanReport {
        api_version: API_VERSION.to_owned(),
        kind: "CleanReport".to_owned(),
        outcome: CleanOutcome::WouldClean,
        summary: "dry run".to_owned(),
        running: Some("ipvs".to_owned()),
        removed: vec![leftover()],
        remaining: vec![leftover()],
        transactions: vec!["*filter\nCOMMIT\n".to_owned()],
        connections_cut: 1,
        suspicious: vec!["x".to_owned()],
        findings: vec![note()],
    })
}

fn leftovers() -> String {
    json(&kpx_prep::node::kube_proxy::report::LeftoversReport {
        api_version: API_VERSION.to_owned(),
        kind: "LeftoversReport".to_owned(),
        running: Some("ipvs".to_owned()),
        leftovers: vec![leftover()],
        suspicious: vec!["x".to_owned()],
        findings: vec![note()],
    })
}

fn bridge() -> String {
    json(&BridgeReport {
        api_version: API_VERSION.to_owned(),
        kind: "BridgeReport".to_owned(),
        outcome: BridgeOutcome::Put,
        summary: "the bridge is there".to_owned(),
        findings: vec![note()],
    })
}

fn support_bundle() -> String {
    let node = NodeVersions {
        name: "node-1".to_owned(),
        kubelet: "v1.35.6".to_owned(),
        kernel: "6.12.1".to_owned(),
        os: "Debian GNU/Linux 13".to_owned(),
        architecture: "amd64".to_owned(),
        runtime: "containerd://2.1.4".to_owned(),
    };
    let index = Index {
        api_version: API_VERSION,
        kind: "SupportBundle",
        created: "2026-01-01T00:00:00Z".to_owned(),
        kpx_prep: "0.1.0",
        node_programs: "amd64".to_owned(),
        kubernetes: "v1.35.6".to_owned(),
        anonymized: false,
        nodes: Some(vec![node]),
        missing: vec!["events: forbidden".to_owned()],
    };
    let log = Collected {
        folder: "logs",
        name: "node-1".to_owned(),
        ending: "log",
        about: "log of pod kube-proxy-x".to_owned(),
        content: Content::Text(String::new()),
    };
    let files = Collection { index, files: vec![log], anonymizer: None }.finish().unwrap();
    String::from_utf8(files[0].bytes.clone()).unwrap()
}
