//! Rollback: restores the original text byte for byte, then switches the pods back, verifying each.

use std::collections::BTreeMap;

use futures::StreamExt as _;
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
use crate::report::event::{Event, What};
use crate::report::few_long;

/// The inputs of a rollback.
pub struct Rollback<'a> {
    /// The API server.
    pub connection: &'a Connection,
    /// kube-proxy.
    pub kube_proxy: &'a KubeProxy,
    /// The configuration that this run wrote.
    pub config: WrittenConfig<'a>,
    /// The text to restore.
    pub original: &'a str,
    /// Its name in messages.
    pub what: &'a str,
    /// The pods at the time of planning, by node.
    pub planned: &'a BTreeMap<String, PodFacts>,
    /// The mode of the original.
    pub mode: Option<ProxyMode>,
    /// Number of nodes at a time.
    pub at_a_time: usize,
    /// The parts that act and report.
    pub tools: Tools<'a>,
}

impl Rollback<'_> {
    /// Restores the original and then switches these nodes, in this order, to the given modes.
    ///
    /// # Errors
    /// What could not be restored, and the current state.
    pub async fn run(&self, nodes: &[(String, ProxyMode)], results: &mut Vec<NodeResult>) -> anyhow::Result<()> {
        self.restore().await?;
        self.tools.progress.tell(&Event::new(What::RollingBack, &format!("{} was restored", self.what)));
        let pods = list_pods(&self.connection.client, self.kube_proxy).await.map_err(|error| {
            anyhow::anyhow!("{} was restored, but no kube-proxy was replaced: {error:#}", self.what)
        })?;
        let mut nodes = nodes.to_vec();
        for node in self.by_themselves(&pods, &nodes) {
            if !results.iter().any(|result| result.name == node.0) {
                results.push(NodeResult::new(&node.0, NodeOutcome::NotReached));
            }
            nodes.push(node);
        }
        let present = |node: &str| -> Option<&PodFacts> {
            pods.iter().filter(|pod| pod.node == node && !pod.deleting).max_by_key(|pod| pod.created)
        };
        let mut failures = Vec::new();
        self.tools.progress.only(nodes.len());
        let work = nodes.iter().map(|(node, mode)| async move {
            self.tools.progress.detail(What::Replacing, node, "rolling back");
            if let (Some(_), Some(cleaner)) = (present(node), self.tools.cleaner)
                && let Err(none) = cleaner.bridge(node, *mode, cleaner.ports).await
            {
                // The old mode must come back, with a gap or without.
                let why = none.into_reason();
                self.tools.progress.node(
                    What::Message,
                    node,
                    &format!("rolled back without a copy of its rules: {why}"),
                );
            }
            let end = self.tools.switcher.switch(node, present(node), *mode).await;
            let cleaned = match (&end, self.tools.cleaner) {
                (Ok(SwitchEnd::Proved(pod, _)), Some(cleaner)) => Some(cleaner.clean(node, Some(pod)).await),
                _ => None,
            };
            (node, *mode, end, cleaned)
        });
        let mut all = std::pin::pin!(futures::stream::iter(work).buffer_unordered(self.at_a_time));
        while let Some((node, mode, end, cleaned)) = all.next().await {
            let broken = cleaned.as_ref().filter(|done| !done.is_verified());
            let (outcome, detail) = match end {
                // It runs, and its Services are not served.
                Ok(SwitchEnd::Proved(..)) if let Some(done) = broken => (NodeOutcome::Failed, done.detail.clone()),
                Ok(SwitchEnd::Proved(..)) => (NodeOutcome::RolledBack, None),
                Ok(SwitchEnd::Gone) => (NodeOutcome::Gone, None),
                Ok(SwitchEnd::OtherLeg(_)) => (NodeOutcome::NotReached, None),
                Ok(SwitchEnd::NotReady) => {
                    // Of the nodes that this run has switched, each must run the old mode again.
                    let was = results.iter().find(|result| result.name == *node).map(|result| result.outcome);
                    if matches!(was, Some(NodeOutcome::Proved | NodeOutcome::Failed | NodeOutcome::Already)) {
                        failures.push(format!("{node}: NotReady, so its kube-proxy was not replaced"));
                    }
                    (NodeOutcome::NotReady, None)
                }
                Ok(SwitchEnd::Failed(why) | SwitchEnd::TimedOut(why)) => (NodeOutcome::Failed, Some(why)),
                Err(error) => (NodeOutcome::Failed, Some(format!("{error:#}"))),
            };
            if let (NodeOutcome::Failed, Some(why)) = (outcome, &detail) {
                failures.push(format!("{node}: {why}"));
            }
            let (what, text) = match outcome {
                NodeOutcome::RolledBack => (What::RolledBack, format!("{mode} verified again")),
                NodeOutcome::Failed => (What::Failed, format!("FAILED: {}", detail.as_deref().unwrap_or_default())),
                _ => (What::Skipped, "no pod to roll back".to_owned()),
            };
            let verified = (outcome == NodeOutcome::RolledBack).then(|| mode.name());
            self.tools.progress.node_done(what, node, verified, &text);
            if let Some(result) = results.iter_mut().find(|result| result.name == *node) {
                // The original failure is kept: that is what the operator must fix.
                let before = result.detail.take().filter(|_| result.outcome == NodeOutcome::Failed);
                result.detail = detail.or(before);
                result.mode = verified;
                result.outcome = outcome;
                result.cleaned = cleaned.or(result.cleaned.take());
            }
        }
        anyhow::ensure!(
            failures.is_empty(),
            "{} was restored, but its mode is not verified on every node: {}",
            self.what,
            few_long(&failures)
        );
        Ok(())
    }

    /// The nodes whose kube-proxy was started since the plan was made, but not by this run: they may have read the new
    /// configuration, such as one that joined.
    fn by_themselves(&self, pods: &[PodFacts], known: &[(String, ProxyMode)]) -> Vec<(String, ProxyMode)> {
        let Some(mode) = self.mode else { return Vec::new() };
        let started = |pod: &&PodFacts| {
            let before = self.planned.get(&pod.node);
            let same = before.is_some_and(|before| before.uid == pod.uid && before.restarts == pod.restarts);
            !pod.deleting && !same && !known.iter().any(|(node, _)| *node == pod.node)
        };
        let mut nodes: Vec<_> = pods.iter().filter(started).map(|pod| (pod.node.clone(), mode)).collect();
        nodes.sort_by(|a, b| a.0.cmp(&b.0));
        nodes.dedup_by(|a, b| a.0 == b.0);
        nodes
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
