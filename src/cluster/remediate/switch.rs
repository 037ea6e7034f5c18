//! Switches one node: replaces its kube-proxy pod and verifies the mode of the new one.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, LogParams, Preconditions};
use tokio::time::Instant;

use super::pod_watch::PodWatch;
use crate::cluster::api::calls::get;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::plain;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::api::objects::{self, Node};
use crate::cluster::api::patience::patiently;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::proof::{How, Proof, Prover};
use crate::cluster::observe::node_facts;
use crate::mode::ProxyMode;
use crate::proxy_ports::ProxyPorts;
use crate::report::foreign::foreign;
use crate::sync_health::{SyncHealth, SyncState};

/// How long after its start a kube-proxy is asked first: without a probe it is ready before it listens.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// Delays before a kube-proxy that does not answer yet is asked again: the first one, doubled up to the longest.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// After this time a slow node is looked at, and again after twice the time: Kubernetes itself calls a silent node not ready
/// after 40 s (`--node-monitor-grace-period`).
const LOOK_AT_NODE: Duration = Duration::from_secs(30);
/// After this many restarts a kube-proxy counts as failed.
const RESTARTS: u32 = 2;
/// After this many failed syncs, and none that succeeded, a kube-proxy counts as failed: it tries again after 30 s or more
/// (`syncPeriod`), and the node may have no rules until then.
const FAILED_SYNCS: u64 = 3;
/// How long a ready kube-proxy may not answer port-forwards before its log is used. Where the node helper asks it on the node
/// afterwards, the log only has to say that it started.
pub const LOG_AFTER: Duration = Duration::from_secs(2);
/// The same where the log is all that there is: on a busy node, kube-proxy answers later than it logs its mode.
pub const LOG_ALONE_AFTER: Duration = Duration::from_secs(15);

/// The result of switching a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchEnd {
    /// The new pod runs the mode.
    Proved(Box<PodFacts>, How),
    /// The node was deleted.
    Gone,
    /// The node is not ready; it is skipped.
    NotReady,
    /// It runs this mode, from which it goes by way of another one; it is skipped.
    OtherLeg(ProxyMode),
    /// The new pod runs another mode, or crashes.
    Failed(String),
    /// The new pod was not verified in time.
    TimedOut(String),
}

/// Replaces pods and verifies the new ones.
pub struct Switcher {
    pods: Api<objects::Pod>,
    logs: Api<Pod>,
    nodes: Api<Node>,
    prover: Prover,
    watch: PodWatch,
    timeout: Duration,
    log_after: Duration,
    lock: Lock,
}

impl Switcher {
    /// For kube-proxy's pods; `ports` are its own, `timeout` the time for verifying a new pod, in which the log counts after
    /// `log_after`; `lock` is checked before a pod is deleted.
    pub fn new(
        connection: &Connection,
        kube_proxy: &KubeProxy,
        ports: ProxyPorts,
        (timeout, log_after): (Duration, Duration),
        lock: &Lock,
    ) -> Self {
        let client = &connection.client;
        Self {
            pods: Api::namespaced_with(client.clone(), &kube_proxy.namespace, &objects::pods()),
            logs: Api::namespaced(client.clone(), &kube_proxy.namespace),
            nodes: Api::all_with(client.clone(), &objects::nodes()),
            prover: Prover::new(connection, &kube_proxy.namespace, ports, connection.refusals),
            watch: PodWatch::start(connection, kube_proxy),
            timeout,
            log_after,
            lock: lock.clone(),
        }
    }

    /// Replaces the pod on a node and waits until the new one runs `mode`. Without an old pod, it only waits.
    ///
    /// # Errors
    /// If the pod cannot be deleted, or the node cannot be read.
    pub async fn switch(&self, node: &str, old: Option<&PodFacts>, mode: ProxyMode) -> anyhow::Result<SwitchEnd> {
        if let Some(end) = self.look_at(node).await? {
            return Ok(end);
        }
        if let Some(old) = old {
            self.delete(old).await?;
        }
        let what = format!("kube-proxy on {node} to run {mode}");
        let waited = self.wait(node, old.map(|pod| pod.uid.as_str()), mode);
        let end = patiently(&what, Some(self.timeout), waited).await?;
        Ok(match (end, old) {
            // It was ready before, and the new mode may be the reason that it is not any more.
            (SwitchEnd::NotReady, Some(old)) => {
                SwitchEnd::Failed(format!("the node became NotReady after kube-proxy pod {} was replaced", old.name))
            }
            (end, _) => end,
        })
    }

    /// kube-proxy's present pod on a node, if the watch knows one.
    pub fn present(&self, node: &str) -> Option<PodFacts> {
        self.watch.successor(node, None)
    }

    /// Queries the mode of the kube-proxy in a pod; `None` if it does not answer with one.
    pub async fn ask(&self, pod: &str) -> Option<ProxyMode> {
        self.prover.prove_by_process(pod).await.mode
    }

    /// Deletes a pod, but not a later one of the same name.
    async fn delete(&self, pod: &PodFacts) -> anyhow::Result<()> {
        let preconditions = Preconditions { uid: Some(pod.uid.clone()), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        match Guard::Lock(&self.lock).write(async || self.pods.delete(&pod.name, &params).await).await {
            Ok(_) => Ok(()),
            // Already gone, or replaced by another.
            Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
            Err(error) => Err(anyhow::anyhow!("deleting pod {} on node {}: {error}", pod.name, pod.node)),
        }
    }

    /// Why a node cannot be switched: it is not ready, or was deleted.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn look_at(&self, node: &str) -> anyhow::Result<Option<SwitchEnd>> {
        let found = get(&self.nodes, node).await;
        let found = found.map_err(|error| anyhow::anyhow!("reading node {node}: {}", plain(&error)))?;
        Ok(match found {
            None => Some(SwitchEnd::Gone),
            Some(found) if found.metadata.deletion_timestamp.is_some() => Some(SwitchEnd::Gone),
            Some(found) if !node_facts(&found, true).ready => Some(SwitchEnd::NotReady),
            Some(_) => None,
        })
    }

    async fn wait(&self, node: &str, old: Option<&str>, mode: ProxyMode) -> anyhow::Result<SwitchEnd> {
        let deadline = Instant::now() + self.timeout;
        let (started, mut look) = (Instant::now(), LOOK_AT_NODE);
        let mut asked: Option<Instant> = None;
        let mut again = ASK_AGAIN[0];
        let mut last = "no new pod was created".to_owned();
        loop {
            let found = self.watch.successor(node, old);
            if let Some(pod) = found.clone() {
                if let Some(trouble) = self.trouble(&pod).await {
                    return Ok(SwitchEnd::Failed(trouble));
                }
                last = match (&pod.waiting, pod.ready) {
                    (Some(reason), _) => format!("pod {} is waiting: {reason}", pod.name),
                    (None, false) => format!("pod {} is {} and not ready", pod.name, pod.phase),
                    (None, true) => {
                        if asked.is_none() {
                            tokio::time::sleep(ASK_AFTER).await;
                        }
                        let since = asked.get_or_insert_with(Instant::now).elapsed();
                        let proof = self.prove(&pod, since >= self.log_after).await;
                        if let Some(end) = judge(&pod, &proof, mode) {
                            return Ok(end);
                        }
                        // Not the node's fault, so it has not failed, and there is nothing to roll back for.
                        anyhow::ensure!(
                            !proof.refused,
                            "verifying pod {} on node {node}: {}",
                            pod.name,
                            proof.reason.unwrap_or_default()
                        );
                        let why = proof.trouble().or(proof.reason).unwrap_or_default();
                        format!("pod {}: {why}", pod.name)
                    }
                };
            }
            if Instant::now() >= deadline {
                // The cause may be a node that is not ready any more.
                let end = self.look_at(node).await?;
                return Ok(end.unwrap_or_else(|| {
                    SwitchEnd::TimedOut(format!("not verified within {:?}: {last}", self.timeout))
                }));
            }
            if started.elapsed() >= look {
                if let Some(end) = self.look_at(node).await? {
                    return Ok(end);
                }
                look *= 2;
            }
            let pause = if asked.is_some() { again } else { ASK_AGAIN[1] };
            again = if asked.is_some() { (again * 2).min(ASK_AGAIN[1]) } else { again };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.watch.succeeded(node, old, found.as_ref()) => {}
            }
        }
    }

    async fn prove(&self, pod: &PodFacts, by_log_too: bool) -> Proof {
        if by_log_too {
            return self.prover.prove(pod).await;
        }
        self.prover.prove_by_process(&pod.name).await
    }

    /// Whether a pod will not recover, with kube-proxy's last log line.
    async fn trouble(&self, pod: &PodFacts) -> Option<String> {
        let looping =
            pod.restarts >= RESTARTS || (pod.restarts > 0 && pod.waiting.as_deref() == Some("CrashLoopBackOff"));
        if !looping {
            return None;
        }
        let words = self.last_words(pod).await.map(|words| format!(": {words}")).unwrap_or_default();
        Some(format!("kube-proxy is crashing in pod {} ({} restarts){words}", pod.name, pod.restarts))
    }

    async fn last_words(&self, pod: &PodFacts) -> Option<String> {
        let params = LogParams {
            container: Some(pod.container.clone()),
            previous: true,
            tail_lines: Some(20),
            ..LogParams::default()
        };
        let log = tokio::time::timeout(Duration::from_secs(5), self.logs.logs(&pod.name, &params)).await.ok()?.ok()?;
        let telling = |line: &&str| {
            line.to_ascii_lowercase().contains("can't use the ipvs proxier") || line.starts_with(['E', 'F'])
        };
        let line = log.lines().rfind(telling).or(log.lines().last())?;
        Some(foreign(line))
    }

    /// Whether a verified pod still runs `mode` after the settle time, verified in the same way.
    ///
    /// # Errors
    /// If the node cannot be read.
    pub async fn settles(
        &self,
        (proved, how): (&PodFacts, How),
        mode: ProxyMode,
        settle: Duration,
    ) -> anyhow::Result<SwitchEnd> {
        let what = format!("{} to keep its mode", proved.node);
        patiently(&what, Some(settle), self.keeps(proved, how, mode, settle)).await
    }

    async fn keeps(&self, proved: &PodFacts, how: How, mode: ProxyMode, settle: Duration) -> anyhow::Result<SwitchEnd> {
        let deadline = Instant::now() + settle;
        while Instant::now() < deadline {
            let now = self.watch.successor(&proved.node, None);
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = self.watch.succeeded(&proved.node, None, now.as_ref()) => {}
            }
            if let Some(end) = self.changed(proved).await {
                return Ok(end);
            }
        }
        // Its log only says how it was started: its first sync may take its time.
        let synced_by = Instant::now() + if how == How::Log { self.timeout } else { Duration::ZERO };
        loop {
            let proof = match how {
                How::ProxyMode => self.prover.prove_by_process(&proved.name).await,
                How::Log => self.prover.prove(proved).await,
            };
            if let Some(end) = self.changed(proved).await {
                return Ok(end);
            }
            anyhow::ensure!(
                !proof.refused,
                "verifying pod {} on node {}: {}",
                proved.name,
                proved.node,
                proof.reason.unwrap_or_default()
            );
            if let Some(end) = judge(proved, &proof, mode) {
                return Ok(end);
            }
            let waits = proof.mode == Some(mode) && proof.sync.is_some_and(|sync| sync.state == SyncState::Never);
            if waits && Instant::now() < synced_by {
                tokio::time::sleep(ASK_AGAIN[1]).await;
                continue;
            }
            let why = match proof.trouble() {
                Some(trouble) => trouble,
                None => format!("it does not answer with its mode any more: {}", proof.reason.unwrap_or_default()),
            };
            let why = format!("pod {}: {why}", proved.name);
            return Ok(if waits { SwitchEnd::TimedOut(why) } else { SwitchEnd::Failed(why) });
        }
    }

    async fn changed(&self, proved: &PodFacts) -> Option<SwitchEnd> {
        let now = self.watch.successor(&proved.node, None);
        match now {
            Some(now) if now.uid == proved.uid && now.restarts == proved.restarts && now.ready => None,
            Some(now) if now.uid == proved.uid => {
                let words = self.last_words(&now).await.map(|words| format!(": {words}")).unwrap_or_default();
                Some(SwitchEnd::Failed(format!(
                    "kube-proxy crashed in pod {} ({} restarts){words}",
                    now.name, now.restarts
                )))
            }
            _ => match self.look_at(&proved.node).await {
                Ok(Some(end)) => Some(end),
                _ => Some(SwitchEnd::Failed(format!("pod {} was replaced by another client", proved.name))),
            },
        }
    }
}

/// The result of a verification; `None` while the mode is unverified, or its rules are not written yet.
fn judge(pod: &PodFacts, proof: &Proof, mode: ProxyMode) -> Option<SwitchEnd> {
    match (proof.mode, proof.how) {
        (Some(runs), Some(_)) if runs == mode && proof.trouble().is_some() => {
            let why = proof.trouble().filter(|_| proof.sync.is_some_and(never_will))?;
            Some(SwitchEnd::Failed(format!("pod {}: {why}", pod.name)))
        }
        (Some(runs), Some(how)) if runs == mode => Some(SwitchEnd::Proved(Box::new(pod.clone()), how)),
        (Some(runs), Some(_)) => {
            let silent = if mode.traits().needs_modules { " (kube-proxy up to 1.25 falls back silently)" } else { "" };
            Some(SwitchEnd::Failed(format!("pod {} runs {runs}, not {mode}{silent}", pod.name)))
        }
        _ => None,
    }
}

/// Whether waiting for the first sync is hopeless.
fn never_will(sync: SyncHealth) -> bool {
    sync.state == SyncState::Never && sync.failures >= FAILED_SYNCS
}
