//! The nodes' hosts, as the node helper sees them.

use std::net::SocketAddr;

use kube::api::{Api, ListParams};

use super::facts::ClusterFacts;
use crate::cluster::api::calls;
use crate::cluster::api::objects::{self, Service};
use crate::cluster::helper::work::Surveyed;
use crate::cluster::helper::{Coverage, Helper};
use crate::mode::ProxyMode;

/// Surveys every ready kube-proxy node with the helper, for this mode. `scheduler` is that of the planned configuration,
/// whose module is checked too.
///
/// # Errors
/// If the helper's image is missing on a required node, or the API server fails.
pub async fn look_at_hosts(
    helper: &Helper,
    facts: &mut ClusterFacts,
    coverage: Coverage,
    (mode, scheduler): (ProxyMode, &str),
    questions: &[SocketAddr],
) -> anyhow::Result<()> {
    let port = facts.ports().metrics;
    let ready = || facts.proxy_nodes().filter(|node| node.ready);
    let nodes: Vec<String> = ready().map(|node| node.name.clone()).collect();
    let pods = ready().filter_map(|node| Some((node.name.clone(), node.pod.as_ref()?.cgroup.clone()))).collect();
    let services = count_services(helper.client()).await;
    helper.serve(mode, facts.minor());
    helper.wait(&nodes, coverage).await?;
    let about = Surveyed { scheduler, port, questions, pods, services };
    let mut answers = helper.survey(&nodes, &about).await;
    for node in &mut facts.nodes {
        node.host = answers.remove(&node.name);
    }
    Ok(())
}

/// The number of Services, from the remaining item count of a list with one item. If unknown, a large number.
async fn count_services(client: &kube::Client) -> usize {
    const MANY: usize = 10_000;
    let services = Api::<Service>::all_with(client.clone(), &objects::services());
    let one = ListParams::default().limit(1);
    let Ok(first) = calls::retried(|| services.list_metadata(&one)).await else { return MANY };
    let rest = first.metadata.remaining_item_count.unwrap_or(0);
    let more = first.metadata.continue_.as_deref().is_some_and(|token| !token.is_empty());
    if more && rest == 0 { MANY } else { first.items.len() + usize::try_from(rest).unwrap_or(MANY) }
}
