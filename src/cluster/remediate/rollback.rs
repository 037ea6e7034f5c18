//! The way back: the original text byte for byte, then the pods that were switched, each proved.

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::roll::{Tools, WrittenConfig};
use super::switch::SwitchEnd;
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

/// What goes back to what.
pub struct Rollback<'a> {
    /// The API server.
    pub connection: &'a Connection,
    /// kube-proxy.
    pub kube_proxy: &'a KubeProxy,
    /// The configuration that this run wrote.
    pub config: WrittenConfig<'a>,
    /// The text that was there before.
    pub original: &'a str,
    /// How many nodes at a time.
    pub batch_size: usize,
    /// What acts and reports.
    pub tools: Tools<'a>,
}

impl Rollback<'_> {
    /// Puts the original back and then switches these nodes, in this order, to the mode that each is to have.
    ///
    /// # Errors
    /// What could not be put back, and what stands now.
    pub async fn run(&self, nodes: &[(String, ProxyMode)], results: &mut [NodeResult]) -> anyhow::Result<()> {
        self.restore().await?;
        self.tools.progress.event("the original configuration is back");
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
                    NodeOutcome::RolledBack => format!("{node}: {mode} proved again"),
                    _ => format!("{node}: {}", detail.as_deref().unwrap_or("not there to be rolled back")),
                });
                if let Some(result) = results.iter_mut().find(|result| result.name == *node) {
                    // Why it failed before stays: that is what the operator has to fix.
                    result.detail = detail.or(result.detail.take());
                    result.mode = (outcome == NodeOutcome::RolledBack).then(|| mode.name());
                    result.outcome = outcome;
                    result.cleaned = cleaned.or(result.cleaned.take());
                }
            }
        }
        anyhow::ensure!(
            failures.is_empty(),
            "the original configuration is back, but the old mode is not proved everywhere: {}",
            failures.join("; ")
        );
        Ok(())
    }

    async fn restore(&self) -> anyhow::Result<()> {
        let WrittenConfig { name, key, .. } = self.config;
        let place = format!("ConfigMap {}/{name}", self.kube_proxy.namespace);
        let api = Api::<ConfigMap>::namespaced(self.connection.client.clone(), &self.kube_proxy.namespace);
        for _ in 0..3 {
            let now = get(&api, name).await.map_err(|error| {
                anyhow::anyhow!("reading {place}: {}; it holds the new configuration", plain(&error))
            })?;
            let Some(now) = now.as_ref().and_then(|map| read(map, key)) else {
                anyhow::bail!("{place} is gone, or its key {key}: there is nothing to put the original back into");
            };
            if now.text == self.original {
                return Ok(());
            }
            anyhow::ensure!(
                now.text == self.config.text,
                "{place} was edited by somebody else meanwhile: it is left as it is, and the original stays in the backup"
            );
            match write(&api, &now, self.original, Guard::Lock(self.tools.lock)).await {
                Ok(_) => return Ok(()),
                // Something else of it was changed, such as a label: look again.
                Err(WriteError::Conflict) => {}
                Err(WriteError::Failed(error)) => {
                    anyhow::bail!("putting the original back into {place}: {error}; it holds the new configuration")
                }
            }
        }
        anyhow::bail!("{place} is changed again and again by somebody else: the original was not put back")
    }
}
