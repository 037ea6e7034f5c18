//! A hint that names a command keeps the configured mode: each is planned as a dry run, and its target compared.

#[path = "support/cluster_facts.rs"]
mod cluster_facts;

use cluster_facts::{CHANGED, cluster, request};
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::drift::findings;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::report::status::StatusReport;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{Leftover, LeftoverKind, Preparation, PreparationOutcome, Survey};
use kpx_prep::report::{Finding, Level};

/// A change of a cluster in which all is as configured.
type Change = (&'static str, fn(&mut ClusterFacts));

const CHANGES: [Change; 7] = [
    ("stale-pods", |facts| {
        facts.elsewhere.push("edge/kube-proxy".to_owned());
        facts.nodes[1].pod.as_mut().unwrap().created = CHANGED - 1;
    }),
    ("drift", |facts| {
        let other = ProxyMode::ALL.into_iter().find(|mode| facts.nodes[1].proof.mode != Some(*mode));
        facts.nodes[1].proof.mode = other;
    }),
    ("silent-fallback", |facts| {
        facts.nodes[1].proof.fallback = true;
        facts.nodes[1].proof.mode = Some(ProxyMode::Iptables);
    }),
    ("stale-pods", |facts| facts.nodes[1].pod.as_mut().unwrap().created = CHANGED - 1),
    ("leftovers", |facts| {
        let mut survey = survey();
        survey.leftovers.push(Leftover {
            of: "other".to_owned(),
            kind: LeftoverKind::Chain,
            place: "ipv4 nat".to_owned(),
            name: "KUBE-NODE-PORT".to_owned(),
        });
        facts.nodes[1].host = Some(Ok(survey));
    }),
    ("node-modules", |facts| {
        let mut survey = survey();
        survey.modules.outcome = PreparationOutcome::WouldPrepare;
        facts.nodes[1].host = Some(Ok(survey));
    }),
    ("version-policy", |facts| "kube-proxy:v1.40.0".clone_into(&mut facts.kube_proxy.as_mut().unwrap().image)),
];

fn survey() -> Survey {
    let modules = Preparation { outcome: PreparationOutcome::AlreadyPrepared, ..Preparation::default() };
    Survey { modules, ..Survey::default() }
}

/// The modes that the commands in a finding's hint ask for; an empty one where it names none.
fn modes(finding: &Finding) -> Vec<String> {
    let hint = finding.hint.as_deref().unwrap_or_default();
    let commands = hint.split("kpx-prep remediate").skip(1);
    let other = |rest: &&str| ![" --remove-helper", " --rollback"].iter().any(|option| rest.starts_with(option));
    let mode = |rest: &str| {
        rest.strip_prefix(" --mode ").and_then(|rest| rest.split([' ', ';', ',']).next()).unwrap_or_default().to_owned()
    };
    commands.filter(other).map(mode).collect()
}

#[test]
fn commands_in_hints_keep_the_configured_mode() {
    let mut commands = 0;
    for configured in ProxyMode::ALL {
        for (id, change) in CHANGES {
            let mut facts = cluster(configured.name(), configured);
            for node in &mut facts.nodes {
                node.pod.as_mut().unwrap().created = CHANGED + 1;
            }
            facts.kube_proxy.as_mut().unwrap().image = "kube-proxy:v1.36.0".to_owned();
            change(&mut facts);
            let status = StatusReport::new(&facts);
            let named = facts.remediate().ends_with(" --namespace kube-system --daemonset kube-proxy");
            assert_eq!(named, !facts.elsewhere.is_empty(), "{}", facts.remediate());
            let all = findings(&facts).into_iter().chain(kpx_prep::cluster::plan::checks::hosts::of_status(&facts));
            for finding in all {
                for mode in modes(&finding) {
                    let planned = plan(&facts, &Surroundings::default(), &request(&mode));
                    // The way out of ipvs leads elsewhere on purpose; where ipvs still runs, it is only shown.
                    let must_leave = finding.level == Level::Error;
                    let shown = finding.hint.as_deref().is_some_and(|hint| hint.contains("--mode nftables --dry-run"));
                    let leaves = finding.id == "version-policy"
                        && configured == ProxyMode::Ipvs
                        && mode == "nftables"
                        && (must_leave || shown);
                    let kept = planned.to == Some(configured);
                    assert!(kept || leaves, "{configured}, {id}: {finding:?} plans {:?}\n{status:?}", planned.to);
                    commands += 1;
                }
            }
        }
    }
    assert!(commands >= 12, "{commands}");
}
