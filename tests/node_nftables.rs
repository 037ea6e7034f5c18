//! Preparing a node for nftables mode, against a `modprobe` and `nft` programs that answer as they are told.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;

use kpx_prep::exit_code::Exit;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node::boot::files::{LIST, NFTABLES_LIST};
use kpx_prep::node::boot::request::NodeRequest;
use kpx_prep::node::check::check;
use kpx_prep::node::decide::module_state::State;
use kpx_prep::node::host::nft::{Nft, NftFacts, NftProbe, Trial};
use kpx_prep::node::install::{InstallOptions, install};
use kpx_prep::node::modules::modprobe::Modprobe;
use kpx_prep::node::remove::remove;
use kpx_prep::node::report::{NodeReport, Outcome};
use kpx_prep::node::root::Root;
use kpx_prep::report::Level;

#[path = "support/host.rs"]
mod host;
#[path = "support/tree.rs"]
mod tree;

const HOST: &str =
    "os debian 12\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 @nft ip_tables nft_compat\nsystemd\n";
const INSTALL: InstallOptions = InstallOptions { load: true, dry_run: false, force: false };

/// Loads into the miniature root's `/proc/modules`.
struct Loader<'a>(&'a Path);

impl Loader<'_> {
    fn change(&self, change: impl Fn(&mut Vec<String>)) -> io::Result<String> {
        let path = self.0.join("proc/modules");
        let mut lines: Vec<String> = fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        Ok(String::new())
    }
}

impl Modprobe for Loader<'_> {
    fn load(&self, names: &[&str]) -> io::Result<String> {
        self.change(|lines| lines.extend(names.iter().map(|name| format!("{name} 16384 0 - Live 0x0"))))
    }

    fn unload(&self, names: &[&str]) -> io::Result<String> {
        self.change(|lines| lines.retain(|line| !names.contains(&line.split(' ').next().unwrap_or_default())))
    }
}

/// Answers, and notes in which families and whether it might try.
struct Answers {
    of_host: Nft,
    of_kube_proxy: Option<Nft>,
    trial: Trial,
    asked: RefCell<Vec<(Vec<&'static str>, Option<String>)>>,
}

impl Answers {
    fn new(of_host: &str, of_kube_proxy: Option<Nft>, trial: Trial) -> Self {
        let of_host = if of_host.is_empty() { Nft::Absent } else { Nft::Version(of_host.to_owned()) };
        Self { of_host, of_kube_proxy, trial, asked: RefCell::default() }
    }

    fn passing() -> Self {
        Self::new("1.0.6", None, Trial::Passed(vec!["ip", "ip6"]))
    }
}

impl NftProbe for Answers {
    fn probe(&self, families: &[&'static str], not_now: Option<String>) -> NftFacts {
        self.asked.borrow_mut().push((families.to_vec(), not_now.clone()));
        NftFacts {
            of_host: self.of_host.clone(),
            of_kube_proxy: self.of_kube_proxy.clone(),
            trial: not_now.map_or_else(|| self.trial.clone(), Trial::NotRun),
        }
    }
}

fn request(mode: ProxyMode) -> NodeRequest {
    NodeRequest::parse(mode, "all", None).unwrap()
}

fn miniature(host: &str) -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    host::build(folder.path(), host);
    let root = Root::new(folder.path()).unwrap();
    (folder, root)
}

fn installed(host: &str, answers: &Answers) -> (tempfile::TempDir, NodeReport, Exit) {
    let (folder, root) = miniature(host);
    let (report, exit) =
        install(&root, &request(ProxyMode::Nftables), INSTALL, &Loader(folder.path()), Some(answers)).unwrap();
    (folder, report, exit)
}

/// The findings as `error [ID]`.
fn ids(report: &NodeReport) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} [{}]", finding.level.word(), finding.id)).collect()
}

fn refused() -> Trial {
    Trial::Refused {
        family: "ip6",
        command: Some(("add rule ip6 t services fib daddr type local".to_owned(), Some("nft_fib_ipv6"))),
        why: "Could not process rule: No such file or directory".to_owned(),
    }
}

#[test]
fn it_is_tried_only_once_the_modules_are_loaded() {
    let answers = Answers::passing();
    let (folder, report, exit) = installed(HOST, &answers);
    assert_eq!((report.outcome, exit), (Outcome::Prepared, Exit::Done), "{report:?}");
    assert!(report.modules.len() == 13 && report.modules.iter().all(|module| module.state == State::Loaded));
    assert_eq!(ids(&report), Vec::<String>::new());
    let asked = answers.asked.borrow();
    let [(_, Some(before)), (families, None)] = &asked[..] else { panic!("{asked:?}") };
    assert!(before.contains("nft_fib_ipv4") && *families == ["ip", "ip6"], "{before}");
    assert!(folder.path().join(&NFTABLES_LIST[1..]).exists() && !folder.path().join(&LIST[1..]).exists());
}

#[test]
fn a_kernel_that_refuses_is_not_prepared() {
    let answers = Answers::new("1.0.6", None, refused());
    let (folder, root) = miniature(HOST);
    let before = tree::snapshot(&folder.path().join("etc"));
    let (report, exit) =
        install(&root, &request(ProxyMode::Nftables), INSTALL, &Loader(folder.path()), Some(&answers)).unwrap();
    assert_eq!((report.outcome, exit), (Outcome::Failed, Exit::Failed));
    let error = report.findings.iter().find(|finding| finding.id == "nft-refused").unwrap();
    assert!(error.message.contains("fib daddr type local` (nft_fib_ipv6)"), "{}", error.message);
    assert!(error.hint.as_ref().unwrap().contains("modprobe -v nft_fib_ipv6"));
    assert_eq!(tree::difference(&before, &tree::snapshot(&folder.path().join("etc")), |_| false), "tree unchanged\n");
    // Loaded and listed, but refused: nothing to write, and not prepared.
    let (report, exit) =
        install(&root, &request(ProxyMode::Nftables), INSTALL, &Loader(folder.path()), Some(&answers)).unwrap();
    assert_eq!((report.outcome, exit), (Outcome::NotPrepared, Exit::CheckSaysNo), "{report:?}");
    let nothing = |_: &[NodeRequest]| Ok(vec![request(ProxyMode::Nftables)]);
    assert_eq!(check(&root, nothing, true, Some(&answers)).unwrap().1, Exit::CheckSaysNo);
}

/// The programs' answers, what is found, and the exit status.
#[test]
fn what_the_programs_say() {
    let passed = || Trial::Passed(vec!["ip", "ip6"]);
    let version = |version: &str| Some(Nft::Version(version.to_owned()));
    for (hosts, kube_proxys, trial, expected, exit) in [
        ("1.0.6", None, passed(), vec![], Exit::Done),
        ("", version("1.0.6"), passed(), vec![], Exit::Done),
        ("0.9.8", None, passed(), vec!["warning [nft-version]"], Exit::Done),
        ("1.0.6", Some(Nft::Absent), passed(), vec!["error [kube-proxy-nft]"], Exit::CheckSaysNo),
        ("1.0.6", version("1.0.0"), passed(), vec!["error [kube-proxy-nft]"], Exit::CheckSaysNo),
        // Each of the two reads what the other wrote.
        ("1.1.3", version("1.0.6"), passed(), vec!["warning [nft-mismatch]"], Exit::Done),
        ("1.0.6", version("1.0.6.1"), passed(), vec!["warning [nft-mismatch]"], Exit::Done),
        ("1.1.3", version("1.0.6.1"), passed(), vec![], Exit::Done),
        ("1.1.3", Some(Nft::Unknown), passed(), vec![], Exit::Done),
        ("", None, Trial::NotRun("there is no nft".to_owned()), vec!["info [nft-not-checked]"], Exit::Done),
        (
            "1.1.3",
            version("1.0.6"),
            Trial::Crashed { arguments: "--terse list sets", signal: 11 },
            vec!["error [nft-crash]", "warning [nft-mismatch]"],
            Exit::CheckSaysNo,
        ),
        (
            "1.0.6",
            None,
            Trial::Crashed { arguments: "--check -f -", signal: 11 },
            vec!["warning [nft-crash]"],
            Exit::Done,
        ),
        (
            "1.0.6",
            None,
            Trial::Refused { family: "ip", command: None, why: "x".to_owned() },
            vec!["error [nft-refused]"],
            Exit::CheckSaysNo,
        ),
    ] {
        let answers = Answers::new(hosts, kube_proxys, trial);
        let (folder, _) = miniature(&HOST.replace("loaded", "loaded @nft"));
        let root = Root::new(folder.path()).unwrap();
        let options = InstallOptions { dry_run: true, ..INSTALL };
        let (report, got) =
            install(&root, &request(ProxyMode::Nftables), options, &Loader(folder.path()), Some(&answers)).unwrap();
        assert_eq!(
            (ids(&report), got),
            (expected.into_iter().map(str::to_owned).collect(), exit),
            "{hosts}: {report:?}"
        );
    }
}

/// A kernel of which nothing is known but that it accepts the transaction.
#[test]
fn what_is_accepted_is_there() {
    let host = "os debian 12\nrunning 6.6.6\nloaded\nsystemd\n";
    let (_, report, exit) = installed(host, &Answers::passing());
    assert_eq!(exit, Exit::Done, "{report:?}");
    assert!(report.modules.iter().all(|module| module.state == State::BuiltIn));
    let (_, report, exit) = installed(host, &Answers::new("1.0.6", None, refused()));
    assert_eq!(exit, Exit::CheckSaysNo);
    assert!(report.modules.iter().all(|module| module.state == State::Unknown));
}

#[test]
fn without_ipv6_nothing_of_it_is_asked() {
    let answers = Answers::passing();
    let (_, report, exit) = installed(&format!("{HOST}dir proc/sys/net/ipv4\n"), &answers);
    assert_eq!((report.modules.len(), exit), (11, Exit::Done), "{report:?}");
    assert_eq!(answers.asked.borrow().last().unwrap().0, ["ip"]);
}

#[test]
fn only_nftables_asks_nft() {
    let (folder, root) = miniature(HOST);
    let answers = Answers::new("0.9", None, refused());
    let loader = Loader(folder.path());
    let (report, exit) = install(&root, &request(ProxyMode::Ipvs), INSTALL, &loader, Some(&answers)).unwrap();
    assert_eq!((exit, answers.asked.borrow().len()), (Exit::Done, 0), "{report:?}");
}

/// What is unloaded is what no mode needs any more.
#[test]
fn modules_of_the_other_mode_stay() {
    let (folder, root) = miniature(HOST);
    let (modprobe, answers) = (Loader(folder.path()), Answers::passing());
    for mode in [ProxyMode::Ipvs, ProxyMode::Nftables] {
        assert_eq!(install(&root, &request(mode), INSTALL, &modprobe, Some(&answers)).unwrap().1, Exit::Done);
    }
    let loaded = || fs::read_to_string(folder.path().join("proc/modules")).unwrap();
    let both = |before: &[NodeRequest]| {
        assert_eq!(before.len(), 2);
        Ok(before.to_vec())
    };
    let (report, exit) = check(&root, both, true, Some(&answers)).unwrap();
    assert_eq!((report.modes.len(), exit), (2, Exit::Done), "{report:?}");
    assert!(report.findings.iter().all(|finding| finding.level < Level::Warning), "{report:?}");
    let (report, _) = remove(&root, Some(ProxyMode::Ipvs), true, &modprobe).unwrap();
    assert_eq!(report.summary, "removed the files that kpx-prep wrote for ipvs");
    assert!(!loaded().contains("ip_vs") && loaded().contains("nf_conntrack") && loaded().contains("nft_fib_ipv4"));
    let (report, _) = remove(&root, None, true, &modprobe).unwrap();
    assert_eq!((report.outcome, loaded().as_str()), (Outcome::Removed, ""));
}
