//! Loading, against a `modprobe` that can be told to misbehave: what counts is `/proc/modules`, not what it says.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::Path;

use kpx_prep::exit_code::Exit;
use kpx_prep::node::boot::request::NodeRequest;
use kpx_prep::node::check::check;
use kpx_prep::node::decide::module_state::State;
use kpx_prep::node::install::{InstallOptions, install};
use kpx_prep::node::lock::NodeLock;
use kpx_prep::node::modules::modprobe::Modprobe;
use kpx_prep::node::remove::remove;
use kpx_prep::node::report::Outcome;
use kpx_prep::node::root::Root;

#[path = "support/host.rs"]
mod host;
#[path = "support/tree.rs"]
mod tree;

const HOST: &str = "os debian 12\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 nf_conntrack\nsystemd\n";
const INSTALL: InstallOptions = InstallOptions { load: true, dry_run: false, force: false };

/// Loads into the miniature root's `/proc/modules`, except what it is told to refuse.
struct FakeModprobe<'a> {
    root: &'a Path,
    refuses: &'a [&'a str],
    in_use: &'a [&'a str],
    missing: bool,
    calls: RefCell<Vec<String>>,
}

impl<'a> FakeModprobe<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, refuses: &[], in_use: &[], missing: false, calls: RefCell::default() }
    }

    fn change(&self, change: impl Fn(Vec<String>) -> Vec<String>) {
        let path = self.root.join("proc/modules");
        let before = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        fs::write(&path, change(before).iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
}

impl Modprobe for FakeModprobe<'_> {
    fn load(&self, names: &[&str]) -> io::Result<String> {
        self.calls.borrow_mut().push(format!("load {}", names.join(" ")));
        if self.missing {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (refused, fine): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| self.refuses.contains(name));
        self.change(|mut lines| {
            let users = |name: &str| u8::from(self.in_use.contains(&name));
            lines.extend(fine.iter().map(|name| format!("{name} 16384 {} - Live 0x0", users(name))));
            lines
        });
        let complaint = |name: &&str| format!("modprobe: ERROR: could not insert '{name}': Operation not permitted\n");
        Ok(refused.iter().map(complaint).collect())
    }

    fn unload(&self, names: &[&str]) -> io::Result<String> {
        self.calls.borrow_mut().push(format!("unload {}", names.join(" ")));
        self.change(|lines| {
            lines.into_iter().filter(|line| !names.contains(&line.split(' ').next().unwrap_or_default())).collect()
        });
        Ok(String::new())
    }
}

/// What was installed before, or the default.
fn as_before(before: &[NodeRequest]) -> Vec<NodeRequest> {
    if before.is_empty() { vec![NodeRequest::default()] } else { before.to_vec() }
}

fn miniature() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    host::build(folder.path(), HOST);
    let root = Root::new(folder.path()).unwrap();
    (folder, root)
}

#[test]
fn one_call_loads_all_and_a_second_run_makes_none() {
    let (folder, root) = miniature();
    let modprobe = FakeModprobe::new(folder.path());
    let (report, exit) = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    assert_eq!((exit, report.outcome), (Exit::Done, Outcome::Prepared));
    assert!(report.modules.iter().all(|module| module.state == State::Loaded), "{report:?}");
    assert_eq!(modprobe.calls.borrow().len(), 1);
    assert_eq!(modprobe.calls.borrow()[0].split(' ').count(), 1 + 17);

    let before = tree::snapshot(folder.path());
    let (report, exit) = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    assert_eq!((exit, report.outcome), (Exit::Done, Outcome::AlreadyPrepared));
    assert_eq!(modprobe.calls.borrow().len(), 1, "nothing was to be loaded");
    assert_eq!(tree::difference(&before, &tree::snapshot(folder.path()), |_| false), "tree unchanged\n");
}

#[test]
fn a_mandatory_module_that_does_not_load_undoes_the_files() {
    let (folder, root) = miniature();
    let before = tree::snapshot(folder.path());
    let modprobe = FakeModprobe { refuses: &["ip_vs", "ip_vs_lc"], ..FakeModprobe::new(folder.path()) };
    let (report, exit) = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    assert_eq!((exit, report.outcome), (Exit::Failed, Outcome::Failed));
    let said: Vec<&str> = report.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert!(said[0].starts_with("ip_vs ") && said[0].contains("Operation not permitted"), "{said:?}");
    fs::write(folder.path().join("proc/modules"), "").unwrap();
    assert_eq!(tree::difference(&before, &tree::snapshot(folder.path()), |_| false), "tree unchanged\n");
}

#[test]
fn an_optional_module_that_does_not_load_is_a_warning() {
    let (folder, root) = miniature();
    let modprobe = FakeModprobe { refuses: &["ip_vs_lc"], ..FakeModprobe::new(folder.path()) };
    let (report, exit) = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    assert_eq!((exit, report.outcome), (Exit::Done, Outcome::Prepared));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].id, "load-failed");
    let (_, exit) = check(&root, |before| Ok(as_before(before)), true, None).unwrap();
    assert_eq!(exit, Exit::Done);
}

#[test]
fn without_modprobe_nothing_is_left_behind() {
    let (folder, root) = miniature();
    let before = tree::snapshot(folder.path());
    let modprobe = FakeModprobe { missing: true, ..FakeModprobe::new(folder.path()) };
    let error = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap_err();
    assert!(format!("{error:#}").contains("all changes were undone; no module was loaded"), "{error:#}");
    assert_eq!(tree::difference(&before, &tree::snapshot(folder.path()), |_| false), "tree unchanged\n");
}

#[test]
fn files_and_modules_that_vanished_are_restored() {
    let (folder, root) = miniature();
    let modprobe = FakeModprobe::new(folder.path());
    install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    modprobe.unload(&["ip_vs_rr"]).unwrap();
    let (report, exit) = check(&root, |before| Ok(as_before(before)), true, None).unwrap();
    assert_eq!(exit, Exit::CheckSaysNo);
    assert_eq!(report.findings[0].id, "module-not-loaded");
    install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    assert_eq!(modprobe.calls.borrow().last().unwrap(), "load ip_vs_rr");
    assert_eq!(check(&root, |before| Ok(as_before(before)), true, None).unwrap().1, Exit::Done);
}

#[test]
fn unload_leaves_what_is_in_use() {
    let (folder, root) = miniature();
    let modprobe = FakeModprobe { in_use: &["ip_vs", "ip_vs_rr"], ..FakeModprobe::new(folder.path()) };
    install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap();
    let (report, exit) = remove(&root, None, true, &modprobe).unwrap();
    assert_eq!((exit, report.outcome), (Exit::Done, Outcome::Removed));
    let left: Vec<String> = fs::read_to_string(folder.path().join("proc/modules"))
        .unwrap()
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(left, ["ip_vs", "ip_vs_rr"]);
    assert_eq!(report.findings[0].id, "module-in-use");
}

#[test]
fn two_runs_at_once_are_refused() {
    let (folder, root) = miniature();
    let lock = NodeLock::take(&root).unwrap();
    let modprobe = FakeModprobe::new(folder.path());
    let error = install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).unwrap_err();
    assert_eq!(Exit::of_error(&error), Exit::CheckSaysNo);
    drop(lock);
    assert!(install(&root, &NodeRequest::default(), INSTALL, &modprobe, None).is_ok());
}
