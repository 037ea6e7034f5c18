//! Waits until the helper runs on the nodes, or reports why it does not.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use kube::runtime::watcher;
use tokio::time::Instant;

use super::groups::NAME;
use super::manifest::{Image, POD_LABEL};
use super::programs::HOW_TO_CARRY;
use crate::cluster::api::calls::{list, retried};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::api::objects::{self, Pod};
use crate::cluster::api::watched::{OnNode, Watched};
use crate::exit_code::Refusal;
use crate::report::few;
use crate::report::foreign::foreign;

/// How long nodes may take to start the helper's container, including pulling its image, from the last one on that has: a
/// controller takes minutes for thousands of pods.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a kubelet may retry before its reason is reported.
const RETRIES: Duration = Duration::from_secs(20);
/// How many of the newest Events are read.
const EVENTS: u32 = 20;
/// Interval for looking at the time, where nothing changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long changes are gathered.
const GATHERED: Duration = Duration::from_millis(50);
/// Reasons that the kubelet does not retry.
const PERMANENT_REASONS: [&str; 2] = ["ErrImageNeverPull", "InvalidImageName"];
/// How long the controller may take to create a pod before its reason is asked for.
const CREATED_WITHIN: Duration = Duration::from_secs(5);
/// Why there is no pod, until the controller has told.
const NO_POD: &str = "no helper pod was created";
/// Reasons that the kubelet retries.
const RETRIED_REASONS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// The nodes on which the helper runs.
#[derive(Debug, Default)]
pub struct HelperPods {
    /// Number of nodes on which it runs.
    pub ready: usize,
    /// Why it does not run on other nodes.
    pub missing: BTreeMap<String, String>,
}

/// What is known of one of the helper's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperPod {
    /// Its name.
    pub name: String,
    /// Whether its container runs; else the reason why it is waiting.
    pub state: Result<(), String>,
    deleting: bool,
}

/// The helper's pods, kept up to date: one list, then changes.
pub type Watch = Watched<HelperPod>;

/// Watches the pods of these `DaemonSet`s.
pub fn watch(connection: &Connection, namespace: &str, uids: Vec<String>) -> Watch {
    let api = Api::namespaced_with(connection.client.clone(), namespace, &objects::pods());
    let labels = format!("{}={}", POD_LABEL.0, POD_LABEL.1);
    let config = watcher::Config::default().labels(&labels).timeout(connection.watch_seconds);
    let convert = move |pod: &Pod| {
        let ours = pod.owner_references().iter().any(|owner| uids.contains(&owner.uid));
        let value =
            HelperPod { name: pod.name_any(), state: state(pod), deleting: pod.metadata.deletion_timestamp.is_some() };
        Some(OnNode { node: pod.spec.node_name.clone().filter(|_| ours)?, value })
    };
    Watched::start(vec![(api, config, convert)])
}

/// The pod on a node; one that runs, if there are several.
pub fn on(watch: &Watch, node: &str) -> Option<HelperPod> {
    watch.on(node).into_iter().filter(|pod| !pod.deleting).min_by_key(|pod| pod.state.is_err())
}

/// Waits for the pods on these nodes.
///
/// # Errors
/// The error of the API server, if that is why nothing is known.
pub async fn wait(
    watch: &Watch,
    client: &kube::Client,
    namespace: &str,
    uids: &[&str],
    nodes: &[String],
) -> Result<HelperPods, String> {
    let from = Instant::now();
    let (mut asked, mut news, mut most) = (from, from, 0);
    loop {
        let mut there = HelperPods::default();
        let mut pending = 0;
        for node in nodes {
            let Err(reason) = on(watch, node).map_or_else(|| Err(NO_POD.to_owned()), |pod| pod.state) else {
                there.ready += 1;
                continue;
            };
            let word = reason.split(':').next().unwrap_or_default();
            let settled =
                PERMANENT_REASONS.contains(&word) || RETRIED_REASONS.contains(&word) && from.elapsed() >= RETRIES;
            pending += usize::from(!settled);
            there.missing.insert(node.clone(), reason);
        }
        let complete = watch.is_complete();
        if complete && there.missing.values().any(|why| why == NO_POD) && asked.elapsed() >= CREATED_WITHIN {
            asked = Instant::now();
            if let Some(why) = refused_pods(client, namespace, uids).await {
                for reason in there.missing.values_mut().filter(|reason| *reason == NO_POD) {
                    *reason = format!("{NO_POD}: {why}");
                    pending -= 1;
                }
            }
        }
        let trouble = watch.trouble();
        if there.ready > most {
            (news, most) = (Instant::now(), there.ready);
        }
        let over = news.elapsed() >= PATIENCE;
        match trouble {
            // Once the pods were listed, what is known of them is the better reason.
            Some(trouble) if trouble.permanent || over && !complete => return Err(trouble.why),
            _ if pending == 0 || over => return Ok(there),
            _ => {}
        }
        // Many pods change at the same time.
        tokio::select! {
            () = watch.changed() => tokio::time::sleep(GATHERED).await,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Why the controller could not create pods: an admission policy or a quota. `None` if it did not tell, or Events cannot be
/// read.
async fn refused_pods(client: &kube::Client, namespace: &str, uids: &[&str]) -> Option<String> {
    for uid in uids {
        let events = Api::<Event>::namespaced(client.clone(), namespace);
        let params =
            ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedCreate")).limit(EVENTS);
        let found = retried(|| events.list(&params)).await.ok()?;
        if let Some(message) = found.items.into_iter().rev().find_map(|event| event.message) {
            return Some(foreign(&message));
        }
    }
    None
}

/// Deletes pods of this `DaemonSet` that will not start by themselves, so that they are recreated: the image may have been
/// imported since. Pods that cannot be deleted are reported by [`wait`].
pub async fn try_again(client: &kube::Client, namespace: &str, uid: &str, lock: &Lock) {
    let api = Api::namespaced_with(client.clone(), namespace, &objects::pods());
    let params = ListParams::default().labels(&format!("{}={}", POD_LABEL.0, POD_LABEL.1));
    let stuck = list(&api, &params, |pod: Pod| {
        let ours = pod.owner_references().iter().any(|owner| owner.uid == uid);
        let gave_up =
            state(&pod).is_err_and(|why| PERMANENT_REASONS.contains(&why.split(':').next().unwrap_or_default()));
        (ours && gave_up && pod.metadata.deletion_timestamp.is_none()).then(|| (pod.name_any(), pod.uid()))
    });
    for (name, uid) in stuck.await.unwrap_or_default().into_iter().flatten() {
        let preconditions = Preconditions { uid, resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
        if let Err(error) = Guard::Lock(lock).once(async || api.delete(&name, &params).await).await {
            tracing::info!("deleting pod {namespace}/{name}: {error}");
        }
    }
}

/// Whether the pod's container runs, else the reason why it is waiting.
fn state(pod: &Pod) -> Result<(), String> {
    let status = pod.status.clone().unwrap_or_default();
    if status.conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True") {
        return Ok(());
    }
    let waiting = status.container_statuses.iter().find_map(|container| container.state.waiting.as_ref());
    let reason = waiting.filter(|waiting| !waiting.reason.is_empty()).map(|waiting| {
        // Of an image, the reason says it all; its message differs between runtimes.
        if waiting.message.is_empty() || is_image(&waiting.reason) {
            return waiting.reason.clone();
        }
        format!("{}: {}{}", waiting.reason, foreign(&waiting.message), not_executable(&waiting.message))
    });
    Err(reason.or(status.reason).unwrap_or_else(|| format!("the helper's pod is {}", status.phase)))
}

/// What to do where a container's program cannot be run.
fn not_executable(message: &str) -> &'static str {
    if message.contains("permission denied") {
        return "; ConfigMap volumes seem to be mounted noexec on this node, use --node-image";
    }
    if message.contains("exec format error") {
        return "; the node program is not of this node's architecture, use --node-image";
    }
    ""
}

/// The command that imports the image on a node.
const BY_HAND: &str = "kpx-prep image | ssh NODE sudo ctr -n k8s.io images import -";

/// Whether this is the kubelet's reason for a missing image.
fn is_image(why: &str) -> bool {
    ["ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"].contains(&why)
}

/// The nodes without the image.
pub fn without_image(missing: &BTreeMap<String, String>) -> Vec<String> {
    missing.iter().filter(|(_, why)| is_image(why)).map(|(node, _)| node.clone()).collect()
}

/// Why the helper does not run: the kubelet's reason with a hint.
pub fn reason(why: &str, image: &Image) -> String {
    if is_image(why) {
        return format!("{why}: the image {} is missing; import it with: {BY_HAND}", image.reference);
    }
    why.to_owned()
}

/// The error for nodes without the image.
pub fn refusal(without: &[String], image: &Image) -> anyhow::Error {
    let name = &image.reference;
    let carried = if image.pull { String::new() } else { format!("\n  without an image:    {HOW_TO_CARRY}") };
    Refusal::check(format!(
        "{}: the node helper's image {name} is missing, so DaemonSet {NAME} cannot start; nothing was changed. Provide it in one of these ways:\n  \
         on each node:        {BY_HAND}\n  \
         through a registry:  kpx-prep image --name REGISTRY/kpx-prep:TAG --output-file kpx-prep.tar, skopeo copy oci-archive:kpx-prep.tar docker://REGISTRY/kpx-prep:TAG, then --node-image REGISTRY/kpx-prep:TAG{carried}",
        few(without)
    ))
}
