//! kube-proxy's configuration field by field: one that kube-proxy cannot take touches only what needs it.

#[path = "support/cluster_facts.rs"]
mod cluster_facts;

use cluster_facts::{CHANGED, cluster, request, text};
use kpx_prep::cluster::kube_proxy::backup::Backup;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::observe::surroundings::Surroundings;
use kpx_prep::cluster::plan::request::{Goal, Request};
use kpx_prep::cluster::plan::{Plan, plan};
use kpx_prep::cluster::report::status::StatusReport;
use kpx_prep::mode::ProxyMode;
use kpx_prep::proxy_config::{FIELDS, Kind, edit, read};
use kpx_prep::report::{Format, Level};
use kpx_prep::yaml::Value;

/// A configuration with a value in every place that kpx-prep looks at, and this line in addition.
fn with(line: &str) -> String {
    let mut text = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n".to_owned();
    for (section, fields) in [
        ("", &["mode: iptables", "metricsBindAddress: 0.0.0.0:9000"][..]),
        ("ipvs", &["scheduler: lc", "strictARP: yes", "excludeCIDRs: [10.1.0.1/16]", "tcpTimeout: 2h"]),
        ("featureGates", &["AllAlpha: true"]),
    ] {
        if !section.is_empty() && line.starts_with(&format!("{section}:")) {
            continue;
        }
        let own = line.strip_prefix(section).filter(|_| !section.is_empty()).and_then(|rest| rest.strip_prefix('.'));
        let indent = if section.is_empty() { "" } else { "  " };
        if !section.is_empty() {
            text.push_str(&format!("{section}:\n"));
        }
        let name = |line: &str| line.split(':').next().map(ToOwned::to_owned);
        let replaced = own.or((section.is_empty()).then_some(line));
        for field in fields {
            if replaced.is_none_or(|line| name(line) != name(field)) {
                text.push_str(&format!("{indent}{field}\n"));
            }
        }
        if let Some(own) = own {
            text.push_str(&format!("  {own}\n"));
        }
    }
    let top = line.split(':').next().unwrap_or_default();
    let (section, field) = top.split_once('.').unwrap_or(("", top));
    if section != "ipvs" && !["", "apiVersion", "kind"].contains(&field) {
        match line.split_once('.') {
            Some((section, line)) if !section.contains(':') => text.push_str(&format!("{section}:\n  {line}\n")),
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

fn facts(text: &str) -> ClusterFacts {
    let mut facts = cluster("iptables", ProxyMode::Iptables);
    let config = facts.config.as_mut().unwrap();
    text.clone_into(&mut config.text);
    config.parsed = read(text);
    facts
}

fn planned(facts: &ClusterFacts, request: &Request) -> Plan {
    plan(
        facts,
        &Surroundings { newest_revisions: [("uid".to_owned(), "rev-1".to_owned())].into(), ..Surroundings::default() },
        request,
    )
}

fn ids(plan: &Plan, level: Level) -> Vec<&str> {
    plan.checks.iter().filter(|check| check.level == level).map(|check| &*check.id).collect()
}

#[test]
fn everything_is_read_if_everything_is_right() {
    let config = read(&with("")).unwrap();
    assert_eq!((config.mode.as_str(), config.ports.metrics, config.ports.healthz), ("iptables", 9000, 10256));
    assert_eq!((config.written_scheduler.as_deref(), config.strict_arp), (Some("lc"), true));
    assert_eq!(
        (config.exclude_cidrs.as_slice(), config.tcp_timeout.as_deref()),
        (&["10.1.0.1/16".to_owned()][..], Some("2h"))
    );
    assert_eq!((config.gates.len(), config.has_gate("AllAlpha"), config.has_gate("Other")), (1, true, false));
    assert_eq!(config.refused(30, ProxyMode::Ipvs), []);
    assert_eq!(config.unknown, [] as [&str; 0]);
}

/// What was kept when `written` replaced `original`.
fn backup(original: &str, written: &str) -> Backup {
    Backup {
        name: "kpx-prep-backup-1".to_owned(),
        of: "kube-proxy".to_owned(),
        replaced_at: "1".to_owned(),
        uid: String::new(),
        resource_version: "1".to_owned(),
        text: original.to_owned(),
        written: Some(written.to_owned()),
        on_the_way: None,
        restores: None,
    }
}

/// A value that the kind does not take.
fn wrong(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Duration | Kind::OptionalDuration | Kind::Texts | Kind::Gates => "1",
        Kind::Bool => "'true'",
        Kind::Int | Kind::Number => "'1'",
        Kind::Section | Kind::Opaque => "[]",
    }
}

/// The fields that are unreadable in turn, each with a version that reads it.
fn each() -> impl Iterator<Item = (&'static str, u32, String)> {
    let readable = FIELDS.iter().filter(|field| !["apiVersion", "kind"].contains(&field.path));
    readable.map(|field| (field.path, field.until.min(37), with(&format!("{}: {}", field.path, wrong(field.kind)))))
}

#[test]
fn each_field_unreadable_in_turn() {
    let mut tried = 0;
    for (path, minor, text) in each() {
        let config = read(&text).unwrap_or_else(|why| panic!("{path}: {why}\n{text}"));
        let refused = config.refused(minor, ProxyMode::Ipvs);
        assert_eq!(refused.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), [path], "{text}");
        let parts = [
            ("mode", config.mode == "iptables"),
            ("metricsBindAddress", config.ports.metrics == 9000),
            ("ipvs.scheduler", config.written_scheduler.as_deref() == Some("lc")),
            ("ipvs.strictARP", config.strict_arp),
            ("ipvs.excludeCIDRs", config.exclude_cidrs.len() == 1),
            ("ipvs.tcpTimeout", config.tcp_timeout.is_some()),
            ("featureGates", config.has_gate("AllAlpha")),
        ];
        for (part, is_read) in parts {
            let concerns = part == path || part.split_once('.').is_some_and(|(section, _)| section == path);
            assert_eq!(is_read, !concerns, "{part} with {path} unreadable:\n{text}");
        }
        tried += 1;
    }
    assert_eq!(tried, FIELDS.len() - 2);
}

#[test]
fn an_unreadable_field_stops_neither_the_other_checks_nor_the_way_back() {
    for (path, minor, text) in each() {
        let mut facts = facts(&text);
        let image = format!("kube-proxy:v1.{minor}.0");
        image.clone_into(&mut facts.version);
        image.clone_into(&mut facts.kube_proxy.as_mut().unwrap().image);
        facts.nodes[2].ready = false;
        // `mode` itself is replaced by what is asked for.
        let edited = planned(&facts, &request("ipvs"));
        let expected: &[&str] = match path {
            "mode" => &[],
            // There is no place for a setting in what is no mapping.
            _ => &["config-field"],
        };
        assert_eq!(ids(&edited, Level::Error), expected, "{path}: {:?}", edited.checks);
        assert!(ids(&edited, Level::Warning).contains(&"nodes-not-ready"), "{path}: {:?}", edited.checks);
        assert!(edited.target.is_some(), "{path}");
        // Status tells it, and everything else.
        let status = StatusReport::new(&facts).render(Format::Text, false).unwrap();
        assert!(status.contains("[config-field]") && status.contains("nodes-not-ready"), "{path}:\n{status}");
        // The original that was replaced, whatever it says, goes back byte for byte.
        let now = with("").replace("iptables", "ipvs");
        let mut facts = self::facts(&now);
        facts.backups = vec![backup(&text, &now)];
        facts.nodes[1].pod.as_mut().unwrap().created = CHANGED + 5;
        facts.nodes[1].proof.mode = Some(ProxyMode::Ipvs);
        let back = planned(&facts, &Request { goal: Goal::Restore { backup: None, force: false }, ..request("ipvs") });
        assert!(!back.is_blocked(), "{path}: {:?}", back.checks);
        assert_eq!((back.edits, back.target.as_ref().map(|target| target.text.as_str())), (true, Some(text.as_str())));
        assert!(back.target.unwrap().unfit.is_none(), "{path}");
    }
}

#[test]
fn a_backup_that_no_kube_proxy_can_read_goes_back_all_the_same() {
    for original in ["mode: bogus\n", "", ": : :\n", "kind: [\n", "\u{0}"] {
        let original = if original.starts_with("mode") { text("bogus") } else { original.to_owned() };
        let mut facts = cluster("ipvs", ProxyMode::Ipvs);
        facts.backups = vec![backup(&original, &text("ipvs"))];
        let back = planned(&facts, &Request { goal: Goal::Restore { backup: None, force: false }, ..request("ipvs") });
        assert!(!back.is_blocked(), "{:?}", back.checks);
        assert_eq!((back.edits, back.canary, back.batches.len(), back.to), (true, None, 0, None));
        assert_eq!(back.left_alone.len(), 4);
        assert_eq!(back.target.unwrap().text, original);
    }
}

#[test]
fn what_can_be_read_can_be_edited_or_is_refused() {
    let settings = [(vec!["mode"], Value::from("ipvs")), (vec!["ipvs", "scheduler"], Value::from("rr"))];
    for (path, _, text) in each() {
        let edited = edit(&text, &settings);
        match path {
            "ipvs" => assert!(edited.is_err(), "{edited:?}"),
            _ => assert_eq!(read(&edited.unwrap()).unwrap().written_scheduler.as_deref(), Some("rr"), "{path}"),
        }
    }
}

#[test]
fn unknown_fields_are_named() {
    let config = read(&(with("") + "strictArp: true\nconntrack:\n  max: 1\n")).unwrap();
    assert_eq!(config.unknown, ["strictArp", "conntrack.max"]);
    assert_eq!(config.refused(30, ProxyMode::Ipvs), []);
}
