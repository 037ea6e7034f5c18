//! `kpx-prep cloud-init` against cases as folders below `tests/cloud-init/`, and what the script in the user-data does
//! on a pretended node, in the shells that are here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kpx_prep::yaml::{Node, parse};
use support::{compare, folders, kpx_prep, run};
use tempfile::TempDir;

mod support;

#[test]
fn cases() {
    let folders = folders("cloud-init");
    assert!(folders.len() >= 25, "only {} cases found", folders.len());
    compare("cloud-init", &folders);
}

#[test]
fn every_user_data_keeps_the_contract() {
    let mut seen = 0;
    for folder in folders("cloud-init") {
        let output = run("cloud-init", &folder);
        let text = String::from_utf8(output.stdout).unwrap();
        if output.status.code() != Some(0) {
            assert!(text.is_empty() && output.status.code() == Some(2), "{}", folder.display());
            continue;
        }
        seen += 1;
        assert!(text.starts_with("#cloud-config\n") && text.len() < 16 * 1024, "{}", folder.display());
        let root = &parse(&text).unwrap()[0].root;
        for file in root.get(&["write_files"]).unwrap().items() {
            let get = |key: &str| file.get(&[key]).and_then(Node::text).unwrap();
            let script = get("path") == "/etc/kpx-prep/boot";
            assert_eq!(get("permissions"), if script { "0700" } else { "0600" });
            if script {
                let (install, kubeadm) = (get("content").find("node install"), get("content").find("\nkubeadm "));
                assert!(install < kubeadm, "kubeadm before the preparation in {}", folder.display());
            } else {
                // What kubeadm reads is what kubeadm-config gives, whatever the indentation did.
                assert!(parse(get("content")).unwrap().iter().all(|document| document.root.get(&["kind"]).is_some()));
            }
        }
    }
    assert!(seen >= 12, "only {seen} user-data came out");
}

/// A folder as a simulated node: stub programs that record their calls, and the script with its paths in it.
struct FakeNode {
    root: TempDir,
    script: PathBuf,
}

const TOOLS: [&str; 9] = ["sh", "dirname", "mkdir", "mktemp", "rm", "mv", "chmod", "sha256sum", "cat"];
const BINARY: &str = "#!/bin/sh\necho \"kpx-prep $*\" >> \"$LOG\"\n[ \"$1\" != node ] || exit \"${NODE_EXIT:-0}\"\n";

impl FakeNode {
    /// A node with the user-data of these arguments; SHA is replaced by the sum of the stub binary.
    fn new(args: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["bin", "usr/local/bin", "etc/kubernetes", "etc/kpx-prep", "run"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("download"), BINARY).unwrap();
        for tool in TOOLS {
            let real =
                ["/usr/bin", "/bin"].iter().map(|folder| Path::new(folder).join(tool)).find(|path| path.exists());
            std::os::unix::fs::symlink(real.unwrap_or_else(|| panic!("{tool} is not here")), at("bin").join(tool))
                .unwrap();
        }
        let sum = Command::new("sha256sum").arg(at("download")).output().unwrap().stdout;
        let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
        let args: Vec<_> = args.iter().map(|arg| if *arg == "SHA" { sum.as_str() } else { arg }).collect();
        let output =
            kpx_prep("cloud-init", root.path()).args(["--kubernetes-version", "1.34"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let user_data = String::from_utf8(output.stdout).unwrap();
        let documents = parse(&user_data).unwrap();
        let files = documents[0].root.get(&["write_files"]).unwrap().items();
        for file in files {
            let get = |key: &str| file.get(&[key]).and_then(Node::text).unwrap();
            let mut content = get("content").to_owned();
            for path in [
                "/usr/local/bin/kpx-prep",
                "/opt/bin",
                "/etc/kubernetes",
                "/etc/kpx-prep/kubeadm.yaml",
                "/var/lib/kpx-prep",
            ] {
                content = content.replace(path, &format!("{}{path}", root.path().display()));
            }
            // Nothing of the machine that runs the test may be found.
            content = content.replace("[ -z \"$PATH\" ] || PATH=$PATH:\nPATH=$PATH/usr", "# ");
            fs::write(at(get("path").trim_start_matches('/')), content).unwrap();
        }
        let script = at("etc/kpx-prep/boot");
        let node = Self { root, script };
        node.stub("kubeadm", "echo \"kubeadm $*\" >> \"$LOG\"\nexit \"${KUBEADM_EXIT:-0}\"");
        node.stub("sleep", ":");
        node
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn stub(&self, name: &str, body: &str) {
        let file = self.at("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// curl, that is given `-o FILE URL` at its end.
    fn with_curl(self) -> Self {
        self.stub("curl", "echo \"curl $*\" >> \"$LOG\"\nfor last; do :; done\nwhile [ \"$1\" != -o ]; do shift; done\ncat \"$DOWNLOAD\" > \"$2\"");
        self
    }

    fn run(&self, shell: &str, env: &[(&str, &str)]) -> Output {
        Command::new(shell)
            .arg(&self.script)
            .env_clear()
            .envs([("PATH", self.at("bin")), ("LOG", self.at("log")), ("DOWNLOAD", self.at("download"))])
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    /// The calls so far, without the folder's name.
    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default().replace(&self.root.path().display().to_string(), "")
    }
}

fn shells() -> Vec<&'static str> {
    ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists()).collect()
}

const WITH_URL: [&str; 6] =
    ["--role", "control-plane", "--binary-url", "https://example.com/kpx-prep", "--sha256", "SHA"];

#[test]
fn the_node_is_prepared_before_kubeadm_and_once() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL).with_curl();
        let output = node.run(shell, &[]);
        assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        let log = node.log();
        let calls: Vec<_> = log.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(calls, ["curl -fsSL", "kpx-prep node", "kubeadm init"], "{shell}");
        assert!(log.ends_with("kubeadm init --config /etc/kpx-prep/kubeadm.yaml\n"), "{log}");
        let binary = node.at("usr/local/bin/kpx-prep");
        assert_eq!(fs::metadata(&binary).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_dir(node.at("usr/local/bin")).unwrap().count(), 1, "a download was left behind");
        fs::write(node.at("etc/kubernetes/admin.conf"), "").unwrap();
        assert!(node.run(shell, &[]).status.success());
        let second = node.log().strip_prefix(&log).map(str::to_owned).unwrap_or_default();
        assert_eq!(second.lines().count(), 1, "{shell}: the second run: {second}");
        assert!(second.starts_with("kpx-prep node install --kubernetes-version 1."), "{second}");
    }
}

/// As on Flatcar, where /usr is read-only.
#[test]
fn the_binary_goes_to_opt_where_it_cannot_go_to_usr() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL).with_curl();
        fs::remove_dir(node.at("usr/local/bin")).unwrap();
        fs::write(node.at("usr/local/bin"), "").unwrap();
        for _ in 0..2 {
            let output = node.run(shell, &[]);
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(node.log().matches("curl").count(), 1, "the second run downloaded it again");
        let names: Vec<_> = fs::read_dir(node.at("opt/bin")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["kpx-prep"]);
    }
}

#[test]
fn kubeadm_does_not_run_on_a_node_that_is_not_prepared() {
    for shell in shells() {
        for exit in ["1", "3"] {
            let node = FakeNode::new(&WITH_URL).with_curl();
            let output = node.run(shell, &[("NODE_EXIT", exit)]);
            assert!(!output.status.success());
            assert!(!node.log().contains("kubeadm"), "{}", node.log());
            assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("exit status {exit}")));
        }
    }
}

#[test]
fn a_binary_with_another_sum_is_not_run() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL).with_curl();
        fs::write(node.at("download"), BINARY.replace("node", "n0de")).unwrap();
        let output = node.run(shell, &[]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("SHA-256 mismatch"));
        assert_eq!(node.log().lines().count(), 1, "{}", node.log());
        assert_eq!(fs::read_dir(node.at("usr/local/bin")).unwrap().count(), 0, "it was left there");
    }
}

#[test]
fn a_download_that_fails_is_tried_again_then_given_up() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL);
        node.stub("curl", "echo curl >> \"$LOG\"; exit 22");
        assert!(!node.run(shell, &[]).status.success());
        assert_eq!(node.log(), "curl\n".repeat(5));
        assert_eq!(fs::read_dir(node.at("usr/local/bin")).unwrap().count(), 0);
    }
}

#[test]
fn wget_does_where_there_is_no_curl_and_nothing_runs_without_either() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL);
        let output = node.run(shell, &[]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("neither curl nor wget"));
        node.stub("wget", "while [ \"$1\" != -O ]; do shift; done\ncat \"$DOWNLOAD\" > \"$2\"");
        assert!(node.run(shell, &[]).status.success());
        fs::remove_file(node.at("bin/sha256sum")).unwrap();
        let output = node.run(shell, &[]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("cannot be verified"));
    }
}

#[test]
fn a_kubeadm_that_failed_is_not_taken_for_done() {
    for shell in shells() {
        let node = FakeNode::new(&WITH_URL).with_curl();
        assert!(!node.run(shell, &[("KUBEADM_EXIT", "1")]).status.success());
        fs::write(node.at("etc/kubernetes/admin.conf"), "").unwrap();
        let output = node.run(shell, &[]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("did not finish"));
        fs::remove_file(node.at("etc/kubernetes/admin.conf")).unwrap();
        assert!(node.run(shell, &[]).status.success());
        assert_eq!(node.log().matches("kubeadm init").count(), 2);
    }
}

#[test]
fn secrets_on_the_node_stay_there_and_the_config_is_made_there() {
    let hash = format!("sha256:{}", "7c".repeat(32));
    for shell in shells() {
        let mut node = FakeNode::new(&[
            "--role",
            "worker",
            "--control-plane-endpoint",
            "k8s.example.com",
            "--discovery-token-ca-cert-hash",
            &hash,
            "--node-token-file",
            "/run/token",
        ]);
        let script = fs::read_to_string(&node.script)
            .unwrap()
            .replace("/run/token", &node.at("run/token").display().to_string());
        fs::write(&node.script, script).unwrap();
        node.script = node.at("etc/kpx-prep/boot");
        // The real binary makes the config; only the preparation is pretended.
        let real = assert_cmd::cargo::cargo_bin("kpx-prep");
        let binary = node.at("usr/local/bin/kpx-prep");
        fs::write(&binary, format!("#!/bin/sh\n[ \"$1\" = node ] || exec {} \"$@\"\n", real.display())).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!node.run(shell, &[]).status.success(), "without the token's file");
        fs::write(node.at("run/token"), "07401b.f395accd246ae52d\n").unwrap();
        let output = node.run(shell, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config = node.at("etc/kpx-prep/kubeadm.yaml");
        assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o7777, 0o600);
        let text = fs::read_to_string(&config).unwrap();
        assert!(
            text.contains("token: \"07401b.f395accd246ae52d\"") && text.contains("kind: JoinConfiguration"),
            "{text}"
        );
        assert_eq!(node.log(), "kubeadm join --config /etc/kpx-prep/kubeadm.yaml\n");
    }
}
