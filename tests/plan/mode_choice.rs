//! `remediate` without `--mode`: ipvs up to 1.34, and where it is configured; otherwise the mode is asked for.

use kpx_prep::cluster::kube_proxy::daemon_set::ConfigSource;
use kpx_prep::cluster::observe::facts::ClusterFacts;
use kpx_prep::cluster::plan::mode_choice::ModeChoice;
use kpx_prep::cluster::plan::plan;
use kpx_prep::cluster::plan::request::{Goal, Request};
use kpx_prep::kubeadm::proxy::RawSettings;
use kpx_prep::mode::ProxyMode;

use crate::cluster_facts::{cluster, request};
use crate::{restore, set_config, set_image, surroundings};

fn without_mode() -> Request {
    Request { goal: Goal::Settings(Box::default()), ..request("ipvs") }
}

fn on(minor: u32, configured: &str) -> ClusterFacts {
    let mut facts = cluster(configured, ProxyMode::Iptables);
    facts.version = format!("v1.{minor}.1");
    set_image(&mut facts, &format!("registry.k8s.io/kube-proxy:v1.{minor}.1"));
    facts
}

#[test]
fn ipvs_is_not_chosen_where_it_is_deprecated() {
    for (minor, configured, asks) in [
        (20, "", false),
        (34, "", false),
        (34, "nftables", false),
        (35, "", true),
        (35, "iptables", true),
        (36, "nftables", true),
        (36, "bogus", true),
        // It is the operator's own choice, which this run only finishes.
        (36, "ipvs", false),
        (42, "ipvs", false),
        (42, "", true),
        (43, "ipvs", true),
        (43, "", true),
    ] {
        let facts = on(minor, configured);
        let choice = ModeChoice::needed(&without_mode(), &facts);
        assert_eq!(choice.is_some(), asks, "1.{minor}, {configured:?}");
        assert_eq!(ModeChoice::needed(&request("ipvs"), &facts), None, "named");
        assert_eq!(ModeChoice::needed(&restore(), &facts), None, "a rollback has its mode");
    }
    // The version of kube-proxy counts, not that of the API server.
    let mut facts = on(34, "");
    "v1.36.0".clone_into(&mut facts.version);
    assert_eq!(ModeChoice::needed(&without_mode(), &facts), None);
}

#[test]
fn nothing_is_asked_about_what_cannot_be_edited() {
    let changes: [fn(&mut ClusterFacts); 4] = [
        |facts| facts.kube_proxy = None,
        |facts| facts.config = None,
        |facts| set_config(facts, "kind: ["),
        |facts| facts.kube_proxy.as_mut().unwrap().config = ConfigSource::Flags,
    ];
    for change in changes {
        let mut facts = on(36, "");
        change(&mut facts);
        assert_eq!(ModeChoice::needed(&without_mode(), &facts), None);
    }
}

#[test]
fn every_way_is_explained_and_has_a_command() {
    let mut facts = on(36, "iptables");
    let choice = ModeChoice::needed(&without_mode(), &facts).unwrap();
    let question = choice.question();
    for word in ["nftables", "5.13", "primary addresses", "1.35", "1.40", "1.43", "now configured: iptables"] {
        assert!(question.contains(word), "nothing about {word}: {question}");
    }
    assert!(question.ends_with("Mode (nftables, ipvs, iptables): "), "{question}");
    assert!(question.is_ascii() && question.lines().all(|line| line.len() <= 120), "{question}");
    let refusal = choice.refusal();
    for command in ["kpx-prep remediate --mode nftables", "kpx-prep remediate --mode ipvs", "nothing was changed"] {
        assert!(refusal.contains(command), "nothing about {command}: {refusal}");
    }
    // Where there are several kube-proxies, the commands select this one.
    facts.elsewhere.push("edge/kube-proxy".to_owned());
    let refusal = ModeChoice::needed(&without_mode(), &facts).unwrap().refusal();
    assert!(refusal.contains("--mode ipvs --namespace kube-system --daemonset kube-proxy"), "{refusal}");
    // A mode that is gone is not offered.
    let gone = ModeChoice::needed(&without_mode(), &on(43, "ipvs")).unwrap();
    assert!(!gone.refusal().contains("--mode ipvs") && !gone.question().contains("  ipvs "), "{}", gone.question());
}

#[test]
fn only_the_name_of_a_mode_is_an_answer() {
    let choice = ModeChoice::needed(&without_mode(), &on(36, "")).unwrap();
    for mode in ProxyMode::ALL {
        assert_eq!(choice.answered(&format!(" {mode}\n")), Ok(mode));
    }
    for answer in ["", "\n", "y", "yes", "IPVS", "nft", "1", "userspace", "\x1b[2J"] {
        let why = choice.answered(answer).unwrap_err();
        assert!(why.contains("nothing was changed") && why.contains("--mode nftables"), "{answer:?}: {why}");
        assert!(!why.contains('\x1b'), "{why:?}");
    }
    let gone = ModeChoice::needed(&without_mode(), &on(43, "")).unwrap();
    assert!(gone.answered("ipvs").is_err() && gone.answered("nftables").is_ok());
}

#[test]
fn the_answer_is_planned_as_the_option() {
    let facts = on(36, "");
    for mode in ProxyMode::ALL {
        let mut asked = without_mode();
        asked.choose(mode);
        let (asked, named) =
            (plan(&facts, &surroundings(), &asked), plan(&facts, &surroundings(), &request(mode.name())));
        assert_eq!((asked.to, &asked.diff, &asked.checks), (Some(mode), &named.diff, &named.checks));
    }
    // A cluster that is configured for ipvs goes on with it, and says that it is deprecated.
    let planned = plan(&on(36, "ipvs"), &surroundings(), &without_mode());
    assert_eq!((planned.to, planned.edits), (Some(ProxyMode::Ipvs), false));
    let scheduler = Some(kpx_prep::kubeadm::given::Given { place: "--scheduler".to_owned(), text: "lc".to_owned() });
    let goal = Goal::Settings(Box::new(RawSettings { scheduler, ..RawSettings::default() }));
    let planned = plan(&on(36, "ipvs"), &surroundings(), &Request { goal, ..request("ipvs") });
    assert_eq!((planned.to, planned.edits), (Some(ProxyMode::Ipvs), true));
    assert!(planned.checks.iter().any(|check| check.id == "version-policy"), "{:?}", planned.checks);
}
