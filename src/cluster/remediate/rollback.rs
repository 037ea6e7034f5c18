//! Rollback: restores the original text byte for byte, then switches the pods back, verifying each.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::switch::SwitchEnd;
use super::tools::{Tools, WrittenConfig};
use crate::cluster::api::calls::get;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::plain;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::kube_proxy::config_map::{WriteError, read, write};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::list_pods;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult};
use crate::mode::ProxyMode;

/// The inputs of a rollback.
pub struct Rollback<'a> {
    /// The API server.
    pub connection: &'a Connection,
    /// kube-proxy.
    pub kube_proxy: &'a KubeProxy,
    /// The configuration that this run wrote.
    pub config: WrittenConfig<'a>,
    /// The original text.
    pub original: &'a str,
    /// Number of nodes at a time.
    pub batch_size: usize,
    /// The parts that act and report.
    pub tools: Tools<'a>,
}

impl Rollback<'_> {
    /// Restores the original and then switches these nodes, in this order, to the given modes.
    ///
    /// # Errors
    /// What could not be restored, and the current state.
    pub async fn run(&self, nodes: &[(String, ProxyMode)], results: &mut [NodeResult]) -> anyhow::Result<()> {
        self.restore().await?;
        self.tools.progress.event("the original configuration was restored");
        let pods = list_pods(&self.connection.client, self.kube_proxy).await?;
        let present = |node: &str| -> Option<&PodFacts> {
            pods.iter().filter(|pod| pod.node == node && !pod.deleting).max_by_key(|pod| pod.created)
        };
        let mut failures = Vec::new();
        for batch in nodes.chunks(self.batch_size) {
            let names: Vec<_> = batch.iter().map(|(node, _)| node.as_str()).collect();
            self.tools.progress.event(&format!("{}: rolling back", names.join(", ")));
            let ends = batch.iter().map(|(node, mode)| async {
                let end = self.tools.switcher.switch(node, present(node), *mode).await;
                let cleaned = match (&end, self.tools.cleaner) {
                    (Ok(SwitchEnd::Proved(pod, _)), Some(cleaner)) => Some(cleaner.clean(node, Some(pod)).await),
                    _ => None,
                };
                (end, cleaned)
            });
            for ((node, mode), (end, cleaned)) in batch.iter().zip(join_all(ends).await) {
                let (outcome, detail) = match end {
                    Ok(SwitchEnd::Proved(..)) => (NodeOutcome::RolledBack, None),
                    Ok(SwitchEnd::Gone) => (NodeOutcome::Gone, None),
                    Ok(SwitchEnd::NotReady) => (NodeOutcome::NotReady, None),
                    Ok(SwitchEnd::Failed(why) | SwitchEnd::TimedOut(why)) => (NodeOutcome::Failed, Some(why)),
                    Err(error) => (NodeOutcome::Failed, Some(format!("{error:#}"))),
                };
                if let (NodeOutcome::Failed, Some(why)) = (outcome, &detail) {
                    failures.push(format!("{node}: {why}"));
                }
                self.tools.progress.event(&match outcome {
                    NodeOutcome::RolledBack => format!("{node}: {mode} verified again"),
                    _ => format!("{node}: {}", detail.as_deref().unwrap_or("no pod to roll back")),
                });
                if let Some(result) = results.iter_mut().find(|result| result.name == *node) {
                    // The original failure is kept: that is what the operator must fix.
                    result.detail = detail.or(result.detail.take());
                    result.mode = (outcome == NodeOutcome::RolledBack).then(|| mode.name());
                    result.outcome = outcome;
                    result.cleaned = cleaned.or(result.cleaned.take());
                }
            }
        }
        anyhow::ensure!(
            failures.is_empty(),
            "the original configuration was restored, but the old mode is not verified on every node: {}",
            failures.join("; ")
        );
        Ok(())
    }

    async fn restore(&self) -> anyhow::Result<()> {
        let WrittenConfig { name, key, .. } = self.config;
        let place = format!("ConfigMap {}/{name}", self.kube_proxy.namespace);
        let api = Api::<ConfigMap>::namespaced(self.connection.client.clone(), &self.kube_proxy.namespace);
        for _ in 0..3 {
            let now = get(&api, name)
                .await
                .map_err(|error| anyhow::anyhow!("reading {place}: {}; it has the new configuration", plain(&error)))?;
            let Some(now) = now.as_ref().and_then(|map| read(map, key)) else {
                anyhow::bail!(
                    "{place} or its key {key} was deleted, so the original cannot be restored; it is in the backup"
                );
            };
            if now.text == self.original {
                return Ok(());
            }
            anyhow::ensure!(
                now.text == self.config.text,
                "{place} was edited by another writer; it was not changed, and the original is in the backup"
            );
            match write(&api, &now, self.original, Guard::Lock(self.tools.lock)).await {
                Ok(_) => return Ok(()),
                // Another part of it was changed, such as a label: retry.
                Err(WriteError::Conflict) => {}
                Err(WriteError::Failed(error)) => {
                    anyhow::bail!("restoring the original in {place}: {error}; it has the new configuration")
                }
            }
        }
        anyhow::bail!("{place} is changed repeatedly by another writer; the original was not restored")
    }
}
