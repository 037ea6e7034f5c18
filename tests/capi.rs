//! `kpx-prep capi` against cases as folders below `tests/capi/`, and what its script does on a pretended machine of Cluster
//! API: with the real kpx-prep on a miniature host, as cloud-init and Ignition run it, before `kubeadm init` and `kubeadm join`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kpx_prep::yaml::{Node, parse};
use support::{compare, folders, kpx_prep, run};
use tempfile::TempDir;

#[path = "support/host.rs"]
mod host;
mod support;

const COMMAND: &str = "capi";

#[test]
fn cases() {
    let folders = folders(COMMAND);
    assert!(folders.len() >= 20, "only {} cases found", folders.len());
    compare(COMMAND, &folders);
}

/// Every list of JSON patches in a text: those of a kustomize component are texts themselves.
fn patches(root: &Node) -> Vec<(String, Vec<kpx_prep::yaml::Document>)> {
    let patches = root.get(&["patches"]).unwrap().items();
    let text = |node: &Node, path: &[&str]| node.get(path).and_then(Node::text).unwrap().to_owned();
    patches.iter().map(|patch| (text(patch, &["target", "kind"]), parse(&text(patch, &["patch"])).unwrap())).collect()
}

/// What holds in every case, whatever the goldens say.
#[test]
fn every_outcome_keeps_the_contract() {
    let mut seen = 0;
    for folder in folders(COMMAND) {
        let output = run(COMMAND, &folder);
        let (name, text) = (folder.display(), String::from_utf8(output.stdout).unwrap());
        if output.status.code() != Some(0) {
            assert!(text.is_empty() && output.status.code() == Some(2), "{name}");
            continue;
        }
        seen += 1;
        // clusterctl and Flux replace the first, cloud-init the others: Cluster API's user-data is a Jinja template.
        for mark in ["${", "{{", "{%", "{#"] {
            assert!(!text.contains(mark), "{name}: {mark}");
        }
        let documents = parse(&text).unwrap();
        let root = &documents[0].root;
        if root.get(&["kind"]).is_some() {
            assert!(patches(root).iter().all(|(kind, patch)| {
                kind.starts_with("Kubeadm") && patch[0].root.items().iter().all(|item| item.get(&["op"]).is_some())
            }));
        } else if let Some(content) = root.get(&["files"]).map(|files| files.items()[0].get(&["content"])) {
            let script = content.and_then(Node::text).unwrap();
            assert!(script.starts_with("#!/bin/sh\n") && script.ends_with("done\n"), "{name}");
            assert!(script.len() <= kpx_prep::cluster_api::MAX_BYTES, "{name}");
        }
    }
    assert!(seen >= 12, "only {seen} texts came out");
}

/// A miniature host with the script and the real kpx-prep, which takes it for the machine.
struct Machine {
    root: TempDir,
    commands: String,
}

const HOST: &str = "os debian 12\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 @nft\nsystemd\n";

impl Machine {
    fn new(args: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        host::build(root.path(), HOST);
        for folder in ["usr/local/bin", "run/kubeadm", "etc/kpx-prep", "tools"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let output = kpx_prep(COMMAND, root.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let documents = parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let file = &documents[0].root.get(&["files"]).unwrap().items()[0];
        let get = |key: &str| file.get(&[key]).and_then(Node::text).unwrap();
        let commands = documents[0].root.get(&["preKubeadmCommands"]).unwrap().items();
        let commands: String = commands.iter().map(|command| format!("{}\n", command.text().unwrap())).collect();
        let machine = Self { root, commands: String::new() };
        assert_eq!((get("path"), get("permissions")), ("/etc/kpx-prep/before-kubeadm", "0700"));
        fs::write(machine.at(get("path")), machine.here(get("content"))).unwrap();
        let real = assert_cmd::cargo::cargo_bin("kpx-prep");
        let (real, root) = (real.display(), machine.root.path().display());
        let binary = format!("case $1 in node) exec {real} \"$@\" --root {root};; esac\nexec {real} \"$@\"");
        machine.tool("usr/local/bin/kpx-prep", &binary);
        let kubeadm = "[ \"$*\" != \"version -o short\" ] || { echo v1.36.3; exit; }\necho \"kubeadm $*\" >> \"$LOG\"";
        machine.tool("tools/kubeadm", kubeadm);
        Self { commands: machine.here(&commands), ..machine }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A text with the machine's paths below the folder.
    fn here(&self, text: &str) -> String {
        let below = |text: String, path: &str| text.replace(path, &self.at(path).display().to_string());
        ["/usr/local/bin/kpx-prep", "/run/kubeadm/", "/etc/kubeadm.yml", "/etc/kpx-prep/"]
            .into_iter()
            .fold(text.to_owned(), below)
    }

    fn tool(&self, path: &str, body: &str) {
        fs::write(self.at(path), format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The kubeadm config that Cluster API writes.
    fn config(&self, path: &str, content: &str) {
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// What cloud-init makes of `runcmd` (`shellify` in cloudinit/util.py): one script that goes on after a failure.
    fn cloud_init(&self, shell: &str, kubeadm: &str) -> Output {
        self.run(shell, &format!("#!/bin/sh\n{}{kubeadm} && echo success > success\n", self.commands))
    }

    /// `/etc/kubeadm.sh` (`bootstrap/kubeadm/pkg/ignition/clc/clc.go` of Cluster API).
    fn ignition(&self, shell: &str, kubeadm: &str) -> Output {
        self.run(shell, &format!("#!/bin/bash\nset -e\n{}\n{kubeadm}\necho success > success\n", self.commands))
    }

    fn run(&self, shell: &str, script: &str) -> Output {
        fs::write(self.at("run/script"), script).unwrap();
        Command::new(shell)
            .arg(self.at("run/script"))
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.at("tools").display()))
            .env("LOG", self.at("log"))
            .current_dir(self.root.path())
            .output()
            .unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }

    fn is_prepared(&self) -> bool {
        self.at("etc/modules-load.d").read_dir().is_ok_and(|mut entries| entries.next().is_some())
    }
}

fn shells() -> Vec<&'static str> {
    ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists()).collect()
}

const INIT: &str = include_str!("cluster-api/init-v1beta4.yaml");
const JOIN: &str = include_str!("cluster-api/join-v1beta4.yaml");
const CLOUD_INIT: (&str, &str) = ("/run/kubeadm/kubeadm.yaml", "/run/kubeadm/kubeadm-join-config.yaml");
const IGNITION: (&str, &str) = ("/etc/kubeadm.yml", "/etc/kubeadm.yml");

type Boot = fn(&Machine, &str, &str) -> Output;
const WAYS: [((&str, &str), Boot); 2] = [(CLOUD_INIT, Machine::cloud_init), (IGNITION, Machine::ignition)];

#[test]
fn the_first_machine_is_prepared_and_its_config_has_the_mode() {
    for shell in shells() {
        for (mode, settings) in [("ipvs", &["--scheduler", "lc"][..]), ("nftables", &[]), ("iptables", &[])] {
            for ((file, _), boot) in WAYS {
                let machine = Machine::new(&[&["--mode", mode], settings].concat());
                machine.config(file, INIT);
                let output = boot(&machine, shell, &format!("kubeadm init --config {file}"));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && machine.at("success").exists(), "{shell} {mode} {file}: {said}");
                assert_eq!(machine.log(), format!("kubeadm init --config {file}\n"));
                assert_eq!(machine.is_prepared(), mode != "iptables", "{said}");
                let text = fs::read_to_string(machine.at(file)).unwrap();
                let added = text.strip_prefix(INIT).unwrap();
                assert!(added.contains(&format!("mode: {mode}\n")), "{added}");
                assert_eq!(added.contains("scheduler: lc\n"), mode == "ipvs", "{added}");
                assert_eq!(fs::metadata(machine.at(file)).unwrap().permissions().mode() & 0o7777, 0o640);
                // Once more, as after a failure of kubeadm.
                assert!(boot(&machine, shell, "true").status.success());
                assert_eq!(fs::read_to_string(machine.at(file)).unwrap(), text);
            }
        }
    }
}

#[test]
fn a_joining_machine_is_prepared_and_its_config_stays() {
    for shell in shells() {
        for ((_, file), boot) in WAYS {
            let machine = Machine::new(&["--mode", "nftables"]);
            machine.config(file, JOIN);
            let output = boot(&machine, shell, &format!("kubeadm join --config {file}"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && machine.is_prepared(), "{shell} {file}: {said}");
            assert_eq!(machine.log(), format!("kubeadm join --config {file}\n"));
            assert_eq!(fs::read_to_string(machine.at(file)).unwrap(), JOIN);
        }
    }
}

type Break<'a> = &'a dyn Fn(&Machine);

/// Neither on a machine that cannot be prepared, nor with a config that cannot be changed, nor without kpx-prep.
#[test]
fn kubeadm_does_not_run_after_a_failure() {
    for shell in shells() {
        for ((file, _), boot) in WAYS {
            let broken: [(Break, &str); 4] = [
                (&|machine| fs::remove_dir_all(machine.at("lib/modules")).unwrap(), "this node is not prepared"),
                (&|machine| machine.config(file, &format!("{INIT}---\n{INIT}")), "the proxy mode was not set in"),
                (&|machine| machine.config(file, &INIT.replace("v1.36.3", "v1.28.0")), "the proxy mode was not set in"),
                (&|machine| fs::remove_file(machine.at("usr/local/bin/kpx-prep")).unwrap(), "does not exist"),
            ];
            for (break_it, why) in broken {
                let machine = Machine::new(&["--mode", "nftables"]);
                machine.config(file, INIT);
                break_it(&machine);
                let before = fs::read_to_string(machine.at(file)).unwrap();
                let output = boot(&machine, shell, &format!("kubeadm init --config {file}"));
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(!output.status.success() && said.contains(why), "{shell} {file}: {said}");
                assert!(machine.log().is_empty() && !machine.at("success").exists(), "{}", machine.log());
                assert_eq!(fs::read_to_string(machine.at(file)).unwrap(), before);
            }
        }
    }
}

/// The version of the machine's own kubeadm decides the modules; a machine without kubeadm is prepared all the same.
#[test]
fn the_version_is_that_of_the_machine() {
    let machine = Machine::new(&["--kubernetes-version", "1.36"]);
    machine.tool("usr/local/bin/kpx-prep", "echo \"kpx-prep $*\" >> \"$LOG\"");
    assert!(machine.cloud_init("/bin/sh", "true").status.success());
    assert!(machine.log().starts_with("kpx-prep node install --kubernetes-version v1.36.3\n"), "{}", machine.log());
    fs::remove_file(machine.at("tools/kubeadm")).unwrap();
    fs::remove_file(machine.at("log")).unwrap();
    // Another kubeadm may be on the machine that runs the test.
    let script = fs::read_to_string(machine.at("etc/kpx-prep/before-kubeadm")).unwrap();
    fs::write(machine.at("etc/kpx-prep/before-kubeadm"), script.replace("kubeadm version", "no-kubeadm version"))
        .unwrap();
    assert!(machine.cloud_init("/bin/sh", "true").status.success());
    assert!(machine.log().starts_with("kpx-prep node install\n"), "{}", machine.log());
}
