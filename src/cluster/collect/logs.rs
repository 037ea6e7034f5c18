//! The ends of kube-proxies' logs.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};

use super::file;
use crate::bundle::{Collected, Content};
use crate::cluster::api::errors::plain;
use crate::cluster::api::streams::AT_A_TIME;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};

/// Lines of each log, and bytes.
const LINES: i64 = 500;
const BYTES: i64 = 128 * 1024;
/// For one log.
const PATIENCE: Duration = Duration::from_secs(15);

/// Reads the logs of at most `most` nodes: first of those whose kube-proxy does not run the configured mode.
pub(super) async fn read(
    client: &kube::Client,
    facts: &ClusterFacts,
    kube_proxy: &KubeProxy,
    most: usize,
    missing: &mut Vec<String>,
) -> Vec<Collected> {
    let mut nodes: Vec<(&NodeFacts, &PodFacts)> =
        facts.proxy_nodes().filter_map(|node| Some((node, node.pod.as_ref()?))).collect();
    let target = facts.target().ok();
    nodes.sort_by_key(|(node, pod)| node.proof.mode.is_some() && node.proof.mode == target && pod.restarts == 0);
    if nodes.len() > most {
        missing.push(format!("logs of {} of {} nodes: --logs {most}", nodes.len() - most, nodes.len()));
        nodes.truncate(most);
    }
    let pods = Api::<Pod>::namespaced(client.clone(), &kube_proxy.namespace);
    // Of a pod that was restarted, the log of the container before, too.
    let wanted = nodes.iter().flat_map(|(node, pod)| {
        let previous = (pod.restarts > 0).then_some((*node, *pod, true));
        [(*node, *pod, false)].into_iter().chain(previous)
    });
    let read = wanted.map(|(node, pod, previous)| {
        let pods = pods.clone();
        async move { (node, pod, previous, one(&pods, pod, previous).await) }
    });
    let mut files = Vec::new();
    let mut logs = futures::stream::iter(read).buffered(AT_A_TIME);
    while let Some((node, pod, previous, log)) = logs.next().await {
        let which = if previous { "log of the container before, pod" } else { "log of pod" };
        match log {
            Ok(log) => {
                let ending = if previous { "previous.log" } else { "log" };
                files.push(file("logs", &node.name, ending, &format!("{which} {}", pod.name), Content::Text(log)));
            }
            Err(why) => missing.push(format!("{which} {} on node {}: {why}", pod.name, node.name)),
        }
    }
    files
}

async fn one(pods: &Api<Pod>, pod: &PodFacts, previous: bool) -> Result<String, String> {
    let params = LogParams {
        container: Some(pod.container.clone()),
        tail_lines: Some(LINES),
        limit_bytes: Some(BYTES),
        timestamps: true,
        previous,
        ..LogParams::default()
    };
    let log = tokio::time::timeout(PATIENCE, pods.logs(&pod.name, &params)).await;
    log.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?.map_err(|error| plain(&error))
}
