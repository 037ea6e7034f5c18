//! The rollout: the canary alone, then a window of nodes in progress, the next begun when one is verified; then nodes that
//! joined during the rollout.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;

use super::interrupt::Interrupt;
use super::roll_end::{NodeEnd, RollEnd};
use super::switch::SwitchEnd;
use super::tools::{Pace, Tools, WrittenConfig};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::work::{Cleaned, NoBridge};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::proof::How;
use crate::cluster::observe::facts::NodeFacts;
use crate::cluster::observe::{list_nodes, list_pods, node_facts, place_pods};
use crate::cluster::report::remediation::{NodeOutcome, NodeResult};
use crate::mode::ProxyMode;
use crate::node_protocol::CleanOutcome;
use crate::report::event::What;
use crate::report::few;

/// Limit for checking whether nodes joined during the rollout; further ones are left to the next run.
const SWEEPS: usize = 5;
/// About how many Events a rollout publishes, however many nodes it has.
const EVENTS: usize = 20;

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
    /// The mode from which nodes go by way of another one: one that joined with it is left to the next run.
    pub by_way: Option<ProxyMode>,
    /// Whether the run was interrupted.
    pub interrupt: &'a Interrupt,
    /// The parts that act and report.
    pub tools: Tools<'a>,
}

/// A node to switch.
enum Todo {
    /// With the pod that was there when the plan was made.
    Planned(String),
    /// It joined, or became ready, during the rollout; with its present pod.
    Joined(String, Option<Box<PodFacts>>),
}

impl Todo {
    fn node(&self) -> &str {
        match self {
            Self::Planned(node) | Self::Joined(node, _) => node,
        }
    }
}

/// What the nodes in progress share.
struct Window<'r> {
    queue: VecDeque<Todo>,
    results: &'r mut Vec<NodeResult>,
    /// Why no further node is begun.
    end: Option<RollEnd>,
    /// Verified nodes that no Event has named yet.
    unannounced: Vec<String>,
}

impl Roll<'_> {
    /// Switches these nodes in this order, the first one alone. The outcome of each is added to `results`.
    pub async fn run(&self, nodes: Vec<String>, results: &mut Vec<NodeResult>) -> RollEnd {
        let mut queue: VecDeque<Todo> = nodes.into_iter().map(Todo::Planned).collect();
        let mut verified = false;
        for sweep in 0..=SWEEPS {
            if sweep > 0 {
                queue = match self.joined(results).await {
                    Ok(joined) if joined.is_empty() => break,
                    Ok(joined) => joined.into_iter().map(|(node, pod)| Todo::Joined(node, pod.map(Box::new))).collect(),
                    Err(error) => return RollEnd::Stopped(format!("{error:#}")),
                };
                self.tools.progress.more(queue.len());
            }
            if !verified {
                match self.canary(&mut queue, results).await {
                    Ok(canary) => verified = canary,
                    Err(end) => return end,
                }
            }
            if verified && self.pace.pause_after_canary && !queue.is_empty() {
                return RollEnd::Paused;
            }
            if let Some(end) = self.window(queue, results).await {
                return end;
            }
            queue = VecDeque::new();
        }
        RollEnd::Done
    }

    /// Switches one node alone and watches it; the next one if that is not ready. Returns whether one was verified.
    /// A canary that fails is never tolerated.
    async fn canary(&self, queue: &mut VecDeque<Todo>, results: &mut Vec<NodeResult>) -> Result<bool, RollEnd> {
        while let Some(todo) = queue.pop_front() {
            if let Some(end) = self.stop().await {
                return Err(end);
            }
            let progress = self.tools.progress;
            progress.node(What::Replacing, todo.node(), "replacing kube-proxy (canary)");
            let (node, mut end) = self.replace(todo).await;
            if let Ok(SwitchEnd::Proved(pod, how)) = &end {
                let settle = self.pace.settle;
                let state = match how {
                    How::ProxyMode => "verified",
                    How::Log => "started, by its log",
                };
                progress.node(What::Watching, &node, &format!("{} {state}; watching it for {settle:?}", self.mode));
                end = self.tools.switcher.settles((pod, *how), self.mode, settle).await;
            }
            let ended = self.clean(node.clone(), end).await;
            let verified = ended.is_verified();
            self.record(ended, 0, results)?;
            if verified {
                self.announce(&[node]).await;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Switches these nodes, no more at a time than asked. Returns why it ended early.
    async fn window(&self, queue: VecDeque<Todo>, results: &mut Vec<NodeResult>) -> Option<RollEnd> {
        let size = self.pace.at_a_time.min(queue.len());
        let window = Mutex::new(Window { queue, results, end: None, unannounced: Vec::new() });
        self.tools.progress.at_an_even_pace();
        join_all((0..size).map(|_| self.one_after_another(&window))).await;
        let window = window.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.announce(&window.unannounced).await;
        window.end
    }

    /// One place of the window: takes the next node when the last one is verified.
    async fn one_after_another(&self, window: &Mutex<Window<'_>>) {
        let open = || -> MutexGuard<'_, Window<'_>> { window.lock().unwrap_or_else(PoisonError::into_inner) };
        let is_over = |window: &Window<'_>| window.end.is_some() || window.queue.is_empty();
        loop {
            let next = {
                let mut window = open();
                if window.end.is_some() { None } else { window.queue.pop_front() }
            };
            let Some(next) = next else { return };
            if let Some(end) = self.stop().await {
                open().end.get_or_insert(end);
            }
            // Another node may have failed during that check.
            if open().end.is_some() {
                return;
            }
            if matches!(next, Todo::Planned(_)) {
                self.tools.progress.detail(What::Replacing, next.node(), "replacing kube-proxy");
            }
            let (node, end) = self.replace(next).await;
            let ended = self.clean(node, end).await;
            let (verified, node) = (ended.is_verified(), ended.node.clone());
            let (announced, over) = {
                let mut window = open();
                if let Err(end) = self.record(ended, self.pace.max_failures, window.results) {
                    // A failure is rolled back even if the run was interrupted before it.
                    let outranks = matches!((&window.end, &end), (Some(RollEnd::Interrupted), RollEnd::Failed(_)));
                    if outranks {
                        window.end = Some(end);
                    } else {
                        window.end.get_or_insert(end);
                    }
                }
                if verified {
                    window.unannounced.push(node);
                }
                let enough = window.unannounced.len() >= self.total.div_ceil(EVENTS);
                let announced = if enough { std::mem::take(&mut window.unannounced) } else { Vec::new() };
                (announced, is_over(&window))
            };
            self.announce(&announced).await;
            if !over && !self.pace.pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(self.pace.pause) => {}
                    () = self.interrupt.asked() => {}
                }
            }
        }
    }

    /// Replaces kube-proxy's pod on a node, if it must be, and verifies the new one.
    async fn replace(&self, todo: Todo) -> (String, anyhow::Result<SwitchEnd>) {
        let (node, joined) = match todo {
            Todo::Planned(node) => (node, None),
            Todo::Joined(node, pod) => (node, Some(pod)),
        };
        let switcher = self.tools.switcher;
        let Some(pod) = joined else {
            // It may have been replaced since the plan was made, by one with either configuration.
            let present = switcher.present(&node).or_else(|| self.pods.get(&node).cloned());
            let old = self.outdated(present).await;
            return self.bridged(node, old).await;
        };
        self.tools.progress.node(What::Joined, &node, "joined during the rollout");
        if let (Some(mode), Some(pod)) = (self.by_way, &pod)
            && switcher.ask(&pod.name).await == Some(mode)
        {
            return (node, Ok(SwitchEnd::OtherLeg(mode)));
        }
        let old = self.outdated(pod.map(|pod| *pod)).await;
        if let Some(cleaner) = self.tools.cleaner
            && let Err(why) = cleaner.welcome(&node).await
            && old.is_some()
        {
            let why = format!("not prepared, so its kube-proxy was not replaced: {why}");
            return (node, Ok(SwitchEnd::Failed(why)));
        }
        self.bridged(node, old).await
    }

    /// Replaces a pod once the rules that serve the node are copied.
    async fn bridged(&self, node: String, old: Option<PodFacts>) -> (String, anyhow::Result<SwitchEnd>) {
        if let (Some(_), Some(cleaner)) = (&old, self.tools.cleaner)
            && let Some(bridging) = cleaner.bridging
            && let Err(none) = cleaner.bridge(&node, self.mode, bridging.before).await
        {
            // It may be down, or have been deleted.
            if let Ok(Some(end)) = self.tools.switcher.look_at(&node).await {
                return (node, Ok(end));
            }
            match none {
                // Not the node's fault, as far as is known, so there is nothing to roll back for.
                NoBridge::NoAnswer(why) => {
                    let why =
                        anyhow::anyhow!("copying the rules of node {node}: {why}; its kube-proxy was not replaced");
                    return (node, Err(why));
                }
                NoBridge::Node(why) if bridging.must => {
                    let why = format!("its rules could not be copied, so its kube-proxy was not replaced: {why}");
                    return (node, Ok(SwitchEnd::Failed(why)));
                }
                NoBridge::Node(why) => {
                    self.tools.progress.node(
                        What::Message,
                        &node,
                        &format!("switched without a copy of its rules: {why}"),
                    );
                }
            }
        }
        let end = self.tools.switcher.switch(&node, old.as_ref(), self.mode).await;
        (node, end)
    }

    /// After the verification: waits for the new proxier's sync, checks that Services still answer, and removes the old
    /// mode's rules. If it does not sync, or a Service does not answer, the switch has failed, but not if something
    /// could not be removed.
    async fn clean(&self, node: String, end: anyhow::Result<SwitchEnd>) -> NodeEnd {
        let Ok(SwitchEnd::Proved(pod, how)) = &end else { return NodeEnd { node, end, cleaned: None } };
        let Some(cleaner) = self.tools.cleaner else {
            let end = match how {
                How::ProxyMode => end,
                How::Log => Ok(SwitchEnd::TimedOut(format!(
                    "pod {}: only its log says that it runs {}; kube-proxy itself did not answer, and the node helper, which would ask it on the node, is not used",
                    pod.name, self.mode
                ))),
            };
            return NodeEnd { node, end, cleaned: None };
        };
        let done: Cleaned = cleaner.clean(&node, Some(pod)).await;
        let why = done.detail.clone().unwrap_or_default();
        let end = match done.outcome {
            CleanOutcome::NotServing => Ok(SwitchEnd::Failed(why)),
            CleanOutcome::NotSynced => Ok(SwitchEnd::TimedOut(why)),
            _ if done.running == Some(self.mode) => end,
            // Its log only says how it was started.
            _ if *how == How::Log => {
                Ok(SwitchEnd::TimedOut(format!("only its log says that it runs {}; {why}", self.mode)))
            }
            // On the node, kube-proxy did not answer, or was not asked: it may have ended since it was verified.
            _ => self.tools.switcher.settles((pod, *how), self.mode, Duration::ZERO).await,
        };
        NodeEnd { node, end, cleaned: Some(done) }
    }

    async fn announce(&self, nodes: &[String]) {
        if !nodes.is_empty() {
            let note = format!("kube-proxy runs {} on {}", self.mode, few(nodes));
            self.tools.events.normal("NodesSwitched", note).await;
        }
    }

    /// Ready nodes that still must be switched, or whose kube-proxy was not verified yet. One that failed is not tried again.
    async fn joined(&self, results: &[NodeResult]) -> anyhow::Result<Vec<(String, Option<PodFacts>)>> {
        let client = &self.connection.client;
        let mut nodes = list_nodes(client, |node| node_facts(node, self.kube_proxy.wants(node))).await?;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        place_pods(&mut nodes, list_pods(client, self.kube_proxy).await?);
        let ends = [NodeOutcome::Proved, NodeOutcome::Already, NodeOutcome::Failed];
        let settled = |node: &NodeFacts| {
            results
                .iter()
                .any(|result| result.name == node.name && (ends.contains(&result.outcome) || result.is_for_other_leg()))
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
        let other_mode = || async { self.tools.switcher.ask(&pod.name).await.is_some_and(|mode| mode != self.mode) };
        (known || older || other_mode().await).then_some(pod)
    }
}
