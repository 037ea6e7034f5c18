//! Debian's kubectl as the judge: what status says is what it shows.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::processes::output;
use crate::cluster::world::World;

/// Installs it where that is possible.
pub(super) fn install() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success()) {
        return;
    }
    assert!(nix::unistd::geteuid().is_root(), "kubectl is missing: apt-get install kubernetes-client");
    let lock = ["-o", "DPkg::Lock::Timeout=300"];
    let install = [&["install", "-y", "-qq", "--no-install-recommends", "kubernetes-client"][..], &lock].concat();
    // A fresh machine has no package lists yet.
    if !Command::new("apt-get").args(&install).status().is_ok_and(|status| status.success()) {
        output(Command::new("apt-get").args(["update", "-qq"]));
        output(Command::new("apt-get").args(install));
    }
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> String {
    output(Command::new("kubectl").arg("--kubeconfig").arg(&cluster.kubeconfig).args(arguments))
}

fn items(cluster: &Cluster, arguments: &[&str]) -> Vec<Value> {
    let list: Value = serde_json::from_str(&kubectl(cluster, arguments)).expect("JSON");
    list["items"].as_array().expect("a list").clone()
}

fn is_ready(object: &Value) -> bool {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// The same nodes, pods, readiness, image and mode.
pub(super) async fn judge(world: &World) {
    install();
    let nodes = world.nodes(4).replace("mode: \"\"", "mode: ipvs");
    let cluster = nodes.misbehave("node-4", Misbehaviour::Down).start().await;
    let outcome = cluster.status(&[]).await.exits(3);
    let nodes = items(&cluster, &["get", "nodes", "-o", "json"]);
    let pods = items(&cluster, &["get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "-o", "json"]);
    let shown: BTreeMap<_, _> = pods.iter().map(|pod| (text(&pod["spec"]["nodeName"]), pod)).collect();
    assert_eq!(outcome.json["nodes"].as_array().map(Vec::len), Some(nodes.len()), "{outcome}");
    for node in &nodes {
        let name = text(&node["metadata"]["name"]);
        let (said, pod) = (outcome.node(&name), shown[&name]);
        assert_eq!(said["ready"], is_ready(node), "{name}\n{outcome}");
        assert_eq!(said["pod"], pod["metadata"]["name"], "{name}\n{outcome}");
        assert_eq!(said["podReady"], is_ready(pod), "{name}\n{outcome}");
        assert_eq!(said["image"], pod["spec"]["containers"][0]["image"], "{name}\n{outcome}");
        assert_eq!(said["restarts"], pod["status"]["containerStatuses"][0]["restartCount"], "{name}\n{outcome}");
        if is_ready(node) {
            let log = kubectl(&cluster, &["logs", "-n", "kube-system", &text(&pod["metadata"]["name"])]);
            assert!(log.contains("Using ipvs ") && said["effectiveMode"] == "ipvs", "{name}\n{outcome}");
        }
    }
    let path = "jsonpath={.data.config\\.conf}";
    let config = kubectl(&cluster, &["get", "configmap", "kube-proxy", "-n", "kube-system", "-o", path]);
    let config: Value = serde_yaml::from_str(&config).expect("YAML");
    outcome.says("/kubeProxy/configuredMode", config["mode"].clone());
}
