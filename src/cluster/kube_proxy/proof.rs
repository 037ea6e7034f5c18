//! Verifies the effective mode of a kube-proxy with the running process: a port-forward to the pod and `GET /proxyMode`;
//! if that fails, by its log; else it is unverified, with the reason.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, Portforwarder};
use serde::Serialize;

use super::answers::{self, Answers};
use super::log_lines::{LoggedMode, logged_mode};
use super::pod::PodFacts;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::{is_transient, plain};
use crate::cluster::api::patience::patiently;
use crate::cluster::api::streams::{AT_A_TIME, NotOpened, Refusals, Streams, Unopened};
use crate::mode::ProxyMode;
use crate::proxy_ports::ProxyPorts;
use crate::report::foreign::{foreign, shortened};
use crate::sync_health::SyncHealth;

/// Timeout of a port-forward; the answer is one word from the kubelet's machine.
const PATIENCE: Duration = Duration::from_secs(8);
/// Timeout of the health port, which a node may not open to itself.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);
/// How much of a log is read: the mode is in its first lines.
const LOG_BYTES: i64 = 128 * 1024;

/// How a mode was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// The process answered `GET /proxyMode`.
    ProxyMode,
    /// The log of the process's start contains it.
    Log,
}

/// The result of verifying a kube-proxy's effective mode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// The mode, if verified.
    pub mode: Option<ProxyMode>,
    /// How it was verified.
    pub how: Option<How>,
    /// Why it is unverified, or not verified by `/proxyMode`.
    pub reason: Option<String>,
    /// By its log, it fell back from ipvs to iptables.
    pub fallback: bool,
    /// Whether it writes its rules; `None` if it was not asked, or its metrics could not be read.
    pub sync: Option<SyncHealth>,
    /// The API server refused to connect to it, so that nothing is known about it.
    pub refused: bool,
}

impl Proof {
    /// Unverified, with the reason.
    pub fn missing(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }

    /// Why it does not write its rules, although it answers; `None` if it does, or was not asked.
    pub fn trouble(&self) -> Option<String> {
        (self.how == Some(How::ProxyMode)).then(|| match &self.sync {
            Some(sync) => sync.trouble(),
            None => {
                Some("kube-proxy's metrics could not be read, so it is not known whether it syncs its rules".to_owned())
            }
        })?
    }

    fn by(mode: ProxyMode, how: How) -> Self {
        Self { mode: Some(mode), how: Some(how), ..Self::default() }
    }
}

/// Verifies kube-proxies.
#[derive(Clone)]
pub struct Prover {
    pods: Api<Pod>,
    ports: ProxyPorts,
    streams: Streams,
    /// How long refusals of the API server are waited out.
    patience: Duration,
}

impl Prover {
    /// For the pods of one namespace, and kube-proxy's ports. `patience`: how long it is waited for an API server that
    /// refuses connections to nodes.
    pub fn new(connection: &Connection, namespace: &str, ports: ProxyPorts, patience: Duration) -> Self {
        let pods = Api::namespaced(connection.client.clone(), namespace);
        Self { pods, ports, streams: connection.streams.clone(), patience }
    }

    /// Verifies the effective mode of the kube-proxy in a pod; by its log if the process does not answer.
    pub async fn prove(&self, pod: &PodFacts) -> Proof {
        let proof = self.prove_by_process(&pod.name).await;
        let Some(reason) = proof.reason else { return proof };
        match self.read_log(pod).await {
            Ok(by_log) => Proof { reason: Some(reason), ..by_log },
            Err(log_reason) => Proof { reason: Some(format!("{reason}; {log_reason}")), ..proof },
        }
    }

    /// The same without its log.
    pub async fn prove_by_process(&self, pod: &str) -> Proof {
        match self.ask(pod).await {
            Ok((mode, sync)) => Proof { sync, ..Proof::by(mode, How::ProxyMode) },
            Err(NotOpened::Refused(why)) => Proof { refused: true, ..Proof::missing(why) },
            Err(NotOpened::Failed(why)) => Proof::missing(why),
        }
    }

    /// Verifies many, [`AT_A_TIME`] in parallel; in the given order. The second part: whether the node is ready; of others no
    /// more is expected than one try.
    pub async fn prove_all(&self, pods: &[(&PodFacts, bool)]) -> Vec<Proof> {
        let once = Self { patience: Duration::ZERO, ..self.clone() };
        let prove = |(pod, ready): &(&PodFacts, bool)| {
            let (prover, pod) = (if *ready { self.clone() } else { once.clone() }, (*pod).clone());
            async move { prover.prove(&pod).await }
        };
        let all = futures::stream::iter(pods.iter().map(prove)).buffered(AT_A_TIME).collect();
        patiently(&format!("the modes of {} kube-proxies", pods.len()), None, all).await
    }

    /// Which of these fell back from ipvs to iptables, by their logs; in the given order.
    pub async fn fell_back(&self, pods: &[PodFacts]) -> Vec<bool> {
        let logs = pods.iter().map(|pod| async { self.read_log(pod).await.is_ok_and(|proof| proof.fallback) });
        futures::stream::iter(logs).buffered(AT_A_TIME).collect().await
    }

    /// Asks the process itself.
    async fn ask(&self, pod: &str) -> Result<(ProxyMode, Option<SyncHealth>), NotOpened> {
        let ProxyPorts { metrics, healthz } = self.ports;
        let healthz = Some(healthz).filter(|healthz| *healthz != metrics);
        let answers = match self.forwarded(pod, healthz).await? {
            // A kubelet may end all when it cannot connect to one of the ports, and its message may be lost.
            Err(Unanswered { closed: true, .. }) if healthz.is_some() => self.forwarded(pod, None).await?,
            answers => answers,
        };
        let answers = answers.map_err(|unanswered| NotOpened::Failed(unanswered.why))?;
        let unknown = |_| NotOpened::Failed(format!("GET /proxyMode answered {:?}", shortened(&answers.mode, 60)));
        Ok((answers.mode.trim().parse().map_err(unknown)?, answers.sync))
    }

    /// What it answers through one port-forward; to the health port too, if that is given.
    async fn forwarded(&self, pod: &str, healthz: Option<u16>) -> Result<Result<Answers, Unanswered>, NotOpened> {
        let port = self.ports.metrics;
        let silent = || format!("port-forward: no answer within {} s", PATIENCE.as_secs());
        let ports: Vec<u16> = [port].into_iter().chain(healthz).collect();
        let mut refusals = Refusals::within(self.patience);
        let opened = self.streams.open(&mut refusals, async || {
            let forward = tokio::time::timeout(PATIENCE, self.pods.portforward(pod, &ports)).await;
            Ok(forward.map_err(|_| Unopened::Failed(silent()))??)
        });
        let (forward, _turn) = opened.await.map_err(|not| match not {
            NotOpened::Failed(why) if why == silent() => NotOpened::Failed(why),
            NotOpened::Failed(why) => NotOpened::Failed(format!("port-forward to {port}: {why}")),
            NotOpened::Refused(why) => NotOpened::Refused(format!("port-forward to {port}: {why}")),
        })?;
        let answers = tokio::time::timeout(PATIENCE, answers(forward, port, healthz)).await;
        Ok(answers.unwrap_or_else(|_| Err(Unanswered { why: silent(), closed: false })))
    }

    async fn read_log(&self, pod: &PodFacts) -> Result<Proof, String> {
        let params = LogParams {
            container: Some(pod.container.clone()),
            limit_bytes: Some(LOG_BYTES),
            timestamps: true,
            ..LogParams::default()
        };
        // One retry only: the API server reports an unreachable kubelet as a transient error.
        let read = async {
            match self.pods.logs(&pod.name, &params).await {
                Err(error) if is_transient(&error) => self.pods.logs(&pod.name, &params).await,
                result => result,
            }
        };
        let log = tokio::time::timeout(PATIENCE, read);
        let log = log.await.map_err(|_| "log: no answer".to_owned())?.map_err(|e| format!("log: {}", plain(&e)))?;
        match logged_mode(&log, pod.started) {
            LoggedMode::Mode(mode) => Ok(Proof::by(mode, How::Log)),
            LoggedMode::Fallback => Ok(Proof { fallback: true, ..Proof::by(ProxyMode::Iptables, How::Log) }),
            LoggedMode::Refused => Err("log: kube-proxy cannot run ipvs and exits".to_owned()),
            LoggedMode::Nothing => Err("log: mode not found (pod just started, or log rotated)".to_owned()),
        }
    }
}

/// Why there is no answer.
struct Unanswered {
    why: String,
    /// Whether the connection was closed.
    closed: bool,
}

async fn answers(mut forward: Portforwarder, port: u16, healthz: Option<u16>) -> Result<Answers, Unanswered> {
    let result = match forward.take_stream(port) {
        Some(stream) => {
            // The one to the health port may never answer, where kube-proxy listens on another address.
            let health = async {
                match healthz.and_then(|healthz| forward.take_stream(healthz)) {
                    Some(stream) => tokio::time::timeout(HEALTH_PATIENCE, answers::ask_health(stream)).await.ok()?,
                    None => None,
                }
            };
            let (asked, is_healthy) = tokio::join!(answers::ask(stream), health);
            asked.map(|mut answers| {
                answers.sync = answers.sync.map(|sync| SyncHealth { healthy: is_healthy, ..sync });
                answers
            })
        }
        None => return Err(Unanswered { why: "port-forward: no stream".to_owned(), closed: false }),
    };
    let result = match result {
        Ok(answers) if answers.status.is_success() => Ok(answers),
        Ok(answers) => {
            let why = format!("GET /proxyMode on port {port} answered {}", answers.status);
            Err(Unanswered { why, closed: false })
        }
        Err(error) => {
            // A message of the kubelet, if any, is better than "connection closed".
            let message = foreign(&refused(&mut forward, port).await.unwrap_or_else(|| error.to_string()));
            Err(Unanswered { why: format!("port-forward to {port}: {message}"), closed: true })
        }
    };
    // Only then the connection is closed, and the turn can be another's.
    forward.abort();
    let _ = forward.join().await;
    result
}

/// The kubelet's message about a port, if any.
async fn refused(forward: &mut Portforwarder, port: u16) -> Option<String> {
    let message = forward.take_error(port)?;
    tokio::time::timeout(Duration::from_millis(50), message).await.ok().flatten()
}
