//! `kpx-prep kubeadm-config --from FILE --in-place`, on the files that Cluster API writes and on those that it does not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use kpx_prep::yaml::{Node, parse};
use support::kpx_prep;
use tempfile::TempDir;

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

const INIT: &str = include_str!("cluster-api/init-v1beta4.yaml");
const JOIN: &str = include_str!("cluster-api/join-v1beta4.yaml");

/// A folder with a file of this content, and the file.
fn folder_with(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeadm.yaml");
    fs::write(&file, content).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    (folder, file)
}

/// Exit status and standard error; nothing goes to standard output.
fn edit(folder: &Path, file: &str, args: &[&str]) -> (i32, String) {
    let mut command = kpx_prep("kubeadm-config", folder);
    let output = command.args(["--from", file, "--in-place"]).args(args).output().unwrap();
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What the file has is kept, a `KubeProxyConfiguration` is added; the second run writes nothing.
#[test]
fn files_of_cluster_api_are_completed_once() {
    for init in [INIT, include_str!("cluster-api/init-v1beta3.yaml")] {
        for args in [&["--if-init"][..], &[]] {
            let (folder, file) = folder_with(init);
            let (exit, said) = edit(folder.path(), "kubeadm.yaml", args);
            assert!(exit == 0 && said.ends_with("changed kubeadm.yaml\n"), "{exit}: {said}");
            let text = fs::read_to_string(&file).unwrap();
            let added = text.strip_prefix(init).unwrap();
            assert!(
                added.starts_with("---\n") && added.ends_with("kind: KubeProxyConfiguration\nmode: ipvs\n"),
                "{added}"
            );
            let before = fs::metadata(&file).unwrap();
            assert_eq!(before.permissions().mode() & 0o7777, 0o640);
            let (exit, said) = edit(folder.path(), "kubeadm.yaml", args);
            assert!(exit == 0 && said.ends_with("kubeadm.yaml is as desired; nothing was written\n"), "{exit}: {said}");
            let after = fs::metadata(&file).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()), "it was written again");
            assert_eq!(names(folder.path()), ["kubeadm.yaml"]);
        }
    }
}

/// The result is that of `--from` without `--in-place`, and another run with other options changes what they say.
#[test]
fn a_kube_proxy_configuration_is_edited() {
    let (folder, file) = folder_with(
        INIT.to_owned()
            + "---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n# theirs\nconntrack:\n  maxPerCore: 0\n",
    );
    let args = ["--mode", "nftables", "--node-port-addresses", "192.0.2.0/24"];
    let printed =
        kpx_prep("kubeadm-config", folder.path()).args(["--from", "kubeadm.yaml"]).args(args).output().unwrap();
    assert_eq!(edit(folder.path(), "kubeadm.yaml", &args).0, 0);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.as_bytes(), printed.stdout);
    let documents = parse(&text).unwrap();
    let proxy = &documents[2].root;
    let value = |path: &[&str]| proxy.get(path).and_then(Node::text);
    assert_eq!((documents.len(), value(&["mode"])), (3, Some("nftables")));
    assert!(text.contains("# theirs") && value(&["conntrack", "maxPerCore"]) == Some("0"), "{text}");
    assert_eq!(edit(folder.path(), "kubeadm.yaml", &["--mode", "iptables"]).0, 0);
    assert!(fs::read_to_string(&file).unwrap().contains("mode: iptables"));
}

#[test]
fn if_init_leaves_other_nodes_alone() {
    let alone = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    for content in [JOIN, alone, "", "apiVersion: other.example.com/v1\nkind: InitConfiguration\n"] {
        let (folder, file) = folder_with(content);
        let (exit, said) = edit(folder.path(), "kubeadm.yaml", &["--if-init"]);
        assert!(exit == 0 && said.starts_with("kubeadm.yaml has no ClusterConfiguration"), "{content}: {exit}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    let (folder, _) = folder_with(JOIN);
    for absent in ["run/kubeadm/kubeadm.yaml", "kubeadm.yaml/x", "other"] {
        let (exit, said) = edit(folder.path(), absent, &["--if-init"]);
        assert!(exit == 0 && said.starts_with(&format!("{absent} does not exist")), "{exit}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert_eq!(names(folder.path()), ["kubeadm.yaml"]);
}

/// Without `--if-init` these are errors; with it, those that are no join are errors, too.
#[test]
fn what_cannot_be_edited_is_not_written() {
    let (folder, _) = folder_with(JOIN);
    assert_eq!(edit(folder.path(), "kubeadm.yaml", &[]).0, 2);
    assert_eq!(edit(folder.path(), "other", &[]).0, 2);
    for (content, why) in [
        ("kind: [", "line 1"),
        (&format!("{INIT}---\n{INIT}"), "a second ClusterConfiguration"),
        ("apiVersion: kubeadm.k8s.io/v1beta9\nkind: ClusterConfiguration\n", "v1beta9"),
        ("a\rb", "line"),
    ] {
        let (folder, file) = folder_with(content);
        let (exit, said) = edit(folder.path(), "kubeadm.yaml", &["--if-init"]);
        assert!(exit == 2 && said.contains(why) && said.contains("nothing was written"), "{content}: {exit}: {said}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    let (folder, file) = folder_with(b"\xff");
    assert!(edit(folder.path(), "kubeadm.yaml", &["--if-init"]).1.contains("not UTF-8"));
    fs::write(&file, INIT).unwrap();
    assert_eq!(edit(folder.path(), "kubeadm.yaml", &["--if-init", "--mode", "IPVS"]).0, 2);
    assert_eq!(fs::read_to_string(&file).unwrap(), INIT);
}

#[test]
fn links_and_other_things_are_refused() {
    let (folder, file) = folder_with(INIT);
    std::os::unix::fs::symlink("kubeadm.yaml", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::File::create(folder.path().join("large")).unwrap().set_len(1 << 40).unwrap();
    for (name, why) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("fifo", "not a regular file"),
        (".", "not a file path"),
        ("/", "not a file path"),
        ("/dev/zero", "not a regular file"),
        ("/dev/stdin", "symbolic link"),
        ("large", "larger than"),
        ("-", "standard input"),
    ] {
        let (exit, said) = edit(folder.path(), name, &["--if-init"]);
        assert!(exit == 2 && said.contains(why) && said.contains("nothing was written"), "{name}: {exit}: {said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), INIT);
    assert_eq!(names(folder.path()), ["dangling", "fifo", "kubeadm.yaml", "large", "link"]);
}

/// What a killed run left is removed by the next; a run that holds the file is waited for by nobody.
#[test]
fn a_second_run_is_refused_and_a_killed_one_is_no_obstacle() {
    let (folder, file) = folder_with(INIT);
    fs::write(folder.path().join(".kubeadm.yaml.kpx-prep.tmp"), "half").unwrap();
    let held = fs::File::open(&file).unwrap();
    held.lock().unwrap();
    let (exit, said) = edit(folder.path(), "kubeadm.yaml", &["--if-init"]);
    assert!(exit == 3 && said.contains("another process is editing it; nothing was written"), "{exit}: {said}");
    drop(held);
    assert_eq!(edit(folder.path(), "kubeadm.yaml", &["--if-init"]).0, 0);
    assert_eq!(names(folder.path()), ["kubeadm.yaml"]);
}

#[test]
fn options_that_do_not_go_together() {
    let (folder, file) = folder_with(INIT);
    for args in [
        &["--in-place"][..],
        &["--from", "kubeadm.yaml", "--if-init"],
        &["--from", "kubeadm.yaml", "--in-place", "--output-file", "x"],
        &["--from", "kubeadm.yaml", "--in-place", "--pod-network-cidr", "10.0.0.0/16"],
    ] {
        kpx_prep("kubeadm-config", folder.path()).args(args).assert().code(2).stdout("");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), INIT);
    assert_eq!(names(folder.path()), ["kubeadm.yaml"]);
}
