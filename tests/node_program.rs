//! `kpx-prep-node` answers as `kpx-prep node` does, on the miniature roots of `tests/node`.
//!
//! Ignored by default: the same for arm64, under qemu's emulation of a processor. `KPX_PREP_NODE_ARM64` names the program;
//! `tests/node-program-arm64` builds it and runs this.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

#[path = "support/host.rs"]
mod host;

/// The hosts, each in a folder of its own.
fn hosts() -> Vec<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

/// What a program printed, as JSON, and its exit status.
fn answer(program: &[&str], arguments: &[&str], root: &Path) -> (Value, Option<i32>) {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(arguments).arg("--root").arg(root).args(["-o", "json"]);
    let output = command.env_clear().output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{command:?}: {error}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (json, output.status.code())
}

fn same_answers(program: &[&str], is_root: bool) {
    let kpx_prep = [env!("CARGO_BIN_EXE_kpx-prep"), "node"];
    let commands: [&[&str]; 6] = [
        &["check"],
        &["check", "--modules", "required", "--scheduler", "wlc", "--kubernetes-version", "1.26"],
        &["install", "--dry-run"],
        &["install", "--dry-run", "--mode", "nftables"],
        &["check", "--mode", "nftables", "--load"],
        &["survey", "--metrics-port", "9", "--service-count", "3", "--ask", "127.0.0.1:9"],
    ];
    let mut compared = 0;
    for case in hosts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        host::build(&root, &fs::read_to_string(case.join("host")).unwrap());
        // Only root may survey.
        for command in &commands[..if is_root { 6 } else { 5 }] {
            let expected = answer(&kpx_prep, command, &root);
            assert_eq!(answer(program, command, &root), expected, "{}: {command:?}", case.display());
            compared += 1;
        }
    }
    println!("{compared} answers compared");
    assert!(compared > 200, "{compared}");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn answers_as_kpx_prep_does() {
    same_answers(&[env!("CARGO_BIN_EXE_kpx-prep-node")], is_root());
}

#[test]
#[ignore = "needs qemu-user and the program for arm64: tests/node-program-arm64"]
fn arm64_answers_as_amd64() {
    let program = std::env::var("KPX_PREP_NODE_ARM64").expect("the program");
    same_answers(&["qemu-aarch64-static", &program], is_root());
}

/// A busy API server loses the output of a command that ends at once.
#[test]
fn it_stays_until_its_answer_was_read() {
    let root = tempfile::tempdir().unwrap();
    for program in [&[env!("CARGO_BIN_EXE_kpx-prep-node")][..], &[env!("CARGO_BIN_EXE_kpx-prep"), "node"]] {
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .args(["--heartbeat", "100ms", "--lease", "60s", "check", "-o", "json", "--root"])
            .arg(root.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while line != "}\n" {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "{program:?}: no answer");
        }
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(child.try_wait().unwrap(), None, "{program:?} ended before its answer was read");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}

#[test]
fn wrong_usage() {
    for (arguments, said) in [
        (&[][..], "no command"),
        (&["frobnicate"], "no command \"frobnicate\""),
        (&["check", "--drain", "1s"], "check has no option --drain"),
        (&["clean", "--drain", "soon"], "is not a duration"),
        (&["check", "--root"], "--root"),
        (&["check", "extra"], "extra"),
        (&["check", "-o", "yaml"], "its only output format is json"),
        (&["check", "--frob"], "--frob"),
        (&["survey", "--heartbeat", "1s"], "require each other"),
        (&["check", "--boot-mechanism", "magic"], "no boot mechanism"),
        (&["check", "--mode", "ipv4"], "not a proxy mode"),
        (&["install", "--mode", "iptables"], "nothing to prepare"),
        (&["leftovers", "--mode", "nftables"], "leftovers has no option --mode"),
        (&["check", "--kubernetes-version", "x"], "x"),
        (&["clean", "--no-kube-proxy"], "require each other"),
        (&["clean", "--api-service", "10.96.0.1:443"], "require each other"),
        (&["clean", "--no-kube-proxy", "--api-service", "10.96.0.1"], "10.96.0.1"),
        (&["clean", "--no-kube-proxy", "--api-service", "10.96.0.1:443", "--from", "ipvs"], "takes none of --from"),
        (&["clean", "--no-kube-proxy", "--api-service", "10.96.0.1:443", "--keep-leftovers"], "takes none of --from"),
        (&["leftovers", "--no-kube-proxy"], "leftovers has no option --no-kube-proxy"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_kpx-prep-node")).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(said) && text.contains("nothing was changed"), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}
