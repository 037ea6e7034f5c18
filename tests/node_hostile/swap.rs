//! The owner of a tree exchanges folders and files for links that lead out of it, as fast as he can, while root works
//! on it. Nothing outside may change, and nothing of what is outside may come in.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::libc::{ENOSYS, EPERM};
use walkdir::WalkDir;

use super::{HOST, SECRET, differences, folder, host, kpx_prep, miniature, said, seccomp, tree};

/// Runs with each place and command. What a race shows only sometimes, `step` shows each time.
const ROUNDS: usize = 2;

/// What is exchanged, and for what: a path outside by the same name.
pub(crate) const PLACES: [&str; 13] = [
    "etc",
    "etc/modules-load.d",
    "etc/modules-load.d/kpx-prep-ipvs.conf",
    "etc/sysconfig",
    "etc/sysconfig/modules",
    "etc/sysconfig/modules/ipvs.modules",
    "etc/NetworkManager",
    "etc/NetworkManager/conf.d",
    "etc/NetworkManager/conf.d/90-kpx-prep-kube-ipvs0.conf",
    "etc/modprobe.d",
    "etc/modprobe.d/a.conf",
    "run",
    "lib/modules",
];
/// Commands, each with whether foreign files are there at first, and whether their folders are.
pub(crate) const COMMANDS: [(&str, bool, bool); 4] = [
    ("node install --no-load", false, false),
    ("node install --no-load", false, true),
    ("node install --no-load --force", true, true),
    ("node remove", false, false),
];
const FILES: [&str; 3] = [
    "etc/modules-load.d/kpx-prep-ipvs.conf",
    "etc/sysconfig/modules/ipvs.modules",
    "etc/NetworkManager/conf.d/90-kpx-prep-kube-ipvs0.conf",
];

/// The tree that is worked on: with foreign files in all places, with none, or with the folders only.
fn build(root: &Path, foreign: bool, folders: bool) {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root.join("etc/modprobe.d")).unwrap();
    host::build(root, HOST);
    fs::write(root.join("etc/modprobe.d/a.conf"), "# theirs\n").unwrap();
    for file in FILES {
        if folders || foreign {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        }
        if foreign {
            fs::write(root.join(file), "# theirs\n").unwrap();
        }
    }
}

/// What is outside: folders and files by the same names, which root alone may read.
fn build_outside(outside: &Path) {
    for file in FILES {
        fs::create_dir_all(outside.join(file).parent().unwrap()).unwrap();
        let text = format!("# Written by kpx-prep\n# {SECRET}\n");
        fs::write(outside.join(file), text).unwrap();
        fs::set_permissions(outside.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir_all(outside.join("etc/modprobe.d")).unwrap();
    fs::create_dir_all(outside.join("run/systemd/system")).unwrap();
    fs::create_dir_all(outside.join("lib/modules/6.1.0/kernel")).unwrap();
    fs::write(
        outside.join("lib/modules/6.1.0/modules.builtin"),
        format!("kernel/net/netfilter/ipvs/ip_vs_{SECRET}.ko\n"),
    )
    .unwrap();
    let rule = format!("install ip_vs /bin/false {SECRET}\n");
    fs::write(outside.join("etc/modprobe.d/a.conf"), rule).unwrap();
}

/// Every path with its kind, inode, times and content.
pub(crate) fn canary(outside: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in WalkDir::new(outside).sort_by_file_name() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let content = if meta.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
        lines.push(format!(
            "{} {:o} {} {} {}.{} {}",
            entry.path().display(),
            meta.mode(),
            meta.ino(),
            meta.nlink(),
            meta.ctime(),
            meta.ctime_nsec(),
            String::from_utf8_lossy(&content)
        ));
    }
    lines
}

/// The tree and what is outside it, as `command` finds them; the canary of the latter.
pub(crate) fn prepared(root: &Path, outside: &Path, (command, foreign, folders): (&str, bool, bool)) -> Vec<String> {
    build(root, foreign, folders);
    if command == "node remove" {
        kpx_prep(root, "node install --no-load").output().unwrap();
    }
    let _ = fs::remove_dir_all(outside);
    build_outside(outside);
    canary(outside)
}

/// Whether anything below the root holds what only root may read.
pub(crate) fn leaked(root: &Path) -> bool {
    let files = WalkDir::new(root).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    files
        .filter_map(|entry| fs::read(entry.path()).ok())
        .any(|content| content.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()))
}

pub(crate) fn with_openat2() {
    swap("openat2", |command| command);
}

pub(crate) fn without_openat2() {
    swap("no openat2", |command| seccomp::refuse_openat2(command, ENOSYS));
}

#[derive(Default)]
struct Counts {
    runs: usize,
    done: usize,
    wrote_outside: usize,
    leaked: usize,
}

fn swap(way: &str, prepare: impl Fn(&mut Command) -> &mut Command) {
    let folder = folder();
    let (root, outside) = (folder.path().join("root"), folder.path().join("outside"));
    let mut counts = Counts::default();
    let swaps = AtomicU64::new(0);
    let mut first = String::new();
    for round in 0..ROUNDS {
        for (number, place) in PLACES.iter().enumerate() {
            for (command, foreign, folders) in COMMANDS {
                let before = prepared(&root, &outside, (command, foreign, folders));
                let exchanged = links(&root, &outside, place, round + number);
                let stop = AtomicBool::new(false);
                let (exit, text) = std::thread::scope(|scope| {
                    scope.spawn(|| exchange(&root.join(place), &exchanged, &stop, &swaps));
                    let result = said(prepare(&mut kpx_prep(&root, command)));
                    stop.store(true, Ordering::Relaxed);
                    result
                });
                assert!((0..=3).contains(&exit), "{way}, {place}, {command}: {exit} {text}");
                counts.runs += 1;
                counts.done += usize::from(exit == 0);
                let after = canary(&outside);
                let wrote = before != after;
                // What root writes comes in only by a copy; what it says, by a message.
                let leaks = leaked(&root) || text.contains(SECRET);
                counts.wrote_outside += usize::from(wrote);
                counts.leaked += usize::from(leaks);
                if (wrote || leaks) && first.is_empty() {
                    let _ = write!(first, "{place}, {command}, exit {exit}:\n{text}\n{before:#?}\n{after:#?}");
                }
            }
        }
    }
    let swaps = swaps.load(Ordering::Relaxed);
    println!(
        "{way}: {} runs, {} of them done, {swaps} exchanges; wrote outside: {}, told what is outside: {}",
        counts.runs, counts.done, counts.wrote_outside, counts.leaked
    );
    assert_eq!((counts.wrote_outside, counts.leaked), (0, 0), "the first one: {first}");
    assert!(swaps > counts.runs as u64 * 10, "too few exchanges to show anything");
    assert!(counts.done > counts.runs / 10, "too few runs came through");
}

/// A link outside the tree's folders that leads to the place by the same name outside the tree; three ways to say so.
pub(crate) fn links(root: &Path, outside: &Path, place: &str, kind: usize) -> PathBuf {
    let target = outside.join(place);
    let target = match kind % 3 {
        0 => target.display().to_string(),
        1 => format!("{}{}", "../".repeat(40), target.display()),
        _ => format!("/proc/self/root{}", target.display()),
    };
    let link = root.join("exchanged");
    let _ = fs::remove_file(&link);
    symlink(target, &link).unwrap();
    link
}

/// Exchanges the two until told to stop, and ends with each in its own place.
fn exchange(place: &Path, link: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let mut away = false;
    while !stop.load(Ordering::Relaxed) || away {
        if renameat2(AT_FDCWD, place, AT_FDCWD, link, RenameFlags::RENAME_EXCHANGE).is_ok() {
            away = !away;
            swaps.fetch_add(1, Ordering::Relaxed);
            // In each position for a while, not the same one each time.
            for _ in 0..swaps.load(Ordering::Relaxed) % 16 * 8 {
                std::hint::spin_loop();
            }
        } else if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Both ways of opening leave the same tree behind, links inside the tree included.
pub(crate) fn the_walk_does_what_openat2_does() {
    let trees: Vec<_> = [None, Some(ENOSYS), Some(EPERM)]
        .into_iter()
        .map(|error| {
            let (_folder, root) = miniature();
            fs::create_dir_all(root.join("srv/sysconfig")).unwrap();
            symlink("/srv/../../srv/sysconfig", root.join("etc/sysconfig")).unwrap();
            let before = tree::snapshot(&root);
            let run = |arguments| {
                let mut command = kpx_prep(&root, arguments);
                if let Some(error) = error {
                    seccomp::refuse_openat2(&mut command, error);
                }
                said(&mut command)
            };
            let (exit, text) = run("node install --no-load");
            assert_eq!(exit, 0, "{text}");
            let installed = differences(&before, &tree::snapshot(&root));
            assert!(installed.iter().any(|line| line.contains("srv/sysconfig/modules/ipvs.modules")), "{installed:?}");
            assert_eq!(run("node check").0, 0);
            assert_eq!(run("node remove").0, 0);
            assert_eq!(differences(&before, &tree::snapshot(&root)), Vec::<String>::new());
            installed
        })
        .collect();
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "{trees:#?}");
}
