//! Limits of the process, and file systems that change their mind half way: what was written is undone, or the message
//! names what is not.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use kpx_prep::exit_code::Exit;
use kpx_prep::node::boot::request::NodeRequest;
use kpx_prep::node::install::network_manager::reload;
use kpx_prep::node::install::{InstallOptions, install};
use kpx_prep::node::modules::modprobe::Modprobe;
use kpx_prep::node::remove::remove;
use kpx_prep::node::root::Root;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use super::{HOST, JOB, differences, host, kpx_prep, miniature, said, seccomp, tree};

/// What this program does in place of the tests when it is told so, in a process and a mount namespace of its own.
pub(crate) fn jobs() -> [(&'static str, fn()); 2] {
    [("openat2", seccomp::print_openat2), ("remount", remounted)]
}

/// A message about what is so now is right: of what differs everything is named, or nothing is said to differ.
fn tells_the_truth(before: &tree::Tree, root: &Path, text: &str) {
    let differs = differences(before, &tree::snapshot(root));
    let claims = ["nothing was changed", "all changes were undone", "the files are in their previous state"];
    if claims.iter().any(|claim| text.contains(claim)) {
        assert_eq!(differs, Vec::<String>::new(), "{text}");
        return;
    }
    assert!(text.contains("not all changes could be undone"), "{text}");
    // The lock keeps a note of it for the next run.
    for line in differs.into_iter().filter(|line| !line.contains("run/kpx-prep.lock")) {
        let path = line.split(' ').nth(1).unwrap().trim_end_matches('/');
        let name = path.rsplit('/').next().unwrap();
        assert!(text.contains(name), "{line} is not named: {text}");
    }
}

/// Files as an older version wrote them, so that they are replaced.
fn older(root: &Path) {
    for file in ["etc/modules-load.d/kpx-prep-ipvs.conf", "etc/sysconfig/modules/ipvs.modules"] {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), "# Written by kpx-prep\n").unwrap();
    }
}

#[expect(unsafe_code, reason = "a limit is set between fork and exec, by one bare system call")]
pub(crate) fn file_size() {
    let mut failed = 0;
    for size in [0, 1, 10, 100, 300, 500, 600, 1000, 2000, 2500] {
        for replaced in [false, true] {
            let (_folder, root) = miniature();
            if replaced {
                older(&root);
            }
            let before = tree::snapshot(&root);
            let mut command = kpx_prep(&root, "node install --no-load");
            // SAFETY: the closure makes one system call.
            unsafe {
                command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_FSIZE, size, size)?));
            }
            let (exit, text) = said(&mut command);
            if exit == 0 {
                continue;
            }
            failed += 1;
            assert_eq!(exit, 1, "at {size}: {text}");
            assert!(text.contains("File too large"), "{text}");
            tells_the_truth(&before, &root, &text);
            assert_eq!(differences(&before, &tree::snapshot(&root)), Vec::<String>::new(), "undone");
            assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0, "and installs without the limit");
        }
    }
    assert!(failed >= 10, "{failed} runs met the limit");
}

pub(crate) fn remount() {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--mount").arg(std::env::current_exe().unwrap()).env(JOB, "remount");
    let (exit, text) = said(&mut command);
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("remounted 4 times"), "{text}");
}

/// Makes the file system read-only, and then fails or loads nothing.
struct Remounting<'a> {
    place: &'a Path,
    error: bool,
}

impl Modprobe for Remounting<'_> {
    fn load(&self, _: &[&str]) -> io::Result<String> {
        read_only(self.place, true);
        if self.error { Err(io::ErrorKind::NotFound.into()) } else { Ok(String::new()) }
    }

    fn unload(&self, _: &[&str]) -> io::Result<String> {
        Ok(String::new())
    }
}

fn read_only(place: &Path, on: bool) {
    let flags = if on { MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY } else { MsFlags::MS_REMOUNT };
    mount(None::<&str>, place, None::<&str>, flags, None::<&str>).unwrap();
}

fn remounted() {
    const OPTIONS: InstallOptions = InstallOptions { load: true, dry_run: false, force: false };
    let folder = tempfile::tempdir().unwrap();
    let mut times = 0;
    for replaced in [false, true] {
        for error in [false, true] {
            mount(Some("tmpfs"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            let path = folder.path();
            fs::create_dir(path.join("etc")).unwrap();
            // On a file system of its own, as on every host: the lock that is held there is open for writing.
            fs::create_dir(path.join("run")).unwrap();
            mount(Some("tmpfs"), &path.join("run"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            host::build(path, HOST);
            if replaced {
                older(path);
            }
            let before = tree::snapshot(path);
            let root = Root::new(path).unwrap();
            let text = match install(&root, &NodeRequest::default(), OPTIONS, &Remounting { place: path, error }, None)
            {
                Err(error) => format!("{error:#}"),
                Ok((report, exit)) => {
                    assert_eq!(exit, Exit::Failed);
                    let not_undone = report.findings.iter().any(|finding| finding.id == "not-undone");
                    assert!(not_undone, "{:?}", report.findings);
                    kpx_prep::node::command::NodeAnswer::Node(report).text()
                }
            };
            assert!(text.contains("Read-only file system"), "{text}");
            tells_the_truth(&before, path, &text);
            // Once it can be written again, all of it goes.
            read_only(path, false);
            remove(&root, None, false, &Remounting { place: path, error }).unwrap();
            let mut left = differences(&before, &tree::snapshot(path));
            if replaced {
                // Of these the content of before is lost with `remove`, as it is ours.
                left.retain(|line| !line.ends_with("kpx-prep-ipvs.conf") && !line.ends_with("ipvs.modules"));
            }
            assert_eq!(left, Vec::<String>::new());
            times += 1;
            drop(root);
            nix::mount::umount(&path.join("run")).unwrap();
            nix::mount::umount(path).unwrap();
        }
    }
    folder_in_use(folder.path());
    read_only_once_loaded(folder.path());
    a_network_manager_that_cannot_be_told();
    println!("remounted {times} times");
}

/// Loads the modules, and then makes the file system read-only.
struct LoadingOnly<'a>(&'a Path);

impl Modprobe for LoadingOnly<'_> {
    fn load(&self, names: &[&str]) -> io::Result<String> {
        let lines: String = names.iter().map(|name| format!("{name} 16384 0 - Live 0x0\n")).collect();
        let loaded = self.0.join("proc/modules");
        let before = fs::read_to_string(&loaded).unwrap_or_default();
        fs::write(&loaded, before + &lines)?;
        read_only(self.0, true);
        Ok(String::new())
    }

    fn unload(&self, _: &[&str]) -> io::Result<String> {
        Ok(String::new())
    }
}

/// The node is prepared; what install kept for undoing cannot be removed.
fn read_only_once_loaded(place: &Path) {
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    for folder in ["etc", "run"] {
        fs::create_dir(place.join(folder)).unwrap();
    }
    mount(Some("tmpfs"), &place.join("run"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    host::build(place, HOST);
    older(place);
    let root = Root::new(place).unwrap();
    let options = InstallOptions { load: true, dry_run: false, force: false };
    let (report, _) = install(&root, &NodeRequest::default(), options, &LoadingOnly(place), None).unwrap();
    assert!(report.findings.iter().any(|finding| finding.id == "leftover"), "{:?}", report.findings);
    drop(root);
    nix::mount::umount(&place.join("run")).unwrap();
    nix::mount::umount(place).unwrap();
}

/// It seems to run, but its nmcli is not there or does not reach it.
fn a_network_manager_that_cannot_be_told() {
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::create_dir("/run/NetworkManager").unwrap();
    let finding = reload(&Root::new(Path::new("/")).unwrap()).expect("a finding");
    assert_eq!(finding.id, "networkmanager-reload", "{finding:?}");
    nix::mount::umount("/run").unwrap();
}

/// A folder that install created cannot be removed while something is mounted there.
fn folder_in_use(place: &Path) {
    let path = place.join("host");
    fs::create_dir_all(path.join("etc")).unwrap();
    host::build(&path, HOST);
    let root = Root::new(&path).unwrap();
    let nothing = Remounting { place, error: false };
    let options = InstallOptions { load: false, dry_run: false, force: false };
    install(&root, &NodeRequest::default(), options, &nothing, None).unwrap();
    let made = path.join("etc/sysconfig/modules");
    mount(Some(&made), &made, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let (report, _) = remove(&root, None, false, &nothing).unwrap();
    assert!(report.findings.iter().any(|finding| finding.id == "folder-left"), "{:?}", report.findings);
    nix::mount::umount(&made).unwrap();
}

pub(crate) fn append_only() {
    let chattr = |flag: &str, path: &Path| {
        let done = Command::new("chattr").arg(flag).arg(path).status().unwrap();
        assert!(done.success(), "chattr {flag} {}", path.display());
    };
    let places = [
        "etc",
        "etc/modules-load.d",
        "etc/sysconfig/modules",
        "etc/modules-load.d/kpx-prep-ipvs.conf",
        "etc/sysconfig/modules/ipvs.modules",
        "run",
    ];
    let mut undone = 0;
    let mut not_undone = 0;
    for flag in ['a', 'i'] {
        for place in places {
            for (replaced, command) in
                [(true, "node install --no-load"), (false, "node install --no-load"), (true, "node remove")]
            {
                // Not in memory: few kernels know these attributes there.
                let folder = tempfile::tempdir().unwrap();
                let root = folder.path().join("root");
                fs::create_dir_all(root.join("etc")).unwrap();
                host::build(&root, HOST);
                if replaced || place.matches('/').count() == 1 {
                    older(&root);
                }
                if !replaced && place.matches('/').count() == 1 {
                    fs::remove_file(root.join("etc/modules-load.d/kpx-prep-ipvs.conf")).unwrap();
                    fs::remove_file(root.join("etc/sysconfig/modules/ipvs.modules")).unwrap();
                }
                if !root.join(place).exists() {
                    continue;
                }
                let before = tree::snapshot(&root);
                chattr(&format!("+{flag}"), &root.join(place));
                let (exit, text) = said(&mut kpx_prep(&root, command));
                chattr(&format!("-{flag}"), &root.join(place));
                let differs = differences(&before, &tree::snapshot(&root));
                let context = format!("+{flag} {place}, {command}, replaced {replaced}: {exit} {text}\n{differs:#?}");
                assert!((0..=1).contains(&exit), "{context}");
                if exit == 0 {
                    continue;
                }
                if command == "node remove" {
                    // It says what is gone, and that is gone.
                    let gone = text.split("removed so far: ").nth(1);
                    let gone = gone.map_or("", |rest| rest.split(". Run it again").next().unwrap());
                    for line in differs.iter().filter(|line| line.starts_with('-') && !line.ends_with('/')) {
                        assert!(gone.contains(&line[2..]), "{context}");
                    }
                } else {
                    tells_the_truth(&before, &root, &text);
                    if differs.is_empty() { undone += 1 } else { not_undone += 1 }
                }
                // Once that is possible, it ends well.
                assert_eq!(said(&mut kpx_prep(&root, "node install --no-load")).0, 0, "{context}");
                assert_eq!(said(&mut kpx_prep(&root, "node remove")).0, 0, "{context}");
                let names = tree::snapshot(&root);
                assert!(!names.keys().any(|name| name.contains("kpx-prep")), "{context}");
            }
        }
    }
    println!("{undone} undone, {not_undone} reported as not undone");
    assert!(undone > 3 && not_undone > 0);
}
