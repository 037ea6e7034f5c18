//! The manifests that run kpx-prep inside of a cluster: what the API server says to them, and what their commands do with the
//! rights of their accounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::helper::OF_NFTABLES;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::kpx_prep::{Outcome, QUICK, node_program};
use crate::cluster::scenarios::blocked::container;
use crate::cluster::world::{World, trial};

const JOB: &str = "remediate-job.yaml";
const CRON_JOB: &str = "status-cronjob.yaml";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("in_cluster::the_api_server_accepts_the_manifests", accepted),
        trial("in_cluster::pod_security_has_nothing_to_say_to_the_check", restricted),
        trial("in_cluster::their_commands_work_with_their_accounts", commands),
    ]
}

fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubeadm").join(name)
}

/// `kubectl create --dry-run=server`
fn dry_run(world: &World, file: &Path) -> Output {
    super::kubectl::install();
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(&world.kubeconfig);
    // Its cache knows servers by address and port, which another version may have had.
    kubectl.arg("--cache-dir").arg(world.folder.join("kubectl-cache"));
    kubectl.args(["create", "--dry-run=server", "-f"]).arg(file).output().expect("kubectl runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Writes a manifest with one text replaced by another.
fn changed(world: &World, name: &str, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(manifest(name)).expect("the manifest");
    assert!(text.contains(from), "{name} has no {from}");
    let file = world.folder.join(name);
    fs::write(&file, text.replacen(from, to, 1)).expect("written");
    file
}

async fn accepted(world: &World) {
    world.nodes(1).start().await;
    let job = dry_run(world, &manifest(JOB));
    assert!(job.status.success(), "{}", said(&job));
    // A judge that accepts everything proves nothing.
    for (from, to) in [("backoffLimit: 0", "backoffLimits: 0"), ("restartPolicy: Never", "restartPolicy: Always")] {
        let wrong = dry_run(world, &changed(world, JOB, from, to));
        assert!(!wrong.status.success(), "{to}: {}", said(&wrong));
    }
    let cron_job = dry_run(world, &manifest(CRON_JOB));
    if !world.plane.serves_cron_jobs() {
        let said = said(&cron_job);
        assert!(!cron_job.status.success() && said.contains("no matches for kind \"CronJob\""), "{said}");
        return;
    }
    assert!(cron_job.status.success(), "{}", said(&cron_job));
    for (from, to) in [("17 * * * *", "77 * * * *"), ("concurrencyPolicy", "concurencyPolicy")] {
        let wrong = dry_run(world, &changed(world, CRON_JOB, from, to));
        assert!(!wrong.status.success(), "{to}: {}", said(&wrong));
    }
}

/// API servers warn of what a namespace's Pod Security level would refuse.
async fn restricted(world: &World) {
    let cluster = world.nodes(1).start().await;
    if !world.plane.enforces_pod_security() {
        let output = dry_run(world, &manifest(JOB));
        assert!(output.status.success() && !said(&output).contains("Warning"), "{}", said(&output));
        return;
    }
    let warn = async |level: Option<&str>| {
        let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/warn": level}}});
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        namespaces.patch("kube-system", &PatchParams::default(), &Patch::Merge(label)).await.expect("a label");
    };
    warn(Some("restricted")).await;
    // Its cache of namespaces hears of it a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (job, cron_job) = (dry_run(world, &manifest(JOB)), dry_run(world, &manifest(CRON_JOB)));
    // The label is of a world that others use after this.
    warn(None).await;
    assert!(job.status.success() && said(&job).contains("host namespaces (hostNetwork=true)"), "{}", said(&job));
    assert!(cron_job.status.success() && !said(&cron_job).contains("Warning"), "{}", said(&cron_job));
}

/// A file tree for /run with what the kubelet mounts into a pod of this account, and the account's token.
async fn mounts(world: &World, cluster: &Cluster, account: &str) -> PathBuf {
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "kube-system");
    let request = accounts.create_token_request(account, &PostParams::default(), &TokenRequest::default()).await;
    let token = request.expect("a token").status.and_then(|status| status.token).expect("a token");
    let run = world.folder.join(format!("run-of-{account}"));
    let secrets = run.join("secrets/kubernetes.io/serviceaccount");
    fs::create_dir_all(&secrets).expect("a folder");
    fs::copy(world.folder.join("pki/ca.crt"), secrets.join("ca.crt")).expect("kubeadm's CA");
    fs::write(secrets.join("token"), token).expect("written");
    fs::write(secrets.join("namespace"), "kube-system").expect("written");
    run
}

/// Runs what a manifest's container runs, as in its pod: with its account's token at its place, without a kubeconfig. The API
/// server has the address of the pod's node.
async fn run(world: &World, cluster: &Cluster, name: &str, pod: &str, more: &[&str]) -> Outcome {
    let text = fs::read_to_string(manifest(name)).expect("the manifest");
    let object: Value = serde_yaml::from_str(&text).expect("YAML");
    let pod = object.pointer(pod).unwrap_or_else(|| panic!("{name}: no {pod}"));
    let arguments = pod["containers"][0]["args"].as_array().expect("arguments");
    let mounts = mounts(world, cluster, pod["serviceAccountName"].as_str().expect("an account")).await;
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-ec", "mount --bind \"$1\" /run; shift; exec \"$@\"", "sh"]).arg(mounts);
    command
        .arg(env!("CARGO_BIN_EXE_kpx-prep"))
        .args(arguments.iter().map(|word| word.as_str().expect("text")))
        .args(more);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", world.plane.port().to_string());
    command.env("KPX_PREP_NODE_PROGRAM", node_program("amd64"));
    let output = tokio::process::Command::from(command).output().await.expect("unshare (util-linux) runs");
    Outcome {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
        json: Value::Null,
    }
}

async fn commands(world: &World) {
    let cluster = world.nodes(3).daemon_set(|set| container(set)["image"] = json!(OF_NFTABLES)).start().await;
    for rbac in ["remediate-rbac.yaml", "status-rbac.yaml"] {
        super::rights::kubectl_with_manifest(&cluster, &["apply"], rbac);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = async || run(world, &cluster, CRON_JOB, "/spec/jobTemplate/spec/template/spec", &[]).await;
    status().await.exits(0).mentions("3 of 3 nodes run iptables");
    let wanted = cluster.config().await.replace("mode: \"\"", "mode: nftables");
    cluster.edit_map(json!({"data": {"config.conf": wanted}})).await;
    status().await.exits(3).mentions("3 run another mode");
    let quick: Vec<&str> = QUICK.iter().flatten().copied().collect();
    let outcome = run(world, &cluster, JOB, "/spec/template/spec", &quick).await.exits(0);
    outcome.mentions("kube-proxy runs in nftables mode on 3 node(s), verified on each");
    status().await.exits(0).mentions("3 of 3 nodes run nftables");
    for rbac in ["remediate-rbac.yaml", "status-rbac.yaml"] {
        super::rights::kubectl_with_manifest(&cluster, &["delete", "--wait=false"], rbac);
    }
}
