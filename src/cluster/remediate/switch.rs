//! One node: its kube-proxy pod is replaced, and the new one proves its mode.

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
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::proof::{How, Proof, Prover};
use crate::cluster::observe::node_facts;
use crate::mode::ProxyMode;
use crate::report::foreign::foreign;
use crate::report::say::patiently;

/// How soon a kube-proxy that does not answer yet is asked again: often while it starts, then with patience.
const ASK_AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];
/// How often a node that takes its time is looked at.
const LOOK_AT_NODE_EVERY: Duration = Duration::from_secs(5);
/// A kube-proxy that was started this often again will not recover.
const RESTARTS: u32 = 2;
/// How long a ready kube-proxy may leave port-forwards unanswered before its log may speak.
const LOG_AFTER: Duration = Duration::from_secs(2);

/// What became of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwitchEnd {
    /// The new pod runs the mode.
    Proved(Box<PodFacts>, How),
    /// The node was deleted meanwhile.
    Gone,
    /// The node is down; it is left as it is.
    NotReady,
    /// The new pod runs something else, or crashes.
    Failed(String),
    /// The new pod was not proved in time.
    TimedOut(String),
}

/// Replaces pods and proves the new ones.
pub struct Switcher {
    pods: Api<objects::Pod>,
    logs: Api<Pod>,
    nodes: Api<Node>,
    prover: Prover,
    watch: PodWatch,
    timeout: Duration,
    lock: Lock,
}

impl Switcher {
    /// For kube-proxy's pods; `port` is where it tells its mode, `timeout` how long a new pod may take to be verified, `lock`
    /// what is asked before a pod is deleted.
    pub fn new(connection: &Connection, kube_proxy: &KubeProxy, port: u16, timeout: Duration, lock: &Lock) -> Self {
        let client = &connection.client;
        Self {
            pods: Api::namespaced_with(client.clone(), &kube_proxy.namespace, &objects::pods()),
            logs: Api::namespaced(client.clone(), &kube_proxy.namespace),
            nodes: Api::all_with(client.clone(), &objects::nodes()),
            prover: Prover::new(client.clone(), &kube_proxy.namespace, port),
            watch: PodWatch::start(connection, kube_proxy),
            timeout,
            lock: lock.clone(),
        }
    }

    /// Replaces the pod on a node and waits until the new one runs `mode`. Without an old pod, only the waiting.
    ///
    /// # Errors
    /// If the pod cannot be deleted, or the node not be read.
    pub async fn switch(&self, node: &str, old: Option<&PodFacts>, mode: ProxyMode) -> anyhow::Result<SwitchEnd> {
        if let Some(end) = self.look_at(node).await? {
            return Ok(end);
        }
        if let Some(old) = old {
            self.delete(old).await?;
        }
        let what = format!("kube-proxy on {node} to run {mode}");
        patiently(&what, Some(self.timeout), self.wait(node, old.map(|pod| pod.uid.as_str()), mode)).await
    }

    /// Asks the kube-proxy in a pod for its mode.
    ///
    /// # Errors
    /// Why it does not tell.
    pub async fn ask(&self, pod: &str) -> Result<ProxyMode, String> {
        self.prover.ask(pod).await
    }

    /// Deletes a pod, but not one of the same name that came after it.
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

    async fn look_at(&self, node: &str) -> anyhow::Result<Option<SwitchEnd>> {
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
        let mut looked = Instant::now();
        let mut asked: Option<Instant> = None;
        let mut last = "no new pod appeared".to_owned();
        loop {
            if let Some(pod) = self.watch.successor(node, old) {
                if let Some(trouble) = self.trouble(&pod).await {
                    return Ok(SwitchEnd::Failed(trouble));
                }
                last = match (&pod.waiting, pod.ready) {
                    (Some(reason), _) => format!("pod {} waits: {reason}", pod.name),
                    (None, false) => format!("pod {} is {} and not ready", pod.name, pod.phase),
                    (None, true) => {
                        let since = asked.get_or_insert_with(Instant::now).elapsed();
                        let proof = self.prove(&pod, since >= LOG_AFTER).await;
                        if let Some(end) = judge(&pod, &proof, mode) {
                            return Ok(end);
                        }
                        format!("pod {}: {}", pod.name, proof.reason.unwrap_or_default())
                    }
                };
            }
            if Instant::now() >= deadline {
                // A node that went down meanwhile explains it.
                let end = self.look_at(node).await?;
                return Ok(
                    end.unwrap_or_else(|| SwitchEnd::TimedOut(format!("not proved within {:?}: {last}", self.timeout)))
                );
            }
            if looked.elapsed() >= LOOK_AT_NODE_EVERY {
                if let Some(end) = self.look_at(node).await? {
                    return Ok(end);
                }
                looked = Instant::now();
            }
            let starting = asked.is_some_and(|asked| asked.elapsed() < LOG_AFTER);
            tokio::select! {
                () = tokio::time::sleep(if starting { ASK_AGAIN[0] } else { ASK_AGAIN[1] }) => {}
                () = self.watch.changed() => {}
            }
        }
    }

    async fn prove(&self, pod: &PodFacts, by_log_too: bool) -> Proof {
        if by_log_too {
            return self.prover.prove(pod).await;
        }
        match self.prover.ask(&pod.name).await {
            Ok(mode) => Proof { mode: Some(mode), how: Some(How::ProxyMode), ..Proof::default() },
            Err(reason) => Proof::missing(reason),
        }
    }

    /// Whether a pod will not recover, with kube-proxy's last words.
    async fn trouble(&self, pod: &PodFacts) -> Option<String> {
        let looping =
            pod.restarts >= RESTARTS || (pod.restarts > 0 && pod.waiting.as_deref() == Some("CrashLoopBackOff"));
        if !looping {
            return None;
        }
        let words = self.last_words(pod).await.map(|words| format!(": {words}")).unwrap_or_default();
        Some(format!("kube-proxy crashes in pod {} ({} restarts){words}", pod.name, pod.restarts))
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

    /// Whether a proved pod still runs `mode` after a while.
    ///
    /// # Errors
    /// If the node cannot be read.
    pub async fn settles(&self, proved: &PodFacts, mode: ProxyMode, settle: Duration) -> anyhow::Result<SwitchEnd> {
        let what = format!("the canary {} to keep its mode", proved.node);
        patiently(&what, Some(settle), self.keeps(proved, mode, settle)).await
    }

    async fn keeps(&self, proved: &PodFacts, mode: ProxyMode, settle: Duration) -> anyhow::Result<SwitchEnd> {
        let deadline = Instant::now() + settle;
        while Instant::now() < deadline {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = self.watch.changed() => {}
            }
            if let Some(end) = self.changed(proved).await {
                return Ok(end);
            }
        }
        let proof = self.prover.prove(proved).await;
        if let Some(end) = self.changed(proved).await {
            return Ok(end);
        }
        Ok(judge(proved, &proof, mode).unwrap_or_else(|| {
            SwitchEnd::Failed(format!(
                "pod {} does not tell its mode any more: {}",
                proved.name,
                proof.reason.unwrap_or_default()
            ))
        }))
    }

    async fn changed(&self, proved: &PodFacts) -> Option<SwitchEnd> {
        let now = self.watch.successor(&proved.node, None);
        match now {
            Some(now) if now.uid == proved.uid && now.restarts == proved.restarts && now.ready => None,
            Some(now) if now.uid == proved.uid => {
                let words = self.last_words(&now).await.map(|words| format!(": {words}")).unwrap_or_default();
                Some(SwitchEnd::Failed(format!(
                    "kube-proxy did not last in pod {} ({} restarts){words}",
                    now.name, now.restarts
                )))
            }
            _ => match self.look_at(&proved.node).await {
                Ok(Some(end)) => Some(end),
                _ => Some(SwitchEnd::Failed(format!("pod {} was replaced by someone else", proved.name))),
            },
        }
    }
}

/// What a proof means for a node; nothing while there is none.
fn judge(pod: &PodFacts, proof: &Proof, mode: ProxyMode) -> Option<SwitchEnd> {
    match (proof.mode, proof.how) {
        (Some(runs), Some(how)) if runs == mode => Some(SwitchEnd::Proved(Box::new(pod.clone()), how)),
        (Some(runs), Some(_)) => {
            let silent =
                if mode == ProxyMode::Ipvs { " (kube-proxy up to 1.25 falls back without a word)" } else { "" };
            Some(SwitchEnd::Failed(format!("pod {} runs {runs}, not {mode}{silent}", pod.name)))
        }
        _ => None,
    }
}
