//! Processes that call themselves kube-proxy, in file trees full of programs of their own, and listeners on its port: whose
//! programs `kpx-prep node` runs as root, and whose answers it believes. Needs root, and is counted as ignored without it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial, run};
use tempfile::TempDir;

const NOBODY: u32 = 65534;
/// Says that this process is a listener, and on which port.
const LISTEN: &str = "KPX_PREP_TEST_LISTEN";

fn main() -> ExitCode {
    if let Ok(port) = std::env::var(LISTEN) {
        listen(port.parse().expect("a port"));
    }
    let is_root = nix::unistd::geteuid().is_root();
    let trial = |name: &str, test: fn()| {
        let test = move || {
            test();
            Ok::<(), Failed>(())
        };
        Trial::test(name, test).with_ignored_flag(!is_root)
    };
    let trials = vec![
        trial("whose_programs_run_as_root", whose_programs),
        trial("programs_of_another_owners_tree_do_not_run", another_owner),
        trial("two_candidates_are_not_guessed", two_candidates),
        trial("endless_output_has_an_end", endless),
        trial("whose_answer_is_believed", whose_answer),
    ];
    // One at a time: all of them look at the same /proc.
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    run(&arguments, trials).exit_code()
}

/// A tree with an `ipset` that notes who ran it.
struct Tree {
    folder: TempDir,
}

const NOTING: &str = "#!/bin/sh\necho \"uid $(id -u)\" >>/marker\n";

impl Tree {
    fn new(ipset: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["bin", "lib", "lib64", "usr/bin", "usr/lib", "usr/lib64", "sbin", "proc"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("sbin/ipset"), ipset).unwrap();
        fs::copy("/bin/sleep", root.join("sbin/kube-proxy")).unwrap();
        for path in ["", "sbin/ipset", "sbin/kube-proxy"] {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
            chown(root.join(path), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self { folder }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn marker(&self) -> Option<String> {
        fs::read_to_string(self.root().join("marker")).ok()
    }

    /// Starts the kube-proxy in it: `before` makes whoever it is, `inside` comes right before it.
    fn start(&self, before: &[&str], inside: &str) -> Impostor {
        let root = self.root().display();
        let script = format!(
            "for path in bin lib lib64 usr/bin usr/lib usr/lib64; do [ ! -d /$path ] || mount --bind /$path {root}/$path; done; \
             exec chroot {root} {inside} /sbin/kube-proxy 600"
        );
        let mut command = Command::new(before[0]);
        command.args(&before[1..]).args(["sh", "-c", &script]).stdin(Stdio::null());
        let child = command.spawn().expect("started");
        let impostor = Impostor(child);
        let from = Instant::now();
        let name = || fs::read_to_string(format!("/proc/{}/comm", impostor.0.id())).unwrap_or_default();
        while name().trim() != "kube-proxy" {
            assert!(from.elapsed() < Duration::from_secs(20), "it did not start: {}", name());
            std::thread::sleep(Duration::from_millis(20));
        }
        impostor
    }
}

struct Impostor(Child);

impl Drop for Impostor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kpx_prep(arguments: &[&str]) -> Output {
    let program = std::env::var_os("KPX_PREP").unwrap_or_else(|| env!("CARGO_BIN_EXE_kpx-prep").into());
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

const AS_NOBODY: [&str; 7] =
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urm", "--propagation=private"];
const AS_ROOT: [&str; 3] = ["unshare", "-m", "--propagation=private"];
/// Root of the host, with all capabilities but one.
const WITHOUT_ONE: &str = "/usr/bin/setpriv --bounding-set=-sys_time --inh-caps=-all";

fn whose_programs() {
    for (what, before, inside, options, runs) in [
        ("nobody, root of a user namespace of its own", &AS_NOBODY[..], "", &[][..], false),
        ("root without one capability", &AS_ROOT[..], WITHOUT_ONE, &[], false),
        ("root in another pod's cgroup", &AS_ROOT[..], "", &["--pod", "2f6c583e-4a1d-4c59-9d6e-0d3d7f1f4b11"], false),
        // So that this test can fail.
        ("root with all capabilities", &AS_ROOT[..], "", &[], true),
    ] {
        let tree = Tree::new(NOTING);
        let _impostor = tree.start(before, inside);
        for command in [&["node", "leftovers"][..], &["node", "survey"], &["node", "clean", "--dry-run"]] {
            let output = kpx_prep(&[command, &["--metrics-port", "1"], options].concat());
            let said = String::from_utf8_lossy(&output.stdout);
            // Without a kube-proxy that answers, clean looks at nothing.
            if command[1] != "clean" && !runs {
                assert!(said.contains("host-programs"), "{what}, {command:?}: {said}");
            }
        }
        assert_eq!(tree.marker().is_some(), runs, "{what}: {:?}", tree.marker());
        assert!(tree.marker().is_none_or(|marker| marker.lines().all(|line| line == "uid 0")), "{what}");
    }
}

/// A tree that is looked at with `--root`: a chroot keeps no program of root's inside.
fn another_owner() {
    for (owner, mode, runs) in [(NOBODY, 0o755, false), (0, 0o777, false), (0, 0o755, true)] {
        let tree = Tree::new(NOTING);
        let root = tree.root();
        for name in ["ipset", "modprobe"] {
            fs::write(root.join("sbin").join(name), NOTING).unwrap();
            fs::set_permissions(root.join("sbin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What the script needs.
        for path in ["bin", "lib", "lib64", "usr/bin", "usr/lib", "usr/lib64"] {
            let source = Path::new("/").join(path);
            if source.is_dir() {
                let mounted = Command::new("mount").arg("--bind").arg(&source).arg(root.join(path)).status().unwrap();
                assert!(mounted.success());
            }
        }
        chown(root, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        let path = root.display().to_string();
        let said = ["leftovers", "survey"].map(|command| {
            let output = kpx_prep(&["node", command, "--metrics-port", "1", "--root", &path]);
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        for path in ["bin", "lib", "lib64", "usr/bin", "usr/lib", "usr/lib64"] {
            let _ = Command::new("umount").arg(root.join(path)).stderr(Stdio::null()).status();
        }
        assert_eq!(tree.marker().is_some(), runs, "owner {owner}, mode {mode:o}: {said:?}");
        assert_eq!(
            said.iter().all(|said| said.contains("foreign-tree")),
            !runs,
            "owner {owner}, mode {mode:o}: {said:?}"
        );
    }
}

fn two_candidates() {
    let (one, other) = (Tree::new(NOTING), Tree::new(NOTING));
    let _impostors = [one.start(&AS_ROOT, ""), other.start(&AS_ROOT, "")];
    let output = kpx_prep(&["node", "leftovers", "--metrics-port", "1"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("kube-proxy-ambiguous") && output.status.code() == Some(3), "{said}");
    assert!(one.marker().is_none() && other.marker().is_none(), "{said}");
}

fn endless() {
    for (what, ipset) in [
        ("output", "#!/bin/sh\nwhile :; do echo create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024; done\n"),
        (
            "a line",
            "#!/bin/sh\nwhile :; do printf xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done\n",
        ),
        ("silence", "#!/bin/sh\nsleep 600\n"),
    ] {
        let tree = Tree::new(ipset);
        let _impostor = tree.start(&AS_ROOT, "");
        let from = Instant::now();
        let program = std::env::var_os("KPX_PREP").unwrap_or_else(|| env!("CARGO_BIN_EXE_kpx-prep").into());
        // At most 1 GiB of address space: what is printed is not kept.
        let script = "ulimit -v 1048576; exec \"$0\" node leftovers --metrics-port 1 --service-count 0";
        let output = Command::new("sh").args(["-c", script]).arg(program).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(from.elapsed() < Duration::from_secs(120), "{what}: {:?}", from.elapsed());
    }
}

/// Answers as a kube-proxy in ipvs mode does.
fn listen(port: u16) -> ! {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    for mut stream in listener.incoming().flatten() {
        let mut request = [0; 512];
        let read = stream.read(&mut request).unwrap_or(0);
        let body = if request[..read].starts_with(b"GET /proxyMode") {
            "ipvs"
        } else {
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds 1.7e+09\n"
        };
        let _ = stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes());
    }
    unreachable!("a listener has no end")
}

fn whose_answer() {
    // Where another user may run it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("listener");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for (user, believed) in [("65534", false), ("0", true)] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]).arg(&program);
        let child = Impostor(command.env(LISTEN, &port).stdin(Stdio::null()).spawn().unwrap());
        let from = Instant::now();
        while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
            assert!(from.elapsed() < Duration::from_secs(20), "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = kpx_prep(&["node", "leftovers", "--metrics-port", &port, "-o", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        let expected = if believed { serde_json::json!("ipvs") } else { serde_json::Value::Null };
        assert_eq!(report["running"], expected, "uid {user}: {report}");
        drop(child);
    }
}
