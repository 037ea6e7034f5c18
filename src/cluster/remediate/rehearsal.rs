//! The writes of a dry run: each kind once, validated by the API server without storing it.

use anyhow::Context as _;
use kube::api::{Api, DeleteParams};

use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::plain;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::api::objects;
use crate::cluster::kube_proxy::backup;
use crate::cluster::kube_proxy::config_map::{WriteError, write};
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;

/// Sends every kind of write of a plan once, with `dryRun=All`.
///
/// # Errors
/// If the API server would refuse a write.
pub(super) async fn rehearse(connection: &Connection, facts: &ClusterFacts, plan: &Plan) -> anyhow::Result<()> {
    let kube_proxy = facts.kube_proxy.as_ref().context("no kube-proxy found")?;
    let config = facts.config.as_ref().context("no kube-proxy ConfigMap found")?;
    let target = plan.target.as_ref().context("the plan has no target")?;
    let client = &connection.client;
    if plan.edits {
        let maps = Api::namespaced(client.clone(), &kube_proxy.namespace);
        backup::keep(&maps, config, plan.replacement(target), Guard::DryRun).await.context("dry run")?;
        match write(&maps, config, &target.text, Guard::DryRun).await {
            Ok(_) => {}
            Err(WriteError::Conflict) => {
                anyhow::bail!("dry run: ConfigMap {} was changed while planning; run again", config.name)
            }
            Err(WriteError::Failed(error)) => anyhow::bail!("dry run: changing ConfigMap {}: {error}", config.name),
        }
    }
    let canary = facts.nodes.iter().find(|node| plan.canary.as_ref() == Some(&node.name));
    if let Some(pod) = canary.and_then(|node| node.pod.as_ref()) {
        let pods = Api::<objects::Pod>::namespaced_with(client.clone(), &kube_proxy.namespace, &objects::pods());
        let delete = pods.delete(&pod.name, &DeleteParams::default().dry_run()).await;
        delete.map_err(|error| anyhow::anyhow!("dry run: deleting pod {}: {}", pod.name, plain(&error)))?;
    }
    Ok(())
}
