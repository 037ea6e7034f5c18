//! Nodes without kubelets: what a kubelet and the scheduler do for kube-proxy's pods, no gentler than they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::hosts::Hosts;
use super::kube_proxy::KubeProxy;
use super::misbehaviour::Misbehaviour;
use super::pod_worker;

/// A pod as its kubelet knows it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) uid: String,
    pub(crate) node: String,
    /// What runs in it now.
    pub(crate) process: Mutex<Option<KubeProxy>>,
    /// What its last container printed, crashed or not.
    pub(crate) log: Mutex<String>,
    /// When that container was started.
    pub(crate) started: Mutex<jiff::Timestamp>,
    /// Whether it has been asked to end.
    pub(crate) ending: watch::Sender<bool>,
}

/// All nodes.
pub(crate) struct StandIn {
    pub(crate) client: Client,
    nodes: Mutex<HashMap<String, Vec<Misbehaviour>>>,
    /// By namespace and name.
    pods: Mutex<HashMap<(String, String), Arc<Record>>>,
    /// What kpx-prep on the nodes finds and does.
    pub(crate) hosts: Hosts,
    /// Where the kubelet of every node serves.
    kubelet_port: u16,
}

/// What a locked value holds; a panic elsewhere does not matter here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl StandIn {
    /// Starts to look after pods.
    pub(crate) fn start(client: Client, kubelet_port: u16) -> Arc<Self> {
        let (nodes, pods) = (Mutex::default(), Mutex::default());
        let stand_in = Arc::new(Self { client, nodes, pods, hosts: Hosts::default(), kubelet_port });
        tokio::spawn(Arc::clone(&stand_in).watch());
        stand_in
    }

    async fn watch(self: Arc<Self>) {
        let mut events = Box::pin(watcher::watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default()));
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(pod) | Event::InitApply(pod))) => self.see(pod),
                Ok(Some(Event::Delete(pod))) => self.forget(&pod),
                Ok(Some(Event::Init | Event::InitDone)) => {}
                Ok(None) => return,
                // The watcher tries again by itself.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn see(self: &Arc<Self>, pod: Pod) {
        let Some(node) = pod_worker::node_of(&pod) else { return };
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let (uid, ending) = (pod.uid().unwrap_or_default(), pod.metadata.deletion_timestamp.is_some());
        let mut pods = locked(&self.pods);
        if let Some(record) = pods.get(&key).filter(|record| record.uid == uid) {
            record.ending.send_if_modified(|known| std::mem::replace(known, ending) != ending);
            return;
        }
        let record = Arc::new(Record {
            uid,
            node,
            process: Mutex::default(),
            log: Mutex::default(),
            started: Mutex::new(jiff::Timestamp::now()),
            ending: watch::Sender::new(ending),
        });
        pods.insert(key, Arc::clone(&record));
        drop(pods);
        tokio::spawn(pod_worker::run(Arc::clone(self), pod, record));
    }

    fn forget(&self, pod: &Pod) {
        let key = (pod.namespace().unwrap_or_default(), pod.name_any());
        let mut pods = locked(&self.pods);
        if pods.get(&key).is_some_and(|record| Some(&record.uid) == pod.metadata.uid.as_ref()) {
            pods.remove(&key);
        }
    }

    /// What is wrong with a node; nothing with one that is not there.
    pub(crate) fn wrong(&self, node: &str) -> Vec<Misbehaviour> {
        locked(&self.nodes).get(node).cloned().unwrap_or_default()
    }

    /// Whether a node has this fault.
    pub(crate) fn has(&self, node: &str, wrong: Misbehaviour) -> bool {
        self.wrong(node).contains(&wrong)
    }

    /// Whether the node is one of these.
    pub(crate) fn knows(&self, node: &str) -> bool {
        locked(&self.nodes).contains_key(node)
    }

    /// The pod's record.
    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Record>> {
        locked(&self.pods).get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The mode that really runs on each node.
    pub(crate) fn modes(&self) -> BTreeMap<String, String> {
        let pods = locked(&self.pods);
        let running = pods.values().filter_map(|record| {
            let process = locked(&record.process);
            process.as_ref().map(|process| (record.node.clone(), process.mode.clone()))
        });
        running.collect()
    }

    /// Adds a node; the first label is its operating system.
    pub(crate) async fn add(&self, name: &str, labels: &[(&str, &str)], wrong: &[Misbehaviour]) {
        let mut all =
            json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        for (key, value) in labels {
            all[key] = json!(value);
        }
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": all},
            "spec": {},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
                "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": conditions(true),
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelet_port}},
                "nodeInfo": {
                    "architecture": all["kubernetes.io/arch"], "bootID": "", "containerRuntimeVersion": "containerd://1.6.0",
                    "kernelVersion": "5.10.0", "kubeProxyVersion": "v1.20.2", "kubeletVersion": "v1.20.2",
                    "machineID": "", "operatingSystem": all["kubernetes.io/os"], "osImage": "Debian GNU/Linux 11",
                    "systemUUID": "",
                },
            },
        });
        locked(&self.nodes).insert(name.to_owned(), Vec::new());
        let api = Api::<Node>::all(self.client.clone());
        let node: Node = serde_json::from_value(node).expect("a node");
        api.create(&PostParams::default(), &node).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.set(name, wrong).await;
    }

    /// From now on this is wrong with the node.
    pub(crate) async fn set(&self, name: &str, wrong: &[Misbehaviour]) {
        let before = locked(&self.nodes).insert(name.to_owned(), wrong.to_vec()).unwrap_or_default();
        let down = wrong.contains(&Misbehaviour::Down);
        if down == before.contains(&Misbehaviour::Down) {
            return;
        }
        let (nodes, merge) = (Api::<Node>::all(self.client.clone()), PatchParams::default());
        let effects = if down { vec!["NoSchedule", "NoExecute"] } else { vec![] };
        let taint = |effect| json!({"key": "node.kubernetes.io/unreachable", "effect": effect});
        let taints: Vec<_> = effects.into_iter().map(taint).collect();
        nodes.patch(name, &merge, &Patch::Merge(json!({"spec": {"taints": taints}}))).await.expect("taints");
        let status = json!({"status": {"conditions": conditions(!down)}});
        nodes.patch_status(name, &merge, &Patch::Merge(status)).await.expect("a status");
        // The node controller does this to the pods of a node that it no longer hears of.
        let ready = if down { "False" } else { "True" };
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": ready}]}});
        for (namespace, pod) in self.pods_of(name) {
            let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
            // It may be gone by now.
            let _ = pods.patch_status(&pod, &merge, &Patch::Strategic(status.clone())).await;
        }
    }

    fn pods_of(&self, node: &str) -> Vec<(String, String)> {
        locked(&self.pods).iter().filter(|(_, record)| record.node == node).map(|(key, _)| key.clone()).collect()
    }

    /// Takes a node away, as when its machine is given back; the pod collector then removes its pods.
    pub(crate) async fn remove(&self, name: &str) {
        locked(&self.nodes).remove(name);
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.delete(name, &DeleteParams::default()).await.expect("the node is there");
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (namespace, pod) in self.pods_of(name) {
            let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
            let _ = pods.delete(&pod, &DeleteParams::default().grace_period(0)).await;
        }
    }

    /// No nodes any more, as far as this side is concerned.
    pub(crate) fn clear(&self) {
        locked(&self.nodes).clear();
        self.hosts.clear();
    }
}

fn conditions(ready: bool) -> Value {
    let (status, reason) = if ready { ("True", "KubeletReady") } else { ("Unknown", "NodeStatusUnknown") };
    json!([{"type": "Ready", "status": status, "reason": reason, "message": "",
            "lastHeartbeatTime": null, "lastTransitionTime": null}])
}
