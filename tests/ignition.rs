//! `kpx-prep ignition` against cases as folders below `tests/ignition/`, the structure of each config, and what its scripts do
//! on a miniature host, in the order of its units.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;
use support::{compare, folders, kpx_prep, run};
use tempfile::TempDir;

#[path = "support/host.rs"]
mod host;
mod support;

const COMMAND: &str = "ignition";

#[test]
fn cases() {
    let folders = folders(COMMAND);
    assert!(folders.len() >= 10, "only {} cases found", folders.len());
    compare(COMMAND, &folders);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The content of a file that is part of the config, decoded by another program.
fn content(file: &Value) -> Option<String> {
    let encoded = text(&file["contents"]["source"]).strip_prefix("data:;base64,")?;
    let output = assert_cmd::Command::new("base64").arg("-d").write_stdin(encoded).output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// By the rules of the spec 3.1.0 (docs/configuration-v3_1.md in coreos/ignition).
#[test]
fn every_config_keeps_the_contract() {
    let mut seen = 0;
    for folder in folders(COMMAND) {
        let output = run(COMMAND, &folder);
        let name = folder.display().to_string();
        if output.status.code() != Some(0) {
            assert!(output.stdout.is_empty() && output.status.code() == Some(2), "{name}");
            continue;
        }
        seen += 1;
        let config: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(keys(&config), ["ignition", "storage", "systemd"].into(), "{name}");
        assert_eq!(config["ignition"]["version"], "3.1.0");
        let mut paths = BTreeSet::new();
        for file in list(&config["storage"]["files"]) {
            assert_eq!(keys(file), ["path", "overwrite", "contents", "mode"].into(), "{name}");
            assert!(text(&file["path"]).starts_with('/') && paths.insert(text(&file["path"])), "{name}: {file}");
            match content(file) {
                Some(content) if file["path"] == "/etc/kpx-prep/kubeadm.yaml" => {
                    assert_eq!(file["mode"], 0o600);
                    assert!(content.contains("\nkind: "), "{name}: {content}");
                }
                Some(script) => {
                    assert_eq!(file["mode"], 0o700);
                    let sh = assert_cmd::Command::new("sh").arg("-n").write_stdin(script).output().unwrap();
                    assert!(sh.status.success(), "{name}: {}", String::from_utf8_lossy(&sh.stderr));
                }
                None => {
                    assert_eq!((text(&file["path"]), &file["mode"]), ("/opt/bin/kpx-prep", &0o755.into()));
                    let hash = text(&file["contents"]["verification"]["hash"]);
                    assert!(hash.len() == 7 + 64 && hash.starts_with("sha256-"), "{name}: {hash}");
                }
            }
        }
        for unit in list(&config["systemd"]["units"]) {
            assert_eq!(keys(unit), ["name", "enabled", "contents"].into());
            let contents = text(&unit["contents"]);
            for section in ["[Unit]\n", "\n[Service]\nType=oneshot\n", "\n[Install]\nWantedBy=multi-user.target\n"] {
                assert!(contents.contains(section), "{name}: {contents}");
            }
            // What a unit runs is in the config.
            let script = contents.lines().find_map(|line| line.strip_prefix("ExecStart=/bin/sh ")).unwrap();
            assert!(paths.contains(script), "{name}: {script}");
        }
    }
    assert!(seen >= 7, "only {seen} configs came out");
}

/// A miniature host with the files of a config; Ignition's download is the real kpx-prep, which takes the host for the node.
struct Machine {
    root: TempDir,
    units: Vec<(String, String)>,
}

const HOST: &str = "os flatcar 4000\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 @nft\nsystemd\n";

impl Machine {
    fn new(args: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (real, here) = (assert_cmd::cargo::cargo_bin("kpx-prep"), root.path().display().to_string());
        host::build(root.path(), HOST);
        for folder in ["opt/bin", "etc/kpx-prep", "etc/kubernetes", "tools"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let tool = |path: &str, body: &str| {
            fs::write(root.path().join(path), format!("#!/bin/sh\n{body}\n")).unwrap();
            fs::set_permissions(root.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        };
        tool("opt/bin/kpx-prep", &format!("case $1 in node) exec {} \"$@\" --root {here};; esac", real.display()));
        tool("tools/kubeadm", "echo \"kubeadm $*\" >> \"$LOG\"");
        let sum = Command::new("sha256sum").arg(root.path().join("opt/bin/kpx-prep")).output().unwrap().stdout;
        let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
        let url = ["--kubernetes-version", "v1.36.3", "--binary-url", "https://example.com/kpx-prep", "--sha256", &sum];
        let output = kpx_prep(COMMAND, root.path()).args(args).args(url).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).unwrap();
        for file in list(&config["storage"]["files"]) {
            let Some(mut content) = content(file) else { continue };
            for path in ["/opt/bin/kpx-prep", "/etc/kubernetes", "/etc/kpx-prep/kubeadm.yaml", "/var/lib/kpx-prep"] {
                content = content.replace(path, &format!("{here}{path}"));
            }
            fs::write(root.path().join(text(&file["path"]).trim_start_matches('/')), content).unwrap();
        }
        let units = list(&config["systemd"]["units"]).iter();
        let units = units.map(|unit| (text(&unit["name"]).to_owned(), text(&unit["contents"]).to_owned())).collect();
        Self { root, units }
    }

    /// Starts a unit as systemd does.
    fn start(&self, unit: &str) -> Output {
        let (_, contents) = self.units.iter().find(|(name, _)| name == unit).unwrap();
        let script = contents.lines().find_map(|line| line.strip_prefix("ExecStart=/bin/sh /")).unwrap();
        Command::new("/bin/sh")
            .arg(self.root.path().join(script))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.root.path().join("tools").display()))
            .env("LOG", self.root.path().join("log"))
            .output()
            .unwrap()
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.root.path().join("log")).unwrap_or_default();
        log.replace(&self.root.path().display().to_string(), "")
    }
}

#[test]
fn the_node_is_prepared_at_every_boot_and_kubeadm_runs_once() {
    let machine = Machine::new(&["--role", "control-plane", "--mode", "nftables"]);
    let names: Vec<_> = machine.units.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["kpx-prep-node.service", "kpx-prep-kubeadm.service"]);
    assert!(machine.units[0].1.contains("Before=containerd.service crio.service docker.service kubelet.service\n"));
    assert!(machine.units[1].1.contains("Requires=kpx-prep-node.service\n"));
    for _ in 0..2 {
        for unit in &names {
            let output = machine.start(unit);
            assert!(output.status.success(), "{unit}: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::write(machine.root.path().join("etc/kubernetes/admin.conf"), "").unwrap();
    }
    assert!(machine.root.path().join("etc/modules-load.d/kpx-prep-nftables.conf").exists());
    assert_eq!(machine.log(), "kubeadm init --config /etc/kpx-prep/kubeadm.yaml\n");
}

#[test]
fn a_node_that_cannot_be_prepared_fails_the_unit_that_kubeadm_requires() {
    let machine = Machine::new(&["--role", "control-plane"]);
    fs::remove_dir_all(machine.root.path().join("lib/modules")).unwrap();
    let output = machine.start("kpx-prep-node.service");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("this node is not prepared"), "{said}");
    fs::remove_file(machine.root.path().join("opt/bin/kpx-prep")).unwrap();
    let output = machine.start("kpx-prep-node.service");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("does not exist"));
}

/// iptables mode needs no preparation: kubeadm only.
#[test]
fn without_preparation_there_is_one_unit() {
    let machine = Machine::new(&["--role", "control-plane", "--mode", "iptables"]);
    assert_eq!(machine.units.len(), 1);
    assert!(
        !machine.units[0].1.contains("kpx-prep-node") && machine.start("kpx-prep-kubeadm.service").status.success()
    );
    assert_eq!(machine.log(), "kubeadm init --config /etc/kpx-prep/kubeadm.yaml\n");
}
