//! One pod's life on its node: bound, started, perhaps crashing, ended.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::kube_proxy::{Invocation, KubeProxy};
use super::misbehaviour::Misbehaviour;
use super::stand_in::{Record, StandIn, locked};

const POLL: Duration = Duration::from_millis(30);

/// The node a pod is on, or is meant for by the DaemonSet controller.
pub(crate) fn node_of(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let terms = || -> Option<String> {
        let required = spec.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = required.required_during_scheduling_ignored_during_execution.as_ref()?;
        let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
        fields.find(|field| field.key == "metadata.name")?.values.as_ref()?.first().cloned()
    };
    spec.node_name.clone().or_else(terms)
}

/// Looks after a pod until it is gone.
pub(crate) async fn run(nodes: Arc<StandIn>, pod: Pod, record: Arc<Record>) {
    let mut ending = record.ending.subscribe();
    tokio::select! {
        () = live(&nodes, &pod, &record) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
    while nodes.has(&record.node, Misbehaviour::Down) {
        sleep(POLL).await;
    }
    *locked(&record.process) = None;
    sleep(POLL).await;
    let precondition = Preconditions { uid: Some(record.uid.clone()), ..Preconditions::default() };
    let now =
        DeleteParams { grace_period_seconds: Some(0), preconditions: Some(precondition), ..DeleteParams::default() };
    // Someone else may have been quicker.
    let _ = pods(&nodes, &pod).delete(&pod.name_any(), &now).await;
}

fn pods(nodes: &StandIn, pod: &Pod) -> Api<Pod> {
    Api::namespaced(nodes.client.clone(), &pod.namespace().unwrap_or_default())
}

/// Never returns: only its end ends a pod.
async fn live(nodes: &StandIn, pod: &Pod, record: &Record) {
    let node = record.node.as_str();
    while !nodes.knows(node) || nodes.has(node, Misbehaviour::Unschedulable) {
        sleep(POLL).await;
    }
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        bind(nodes, pod, node).await;
    }
    while nodes.has(node, Misbehaviour::Down) {
        sleep(POLL).await;
    }
    sleep(POLL).await;
    for wrong in nodes.wrong(node) {
        match wrong {
            Misbehaviour::SlowStart(time) => sleep(time).await,
            Misbehaviour::NeverReady => {
                report(nodes, pod, &Container::waiting("ImagePullBackOff", 0, "Pending")).await;
                std::future::pending::<()>().await;
            }
            _ => {}
        }
    }
    if !image(pod).contains("kube-proxy") && nodes.has(node, Misbehaviour::NoOtherImage) {
        report(nodes, pod, &Container::waiting("ErrImageNeverPull", 0, "Pending")).await;
        std::future::pending::<()>().await;
    }
    config_maps(nodes, pod).await;
    // The volume is filled when the pod starts and stays as it is over the next minute, restarts of the container included.
    let Some(invocation) = invocation(nodes, pod).await else {
        report(nodes, pod, &Container::running(0)).await;
        return std::future::pending().await;
    };
    let mut lost = None;
    for restarts in 0.. {
        // Ready at once, without a probe: before anything answers, and also if it is about to crash.
        *locked(&record.started) = jiff::Timestamp::now();
        report(nodes, pod, &Container::running(restarts)).await;
        sleep(POLL * 2).await;
        let mut wrong = nodes.wrong(node);
        wrong.extend(lost);
        let time = match KubeProxy::start(&invocation, &wrong) {
            Ok(process) => {
                let (ipvs, mode) = (process.mode == "ipvs", process.log.clone());
                *locked(&record.log) = mode;
                nodes.hosts.started(node, &process.mode);
                *locked(&record.process) = Some(process);
                let after = wrong.iter().find_map(|wrong| match wrong {
                    Misbehaviour::LosesIpvsAfter(time) if ipvs => Some(*time),
                    _ => None,
                });
                let Some(after) = after else { return std::future::pending().await };
                lost = Some(Misbehaviour::LacksIpvs);
                after
            }
            Err(log) => {
                *locked(&record.log) = log;
                Duration::ZERO
            }
        };
        sleep(time).await;
        *locked(&record.process) = None;
        report(nodes, pod, &Container::waiting("CrashLoopBackOff", restarts, "Running")).await;
        sleep(POLL * 6).await;
    }
}

/// What the scheduler does.
async fn bind(nodes: &StandIn, pod: &Pod, node: &str) {
    let name = pod.name_any();
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    // It may have been deleted meanwhile.
    let _ =
        pods(nodes, pod).create_subresource::<Value, Value>("binding", &name, &PostParams::default(), &binding).await;
}

struct Container {
    phase: &'static str,
    ready: bool,
    restarts: u32,
    state: Value,
}

impl Container {
    fn running(restarts: u32) -> Self {
        let state = json!({"running": {"startedAt": now()}, "waiting": null, "terminated": null});
        Self { phase: "Running", ready: true, restarts, state }
    }

    fn waiting(reason: &str, restarts: u32, phase: &'static str) -> Self {
        let state = json!({"waiting": {"reason": reason, "message": "back-off"}, "running": null, "terminated": null});
        Self { phase, ready: false, restarts, state }
    }
}

fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).expect("a time").to_string()
}

async fn report(nodes: &StandIn, pod: &Pod, container: &Container) {
    let spec = pod.spec.as_ref().map(|spec| &spec.containers);
    let Some(first) = spec.and_then(|containers| containers.first()) else { return };
    let last = if container.restarts > 0 || !container.ready && container.phase == "Running" {
        json!({"terminated": {"exitCode": 1, "reason": "Error", "startedAt": now(), "finishedAt": now()}})
    } else {
        json!({})
    };
    let ready = if container.ready { "True" } else { "False" };
    let condition = |kind, status| json!({"type": kind, "status": status, "lastTransitionTime": now()});
    let status = json!({"status": {
        "phase": container.phase, "hostIP": "127.0.0.1", "podIP": "127.0.0.1", "startTime": now(),
        "conditions": [
            condition("Initialized", "True"), condition("Ready", ready), condition("ContainersReady", ready),
            condition("PodScheduled", "True"),
        ],
        "containerStatuses": [{
            "name": first.name, "image": first.image, "imageID": "docker.io/library/image@sha256:0",
            "containerID": "containerd://0", "ready": container.ready, "started": container.ready,
            "restartCount": container.restarts, "state": container.state, "lastState": last,
        }],
    }});
    // It may have been deleted meanwhile.
    let _ = pods(nodes, pod).patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await;
}

/// The image of the pod's first container.
fn image(pod: &Pod) -> &str {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container.and_then(|container| container.image.as_deref()).unwrap_or_default()
}

/// Until the ConfigMaps of the pod's volumes are there: before, the kubelet starts no container.
async fn config_maps(nodes: &StandIn, pod: &Pod) {
    let maps = Api::<ConfigMap>::namespaced(nodes.client.clone(), &pod.namespace().unwrap_or_default());
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for source in volumes.filter_map(|volume| volume.config_map.as_ref()) {
        while source.optional != Some(true) && !matches!(maps.get_metadata_opt(&source.name).await, Ok(Some(_))) {
            sleep(POLL).await;
        }
    }
}

/// The command of the pod's first container.
fn container_words(pod: &Pod) -> Vec<String> {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    container.map(|first| first.command.iter().chain(&first.args).flatten().cloned().collect()).unwrap_or_default()
}

/// What kube-proxy's container is started with, the file read from the ConfigMap now; nothing for other programs.
async fn invocation(nodes: &StandIn, pod: &Pod) -> Option<Invocation> {
    let spec = pod.spec.as_ref()?;
    let container = spec.containers.first()?;
    let words = container_words(pod);
    words.iter().find(|word| word.contains("kube-proxy"))?;
    let flag = |name: &str| {
        let joined = words.iter().find_map(|word| word.strip_prefix(&format!("{name}=")));
        let apart = || words.iter().position(|word| word == name).and_then(|place| words.get(place + 1));
        joined.map(str::to_owned).or_else(|| apart().cloned())
    };
    let tag = container.image.as_deref().and_then(|image| image.rsplit_once(":v1.")).map(|(_, tag)| tag);
    let minor = tag.and_then(|tag| tag.split('.').next()?.parse().ok()).unwrap_or(20);
    let Some(path) = flag("--config") else {
        return Some(Invocation { config: None, mode: flag("--proxy-mode"), minor });
    };
    let mount = container.volume_mounts.iter().flatten().find(|mount| path.starts_with(&mount.mount_path))?;
    let file = path[mount.mount_path.len()..].trim_start_matches('/');
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
    let source = volume.config_map.as_ref()?;
    let item = source.items.iter().flatten().find(|item| item.path == file);
    let key = item.map_or(file, |item| item.key.as_str());
    let maps = Api::<ConfigMap>::namespaced(nodes.client.clone(), &pod.namespace().unwrap_or_default());
    loop {
        // As long as it is not there, the kubelet does not start the container.
        if let Ok(Some(map)) = maps.get_opt(&source.name).await
            && let Some(text) = map.data.as_ref().and_then(|data| data.get(key))
        {
            return Some(Invocation { config: Some(text.clone()), mode: None, minor });
        }
        sleep(POLL).await;
    }
}
