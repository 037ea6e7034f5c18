//! Every file that a command may read is, in turn, no file: nothing waits, nothing ends in a panic, and
//! `tests/node-irregular/KIND` says what comes of each. `BLESS=1` writes that anew.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::golden::Goldens;
use super::{folder, host, kpx_prep};

/// As rich as a host can be: everything that is read somewhere is there.
const HOST: &str = "os debian 12\nrunning 6.1.0\nloaded nf_conntrack\nsystemd\n\
    kernel 6.1.0 .ko usr/lib/modules @16 nf_conntrack\nlink lib usr/lib\n\
    unit loadmodules.service multi-user.target\n\
    file usr/sbin/NetworkManager 0755\n\
    file proc/cmdline\n| quiet\n\
    file proc/sys/kernel/modules_disabled\n| 0\n\
    file proc/1/environ\n| x=y\n\
    file proc/2/comm\n| kthreadd\n\
    file sys/kernel/security/lockdown\n| [none] integrity confidentiality\n\
    file sys/fs/selinux/enforce\n| 0\n\
    file run/systemd/container\n| none\n\
    file etc/modprobe.d/a.conf\n| # nothing\n\
    file run/modprobe.d/b.conf\n| # nothing\n\
    file usr/local/lib/modprobe.d/c.conf\n| # nothing\n\
    file usr/lib/modprobe.d/d.conf\n| # nothing\n\
    file etc/modules-load.d/a.conf\n| # nothing\n\
    file usr/local/lib/modules-load.d/b.conf\n| # nothing\n\
    file usr/lib/modules-load.d/c.conf\n| # nothing\n\
    file etc/sysconfig/modules/other.modules 0755\n| #!/bin/sh\n";
/// A host whose boot needs OpenRC's list.
const OPENRC: &str = "os alpine 3.19\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 nf_conntrack\n\
    file sbin/openrc-run 0755\nlink etc/runlevels/boot/modules /etc/init.d/modules\nfile etc/modules\n| loop\n";
/// A host whose kernel wants signatures, so that the modules themselves are looked into.
const LOCKED: &str = "os debian 12\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules ip_vs ip_vs_rr nf_conntrack\n\
    systemd\nfile sys/kernel/security/lockdown\n| none [integrity] confidentiality\n\
    file lib/modules/6.1.0/kernel/net/netfilter/ipvs/ip_vs.ko\n| ~Module signature appended~\n\
    file lib/modules/6.1.0/kernel/net/netfilter/ipvs/ip_vs_rr.ko\n| ~Module signature appended~\n\
    file lib/modules/6.1.0/kernel/net/netfilter/nf_conntrack.ko\n| ~Module signature appended~\n";
/// Files that the host does not have, and which may lie in wait all the same.
const ABSENT: [&str; 9] = [
    "etc/modules-load.d/kpx-prep-ipvs.conf",
    "etc/modules-load.d/.kpx-prep-ipvs.conf.kpx-prep.tmp",
    "etc/modules-load.d/.kpx-prep-ipvs.conf.old.kpx-prep.tmp",
    "etc/sysconfig/modules/ipvs.modules.before-kpx-prep",
    "etc/NetworkManager",
    "etc/NetworkManager/conf.d",
    "etc/NetworkManager/conf.d/90-kpx-prep-kube-ipvs0.conf",
    "run/kpx-prep.lock",
    "usr/lib/os-release",
];
const COMMANDS: [&str; 3] = ["install --no-load --force", "check", "remove"];
const PATIENCE: Duration = Duration::from_secs(20);

fn put(kind: &str, path: &Path) {
    if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        fs::remove_dir_all(path).unwrap();
    } else {
        let _ = fs::remove_file(path);
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match kind {
        "fifo" => nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o644)).unwrap(),
        "folder" => fs::create_dir(path).unwrap(),
        "large" => {
            fs::write(path, "# large\n").unwrap();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(17 << 20).unwrap();
        }
        "loop" => symlink(path.file_name().unwrap(), path).unwrap(),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        "device" => mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o644), makedev(1, 5)).unwrap(),
        _ => unreachable!("{kind}"),
    }
}

pub(crate) fn any_user() {
    every_file(&["fifo", "folder", "large", "loop", "socket"]);
}

pub(crate) fn devices() {
    every_file(&["device"]);
}

fn every_file(kinds: &[&str]) {
    let mut goldens = Goldens::default();
    for kind in kinds {
        let mut actual = String::new();
        for (name, host) in [("systemd", HOST), ("openrc", OPENRC), ("lockdown", LOCKED)] {
            let _ = writeln!(actual, "# a host with {name}; the exit statuses of {}", COMMANDS.join(", "));
            // A short path: that of a socket may not be long.
            let folder = folder();
            let root = folder.path().join("r");
            let usual = outcomes(&root, host, None);
            let lying_in_wait = if name == "systemd" { &ABSENT[..] } else { &[] };
            for file in files(&root, host).into_iter().chain(lying_in_wait.iter().map(|file| (*file).to_owned())) {
                let found = outcomes(&root, host, Some((kind, &file)));
                let news: Vec<&String> = found.iter().flat_map(|(_, lines)| lines).collect();
                let usual: Vec<&String> = usual.iter().flat_map(|(_, lines)| lines).collect();
                let exits: Vec<String> = found.iter().map(|(exit, _)| exit.to_string()).collect();
                let _ = writeln!(actual, "{file}: {}", exits.join(" "));
                let mut told = Vec::new();
                for line in news {
                    if !usual.contains(&line) && !told.contains(&line) {
                        let _ = writeln!(actual, "    {line}");
                        told.push(line);
                    }
                }
            }
        }
        goldens.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node-irregular").join(kind), actual);
    }
    goldens.end(1);
}

/// Every file of the host.
fn files(root: &Path, host: &str) -> Vec<String> {
    build(root, host);
    let entries = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
    let entries = entries.filter(|entry| !entry.file_type().is_dir());
    let path = |entry: walkdir::DirEntry| entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    // One of the many modules is enough.
    let one = |path: &String| !path.contains("/ip_vs_") || path.ends_with("/ip_vs_rr.ko");
    entries.map(path).filter(one).collect()
}

fn build(root: &Path, host: &str) {
    let _ = fs::remove_dir_all(root);
    fs::create_dir_all(root.join("etc")).unwrap();
    host::build(root, host);
}

/// The exit status of each command in turn, and what it said that is a problem.
fn outcomes(root: &Path, host: &str, odd: Option<(&str, &str)>) -> Vec<(i32, Vec<String>)> {
    build(root, host);
    if let Some((kind, file)) = odd {
        put(kind, &root.join(file));
    }
    let mut outcomes = Vec::new();
    for command in COMMANDS {
        let (exit, text) = in_time(&mut kpx_prep(root, &format!("node {command}")), odd);
        assert!((0..=3).contains(&exit), "{odd:?}, {command}: {exit} {text}");
        let text = text.replace(root.to_str().unwrap(), "ROOT");
        let problem = |line: &&str| ["error", "warning"].iter().any(|word| line.starts_with(word));
        outcomes.push((exit, text.lines().filter(problem).map(str::to_owned).collect()));
    }
    outcomes
}

fn in_time(command: &mut Command, odd: Option<(&str, &str)>) -> (i32, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let from = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if from.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{odd:?}: it waits for ever: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}
