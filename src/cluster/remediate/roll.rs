//! The rollout: the canary, then batch after batch, each node verified before the next; then nodes that joined during it.

use std::collections::{BTreeMap, VecDeque};

use futures::future::{join_all, try_join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::Api;

use super::interrupt::Interrupt;
use super::switch::SwitchEnd;
use super::tools::{Pace, Tools, WrittenConfig};
use crate::cluster::api::calls::get;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::plain;
use crate::cluster::api::objects::{self, DaemonSet};
use crate::cluster::helper::work::Cleaned;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::facts::NodeFacts;
use crate::cluster::observe::{list_nodes, list_pods, node_facts, place_pods};
use crate::cluster::report::remediation::{NodeOutcome, NodeResult};
use crate::mode::ProxyMode;
use crate::node_protocol::CleanOutcome;

/// Limit for checking whether nodes joined during the rollout; further ones are left to the next run.
const SWEEPS: usize = 5;

/// The inputs of a rollout.
pub struct Roll<'a> {
    /// The API server.
    pub connection: &'a Connection,
    /// kube-proxy.
    pub kube_proxy: &'a KubeProxy,
    /// The new configuration.
    pub config: WrittenConfig<'a>,
    /// The new mode.
    pub mode: ProxyMode,
    /// The pods at the time of planning, by node.
    pub pods: BTreeMap<String, PodFacts>,
    /// Number of nodes to switch.
    pub total: usize,
    /// The pace.
    pub pace: Pace,
    /// Nodes to skip.
    pub excluded: &'a [String],
    /// Whether the run was interrupted.
    pub interrupt: &'a Interrupt,
    /// The parts that act and report.
    pub tools: Tools<'a>,
}

/// Why a rollout failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The node and the reason.
    pub why: String,
    /// Whether only its time ran out.
    pub timed_out: bool,
}

/// The end of a rollout.
#[derive(Debug)]
pub enum RollEnd {
    /// All nodes that could be switched are switched.
    Done,
    /// Paused after the canary, as requested.
    Paused,
    /// Interrupted.
    Interrupted,
    /// A node was not verified.
    Failed(Failure),
    /// Another writer interfered, or the API server failed; nothing is rolled back for that.
    Stopped(String),
}

impl Roll<'_> {
    /// Switches these nodes in this order, the first one alone. The outcome of each is added to `results`.
    pub async fn run(&self, nodes: Vec<String>, results: &mut Vec<NodeResult>) -> RollEnd {
        let mut queue: VecDeque<String> = nodes.into();
        let mut canary_proved = false;
        while !queue.is_empty() {
            if let Some(end) = self.stop().await {
                return end;
            }
            let size = if canary_proved { self.pace.batch_size } else { 1 };
            let batch: Vec<String> = queue.drain(..size.min(queue.len())).collect();
            match self.batch(&batch, canary_proved, results).await {
                Ok(proved) => canary_proved |= proved,
                Err(end) => return end,
            }
            if canary_proved && self.pace.pause_after_canary && !queue.is_empty() {
                return RollEnd::Paused;
            }
        }
        for _ in 0..SWEEPS {
            match self.newcomers(results).await {
                Ok(newcomers) if newcomers.is_empty() => break,
                Ok(newcomers) => {
                    for (node, pod) in newcomers {
                        if let Some(end) = self.stop().await {
                            return end;
                        }
                        self.tools.progress.event(&format!("{node}: joined during the rollout"));
                        if let Some(cleaner) = self.tools.cleaner
                            && let Err(why) = cleaner.welcome(&node).await
                        {
                            self.tools.progress.event(&format!("{node}: not prepared: {why}"));
                        }
                        let old = self.outdated(pod).await;
                        let end = self.tools.switcher.switch(&node, old.as_ref(), self.mode).await;
                        let (end, cleaned) = self.clean(&node, end).await;
                        if let Err(end) = self.record(&node, end, cleaned, results) {
                            return end;
                        }
                    }
                }
                Err(error) => return RollEnd::Stopped(format!("{error:#}")),
            }
        }
        RollEnd::Done
    }

    /// Switches one batch; returns whether a node of it was verified.
    async fn batch(&self, batch: &[String], settled: bool, results: &mut Vec<NodeResult>) -> Result<bool, RollEnd> {
        let canary = if settled { "" } else { "canary " };
        self.tools.progress.event(&format!("{canary}{}: replacing kube-proxy", batch.join(", ")));
        let ends = join_all(batch.iter().map(|node| async move {
            let mut end = self.tools.switcher.switch(node, self.pods.get(node), self.mode).await;
            if let (Ok(SwitchEnd::Proved(pod, how)), false) = (&end, settled) {
                self.tools
                    .progress
                    .event(&format!("{node}: {} verified; watching it for {:?}", self.mode, self.pace.settle));
                let later = self.tools.switcher.settles(pod, self.mode, self.pace.settle).await;
                end = later.map(|later| {
                    if matches!(later, SwitchEnd::Proved(..)) { SwitchEnd::Proved(pod.clone(), *how) } else { later }
                });
            }
            self.clean(node, end).await
        }))
        .await;
        let mut proved = false;
        let mut failure = None;
        for (node, (end, cleaned)) in batch.iter().zip(ends) {
            proved |= matches!(end, Ok(SwitchEnd::Proved(..)));
            if let Err(end) = self.record(node, end, cleaned, results) {
                failure.get_or_insert(end);
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let note = format!("kube-proxy runs {} on {}", self.mode, batch.join(", "));
        if proved {
            self.tools.events.normal("NodesSwitched", note).await;
        }
        Ok(proved)
    }

    /// After the verification: waits for the new proxier's sync, checks that Services still answer, and removes the old
    /// mode's rules. If it does not sync, or a Service does not answer, the switch has failed, but not if something
    /// could not be removed.
    async fn clean(&self, node: &str, end: anyhow::Result<SwitchEnd>) -> (anyhow::Result<SwitchEnd>, Option<Cleaned>) {
        let (Ok(SwitchEnd::Proved(pod, _)), Some(cleaner)) = (&end, self.tools.cleaner) else { return (end, None) };
        let done = cleaner.clean(node, Some(pod)).await;
        self.tools.progress.event(&format!("{node}: {}", done.words()));
        let why = done.detail.clone().unwrap_or_default();
        match done.outcome {
            CleanOutcome::NotServing => (Ok(SwitchEnd::Failed(why)), Some(done)),
            CleanOutcome::NotSynced => (Ok(SwitchEnd::TimedOut(why)), Some(done)),
            _ => (end, Some(done)),
        }
    }

    fn record(
        &self,
        node: &str,
        end: anyhow::Result<SwitchEnd>,
        cleaned: Option<Cleaned>,
        results: &mut Vec<NodeResult>,
    ) -> Result<(), RollEnd> {
        let failed = |why: &str, timed_out| RollEnd::Failed(Failure { why: format!("{node}: {why}"), timed_out });
        let (outcome, detail, failure) = match end {
            Ok(SwitchEnd::Proved(_, how)) => {
                let by = serde_json::to_value(how).ok().and_then(|how| Some(format!("by {}", how.as_str()?)));
                (NodeOutcome::Proved, by, None)
            }
            Ok(SwitchEnd::Gone) => (NodeOutcome::Gone, None, None),
            Ok(SwitchEnd::NotReady) => (NodeOutcome::NotReady, None, None),
            Ok(SwitchEnd::Failed(why)) => {
                let end = failed(&why, false);
                (NodeOutcome::Failed, Some(why), Some(end))
            }
            Ok(SwitchEnd::TimedOut(why)) => {
                let end = failed(&why, true);
                (NodeOutcome::Failed, Some(why), Some(end))
            }
            Err(error) => {
                let why = format!("{error:#}");
                (NodeOutcome::Failed, Some(why.clone()), Some(RollEnd::Stopped(why)))
            }
        };
        let mode = (outcome == NodeOutcome::Proved).then(|| self.mode.name());
        let word = match outcome {
            NodeOutcome::Proved => format!("{} verified", self.mode),
            NodeOutcome::Gone => "deleted during the rollout".to_owned(),
            NodeOutcome::NotReady => "NotReady; skipped".to_owned(),
            _ => format!("FAILED: {}", detail.as_deref().unwrap_or_default()),
        };
        self.tools.progress.event(&format!("{node}: {word}"));
        self.tools.progress.node_done();
        let result = NodeResult { mode, detail, cleaned, ..NodeResult::new(node, outcome) };
        match results.iter_mut().find(|result| result.name == node) {
            Some(there) => *there = result,
            None => results.push(result),
        }
        // Nodes that are already up to date or not ready are in the results from the start.
        let done =
            results.iter().filter(|result| !matches!(result.outcome, NodeOutcome::Already | NodeOutcome::NotReady));
        self.tools.lock.tell_progress(format!("node {} of {}", done.count().min(self.total), self.total));
        failure.map_or(Ok(()), Err)
    }

    /// Whether to stop before the next batch.
    async fn stop(&self) -> Option<RollEnd> {
        if self.interrupt.is_asked() {
            return Some(RollEnd::Interrupted);
        }
        if let Err(lost) = self.tools.lock.ask().await {
            return Some(RollEnd::Stopped(lost.to_string()));
        }
        match self.interference().await {
            Ok(None) => None,
            Ok(Some(what)) => Some(RollEnd::Stopped(what)),
            Err(error) => Some(RollEnd::Stopped(plain(&error))),
        }
    }

    /// Changes by another writer during the rollout.
    async fn interference(&self) -> kube::Result<Option<String>> {
        let WrittenConfig { name, key, text, .. } = self.config;
        let namespace = &self.kube_proxy.namespace;
        let maps = Api::<ConfigMap>::namespaced(self.connection.client.clone(), namespace);
        let sets =
            Api::<DaemonSet>::namespaced_with(self.connection.client.clone(), namespace, &objects::daemon_sets());
        let present = try_join_all(self.kube_proxy.sets().map(|set| get(&sets, &set.name)));
        let (map, present) = futures::try_join!(get(&maps, name), present)?;
        let now = map.and_then(|map| map.data).and_then(|mut data| data.remove(key));
        if now.as_deref() != Some(text) {
            return Ok(Some(format!("ConfigMap {namespace}/{name} was changed by another writer during the rollout")));
        }
        let is_same = |known: &KubeProxy, set: &Option<DaemonSet>| {
            set.as_ref().is_some_and(|set| {
                set.uid().as_deref() == Some(&known.uid) && set.metadata.generation == Some(known.generation)
            })
        };
        let changed = self.kube_proxy.sets().zip(&present).find(|(known, set)| !is_same(known, set));
        Ok(changed.map(|(known, _)| {
            format!("DaemonSet {namespace}/{} was changed by another writer during the rollout", known.name)
        }))
    }

    /// Ready nodes that still must be switched, or whose kube-proxy was not verified yet.
    async fn newcomers(&self, results: &[NodeResult]) -> anyhow::Result<Vec<(String, Option<PodFacts>)>> {
        let client = &self.connection.client;
        let mut nodes = list_nodes(client, |node| node_facts(node, self.kube_proxy.wants(node))).await?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        place_pods(&mut nodes, list_pods(client, self.kube_proxy).await?);
        let settled = |node: &NodeFacts| {
            let right = [NodeOutcome::Proved, NodeOutcome::Already];
            results.iter().any(|result| result.name == node.name && right.contains(&result.outcome))
        };
        let excluded = |node: &NodeFacts| self.excluded.contains(&node.name);
        nodes.retain(|node| node.ready && node.wanted && !node.windows && !settled(node) && !excluded(node));
        Ok(nodes.into_iter().map(|node| (node.name, node.pod)).collect())
    }

    /// The pod, if it must be replaced. One that was created after the write has read it and only must be verified; in the
    /// same second as the write, its mode decides.
    async fn outdated(&self, pod: Option<PodFacts>) -> Option<PodFacts> {
        let pod = pod?;
        let known = self.pods.get(&pod.node).is_some_and(|known| known.uid == pod.uid);
        let older = self.config.at.is_some_and(|written| pod.created < written);
        let other_mode = || async { self.tools.switcher.ask(&pod.name).await.is_ok_and(|mode| mode != self.mode) };
        (known || older || other_mode().await).then_some(pod)
    }
}
