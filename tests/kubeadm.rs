//! `kpx-prep kubeadm-config` against cases as folders: `tests/kubeadm/NAME/` holds `args` (one a line) and the
//! expected `stdout`, `stderr` and `exit`; where it needs them, `stdin`, `env` (NAME=VALUE lines), files that the
//! arguments name, and `bin/`, which is all of `PATH`. `BLESS=1` writes what came out, for review as a diff.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use kpx_prep::yaml::{Node, parse};

fn kpx_prep(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("kpx-prep").unwrap();
    command.env_clear().env("PATH", "bin").current_dir(folder).arg("kubeadm-config");
    command
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm");
    let mut folders: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("args").exists())
        .collect();
    folders.sort();
    folders
}

fn run(folder: &Path) -> Output {
    let mut command = kpx_prep(folder);
    command.args(fs::read_to_string(folder.join("args")).unwrap().lines());
    if let Ok(env) = fs::read_to_string(folder.join("env")) {
        command.envs(env.lines().filter_map(|line| line.split_once('=')));
    }
    command.write_stdin(fs::read(folder.join("stdin")).unwrap_or_default());
    command.output().unwrap()
}

#[test]
fn cases() {
    let folders = folders();
    assert!(folders.len() >= 60, "only {} cases found", folders.len());
    let mut failed = Vec::new();
    for folder in &folders {
        let output = run(folder);
        let exit = format!("{}\n", output.status.code().unwrap_or(-1));
        for (name, got) in [("stdout", output.stdout), ("stderr", output.stderr), ("exit", exit.into_bytes())] {
            let file = folder.join(name);
            if std::env::var_os("BLESS").is_some() {
                fs::write(&file, &got).unwrap();
            }
            let expected = fs::read(&file).unwrap_or_default();
            if got != expected {
                let (expected, got) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(&got));
                let diff = similar::TextDiff::from_lines(&*expected, &*got).unified_diff().to_string();
                failed.push(format!("{}:\n{diff}", file.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{} differences in {} cases:\n{}", failed.len(), folders.len(), failed.join("\n"));
}

/// What holds in every case, whatever the goldens say.
#[test]
fn every_outcome_keeps_the_contract() {
    for folder in folders() {
        let output = run(&folder);
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let name = folder.display();
        match output.status.code() {
            Some(0) => {
                let documents = parse(&stdout).unwrap();
                assert!(documents.iter().all(|document| document.root.get(&["kind"]).is_some()), "{name}");
                let kind = |node: &Node| node.get(&["kind"]).and_then(Node::text).map(ToOwned::to_owned);
                let proxy: Vec<_> = documents
                    .iter()
                    .filter(|document| kind(&document.root).as_deref() == Some("KubeProxyConfiguration"))
                    .collect();
                if documents.iter().all(|document| kind(&document.root).as_deref() != Some("JoinConfiguration")) {
                    assert_eq!(proxy.len(), 1, "{name}");
                    let mode = proxy[0].root.get(&["mode"]).and_then(Node::text);
                    assert!(
                        mode.is_some_and(|mode| ["ipvs", "iptables", "nftables"].contains(&mode)),
                        "{name}: {mode:?}"
                    );
                }
                // kubeadm splits at lines that begin with ---, and a part of comments only has no kind.
                for part in stdout.split("\n---").filter(|_| !folder.join("foreign").exists()) {
                    assert!(part.contains("kind:") || part.contains("\"kind\":"), "{name}: {part:?}");
                }
            }
            Some(2) => {
                assert!(stdout.is_empty(), "{name}: {stdout}");
                assert!(stderr.contains("error: "), "{name}: {stderr}");
            }
            other => panic!("{name}: exit {other:?}"),
        }
        for secret in ["07401b.f395accd246ae52d", "f395accd246ae52d", "c0ffee"] {
            assert!(!stderr.contains(secret), "{name}: a secret in {stderr}");
        }
    }
}

#[test]
fn an_output_file_is_whole_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let command = || {
        let mut command = kpx_prep(folder.path());
        command.args(["--kubernetes-version", "1.34"]);
        command
    };
    let on_stdout = command().output().unwrap().stdout;
    command().args(["--mode", "IPVS", "--output-file", "config.yaml"]).assert().code(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    command().args(["--output-file", "config.yaml"]).assert().code(0).stdout("");
    assert_eq!(fs::read(&file).unwrap(), on_stdout);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn an_output_file_replaces_plain_files_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("target"), "theirs").unwrap();
    std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for name in ["link", "folder"] {
        kpx_prep(folder.path()).args(["--output-file", name]).assert().code(2).stdout("");
    }
    assert_eq!(fs::read_to_string(folder.path().join("target")).unwrap(), "theirs");
    kpx_prep(folder.path()).args(["--output-file", "missing/config.yaml"]).assert().code(1).stdout("");
}

/// The field names of every document, against what kubeadm and kube-proxy print of themselves.
#[test]
fn every_field_exists_in_its_api_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm-fields");
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let fields = read("kubeadm") + &read("component-configs");
    let mut checked = 0;
    for folder in folders().iter().filter(|folder| !folder.join("foreign").exists()) {
        let output = run(folder);
        for document in parse(&String::from_utf8(output.stdout).unwrap()).unwrap() {
            let text = |key: &str| document.root.get(&[key]).and_then(Node::text).unwrap_or_default().to_owned();
            let (api, kind) = (text("apiVersion"), text("kind"));
            check_fields(&fields, &format!("{api} {kind}"), "", &document.root, &mut checked);
        }
    }
    assert!(checked > 300, "only {checked} fields were looked at");
}

fn check_fields(fields: &str, document: &str, above: &str, node: &Node, checked: &mut usize) {
    for (key, value) in node.entries() {
        let path = format!("{above}{}", key.text().unwrap());
        let known = |path: &str| fields.lines().any(|line| line == format!("{document} {path}"));
        // Gates are names of their own.
        let gate = above == "featureGates.";
        assert!(gate || known(&path), "{document} has no field {path}");
        *checked += 1;
        check_fields(fields, document, &format!("{path}."), value, checked);
        for item in value.items() {
            check_fields(fields, document, &format!("{path}[]."), item, checked);
        }
    }
}
