//! Carries the plan out: parks kube-proxy, waits until its pods are gone, cleans node by node.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;

use super::write::set_parked;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::helper::Helper;
use crate::cluster::helper::removal::Removal;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::{Scope, list_pods};
use crate::cluster::plan::Plan;
use crate::cluster::plan::parking::Parking;
use crate::cluster::plan::request::Request;
use crate::cluster::remediate::ended::Ended;
use crate::cluster::remediate::events::Events;
use crate::cluster::remediate::interrupt::Interrupt;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::report::event::{Event, What};
use crate::report::few_long;
use crate::report::progress::Progress;
use crate::report::say::still_waiting;

/// Poll interval.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// A plan in progress.
pub(super) struct Execution<'a> {
    pub(super) connection: &'a Connection,
    pub(super) scope: &'a Scope,
    pub(super) facts: &'a ClusterFacts,
    pub(super) kube_proxy: &'a KubeProxy,
    pub(super) plan: &'a Plan,
    pub(super) parking: &'a Parking,
    pub(super) request: &'a Request,
    /// How nodes are cleaned; `None` in a rollback.
    pub(super) removal: Option<Removal>,
    /// Runs kpx-prep on the nodes; `None` in a rollback.
    pub(super) helper: Option<&'a Helper>,
    /// Checked before every write.
    pub(super) lock: &'a Lock,
    pub(super) interrupt: &'a Interrupt,
}

impl Execution<'_> {
    /// How long pods may take to end, and kube-proxy to run again.
    pub(super) fn timeout(&self) -> Duration {
        self.plan.timeout
    }

    /// Parks kube-proxy and removes what it made.
    pub(super) async fn park(&self) -> anyhow::Result<Ended> {
        let mut report = self.report();
        if self.interrupt.is_asked() {
            return Ok(self.ended(
                report,
                Outcome::Interrupted,
                "Interrupted; nothing was changed.",
                Exit::Interrupted,
            ));
        }
        let nodes: Vec<String> = self.plan.canary.iter().chain(self.plan.batches.iter().flatten()).cloned().collect();
        let events = self.events();
        let started = format!("parking kube-proxy, and removing what it made on {} node(s)", nodes.len());
        events.normal("RemediationStarted", started.clone()).await;
        let progress = Progress::new(nodes.len());
        progress.tell(&Event { total: Some(nodes.len()), ..Event::new(What::Started, &started) });
        if let Err(why) = self.write(true, &progress).await {
            return self.failed(report, format!("{why:#}"), &progress, &events).await;
        }
        if let Err(why) = self.wait_gone().await {
            return self.failed(report, why, &progress, &events).await;
        }
        let mut rest = nodes.clone().into_iter();
        let mut paused = false;
        if let Some(canary) = rest.next().filter(|_| !self.interrupt.is_asked()) {
            let result = self.clean(&canary, &progress).await;
            let failed = (result.outcome == NodeOutcome::Failed).then(|| of(&result));
            report.nodes.push(result);
            if let Some(why) = failed {
                return self.failed(report, why, &progress, &events).await;
            }
            paused = self.request.pause_after_canary && rest.len() > 0;
        }
        if !paused {
            report.nodes.extend(self.others(rest.collect(), &progress).await);
        }
        for name in &nodes {
            if !report.nodes.iter().any(|node| node.name == *name) {
                report.nodes.push(NodeResult::new(name, NodeOutcome::NotReached));
            }
        }
        let failed: Vec<String> =
            report.nodes.iter().filter(|node| node.outcome == NodeOutcome::Failed).map(of).collect();
        if failed.len() > self.request.max_failures {
            return self.failed(report, few_long(&failed), &progress, &events).await;
        }
        progress.finish();
        Ok(self.done(report, &failed, paused, &events).await)
    }

    /// The end without a rollback.
    async fn done(&self, report: RemediationReport, failed: &[String], paused: bool, events: &Events) -> Ended {
        let count = |outcome| report.nodes.iter().filter(|node| node.outcome == outcome).count();
        let done = count(NodeOutcome::Proved) + count(NodeOutcome::Already);
        let again =
            "run the same command again to continue, or kpx-prep remediate --rollback to let kube-proxy run again";
        if count(NodeOutcome::NotReached) > 0 {
            let (outcome, word, exit, event) = if paused {
                (Outcome::Paused, "Paused after the canary", Exit::Done, "RemediationPaused")
            } else {
                (Outcome::Interrupted, "Interrupted", Exit::Interrupted, "RemediationInterrupted")
            };
            let message = format!("{word}: kube-proxy is parked, {done} node(s) are clean; {again}.");
            events.normal(event, message.clone()).await;
            return self.ended(report, outcome, &message, exit);
        }
        if !failed.is_empty() {
            let message = format!(
                "Done with failures: kube-proxy is parked, {done} node(s) are clean. {} node(s) failed: {}. Fix them; {again}.",
                failed.len(),
                few_long(failed)
            );
            events.warning("RemediationDone", message.clone()).await;
            return self.ended(report, Outcome::NodesFailed, &message, Exit::Failed);
        }
        let down = count(NodeOutcome::NotReady);
        let rest = if down > 0 {
            format!(" {down} node(s) are NotReady, run again once they are Ready.")
        } else {
            String::new()
        };
        let unclean = |node: &&NodeResult| node.cleaned.as_ref().is_some_and(|cleaned| !cleaned.is_clean());
        let dirty = report.nodes.iter().filter(unclean).count();
        let message =
            format!("Done: kube-proxy is parked; another data plane is verified to serve on {done} node(s).{rest}");
        events.normal("RemediationDone", message.clone()).await;
        if dirty > 0 {
            let message = format!(
                "{message} Something of kube-proxy remains on {dirty} node(s); run the same command again to remove it."
            );
            return self.ended(report, Outcome::LeftoversRemain, &message, Exit::TimedOut);
        }
        self.ended(report, Outcome::Done, &message, Exit::Done)
    }

    pub(super) fn report(&self) -> RemediationReport {
        RemediationReport::new(self.plan, Outcome::Done, "")
    }

    pub(super) fn events(&self) -> Events {
        Events::new(self.connection.client.clone(), self.kube_proxy, self.lock)
    }

    pub(super) fn ended(&self, mut report: RemediationReport, outcome: Outcome, message: &str, exit: Exit) -> Ended {
        report.outcome = outcome;
        message.clone_into(&mut report.message);
        report.parking = Some(self.parking.clone());
        Ended { report, exit }
    }

    /// Parks every `DaemonSet`, or lets them run again.
    pub(super) async fn write(&self, park: bool, progress: &Progress) -> anyhow::Result<()> {
        for set in self.kube_proxy.sets() {
            if set_parked(&self.connection.client, set, park, Guard::Lock(self.lock)).await? {
                let now = if park { "parked" } else { "no longer parked" };
                let text = format!("DaemonSet {}/{}: {now}", set.namespace, set.name);
                progress.tell(&Event::new(What::Message, &text));
            }
        }
        Ok(())
    }

    /// Waits until the pods on all ready nodes are gone. Those of a node that is down stay until it is back.
    async fn wait_gone(&self) -> Result<(), String> {
        let ready = |node: &str| self.facts.nodes.iter().any(|known| known.name == node && known.ready);
        let deadline = Instant::now() + self.timeout();
        loop {
            let pods =
                list_pods(&self.connection.client, self.kube_proxy).await.map_err(|error| format!("{error:#}"))?;
            let left: Vec<_> = pods.into_iter().filter(|pod| ready(&pod.node)).map(|pod| pod.node).collect();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("kube-proxy's pods do not end: {}", few_long(&left)));
            }
            still_waiting(&format!("{} kube-proxy pod(s) to end", left.len()), None);
            tokio::time::sleep(PAUSE.min(self.timeout())).await;
        }
    }

    /// The nodes after the canary, so many at a time; none is begun after too many failures, or an interrupt.
    async fn others(&self, nodes: Vec<String>, progress: &Progress) -> Vec<NodeResult> {
        let failed = AtomicUsize::new(0);
        let failed = &failed;
        let work = nodes.into_iter().map(|node| async move {
            let stops = self.interrupt.is_asked() || failed.load(Ordering::Relaxed) > self.request.max_failures;
            if stops || self.lock.lost().is_some() {
                return NodeResult::new(&node, NodeOutcome::NotReached);
            }
            let result = self.clean(&node, progress).await;
            failed.fetch_add(usize::from(result.outcome == NodeOutcome::Failed), Ordering::Relaxed);
            if !self.request.batch_pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(self.request.batch_pause) => {}
                    () = self.interrupt.asked() => {}
                }
            }
            result
        });
        futures::stream::iter(work).buffer_unordered(self.plan.batch_size).collect().await
    }

    async fn clean(&self, node: &str, progress: &Progress) -> NodeResult {
        let mut result = NodeResult::new(node, NodeOutcome::Failed);
        let (Some(helper), Some(removal)) = (self.helper, &self.removal) else { return result };
        let removed = helper.remove_all(node, removal, false).await;
        if removed.serves {
            result.outcome = NodeOutcome::Proved;
            let text = format!("{} is served without kube-proxy, {}", removal.service, removed.cleaned.words());
            progress.node_done(What::Verified, node, None, &text);
            result.cleaned = Some(removed.cleaned);
        } else {
            result.detail = removed.cleaned.detail;
            let why = result.detail.as_deref().unwrap_or("no answer");
            progress.node_done(What::Failed, node, None, why);
        }
        result
    }

    pub(super) async fn failed(
        &self,
        report: RemediationReport,
        why: String,
        progress: &Progress,
        events: &Events,
    ) -> anyhow::Result<Ended> {
        let ended = self.back(report, &why, progress, events).await;
        progress.finish();
        ended.context("rolling back")
    }
}

/// A failed node with its reason.
fn of(node: &NodeResult) -> String {
    format!("{}: {}", node.name, node.detail.as_deref().unwrap_or_default())
}
