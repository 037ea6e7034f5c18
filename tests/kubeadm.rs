//! `kpx-prep kubeadm-config` against cases as folders below `tests/kubeadm/`; see `support`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kpx_prep::yaml::{Node, parse};
use support::{compare, folders, kpx_prep, run};

mod support;

const COMMAND: &str = "kubeadm-config";

#[test]
fn cases() {
    let folders = folders("kubeadm");
    assert!(folders.len() >= 100, "only {} cases found", folders.len());
    compare(COMMAND, &folders);
}

/// What holds in every case, whatever the goldens say.
#[test]
fn every_outcome_keeps_the_contract() {
    for folder in folders("kubeadm") {
        let output = run(COMMAND, &folder);
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
        let mut command = kpx_prep(COMMAND, folder.path());
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
        kpx_prep(COMMAND, folder.path()).args(["--output-file", name]).assert().code(2).stdout("");
    }
    assert_eq!(fs::read_to_string(folder.path().join("target")).unwrap(), "theirs");
    kpx_prep(COMMAND, folder.path()).args(["--output-file", "missing/config.yaml"]).assert().code(1).stdout("");
}

/// The field names of every document, against what kubeadm and kube-proxy print of themselves.
#[test]
fn every_field_exists_in_its_api_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubeadm-fields");
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    let fields = read("kubeadm") + &read("component-configs");
    let mut checked = 0;
    for folder in folders("kubeadm").iter().filter(|folder| !folder.join("foreign").exists()) {
        let output = run(COMMAND, folder);
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
