//! Verifies the effective mode of a kube-proxy with the running process: a port-forward to the pod and `GET /proxyMode`;
//! if that fails, by its log; else it is unverified, with the reason.

use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams, Portforwarder};
use serde::Serialize;

use super::log_lines::{LoggedMode, logged_mode};
use super::pod::PodFacts;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::{is_transient, plain};
use crate::cluster::api::patience::patiently;
use crate::cluster::api::streams::{AT_A_TIME, NotOpened, Refusals, Streams, Unopened};
use crate::mode::ProxyMode;
use crate::report::foreign::{foreign, shortened};

/// Timeout of a port-forward; the answer is one word from the kubelet's machine.
const PATIENCE: Duration = Duration::from_secs(8);
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The mode, if verified.
    pub mode: Option<ProxyMode>,
    /// How it was verified.
    pub how: Option<How>,
    /// Why it is unverified, or not verified by `/proxyMode`.
    pub reason: Option<String>,
    /// By its log, it fell back from ipvs to iptables.
    pub fallback: bool,
    /// The API server refused to connect to it, so that nothing is known about it.
    pub refused: bool,
}

impl Proof {
    /// Unverified, with the reason.
    pub fn missing(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }

    fn by(mode: ProxyMode, how: How) -> Self {
        Self { mode: Some(mode), how: Some(how), ..Self::default() }
    }
}

/// Verifies kube-proxies.
#[derive(Clone)]
pub struct Prover {
    pods: Api<Pod>,
    port: u16,
    streams: Streams,
    /// How long refusals of the API server are waited out.
    patience: Duration,
}

impl Prover {
    /// For the pods of one namespace, and kube-proxy's metrics port. `patience`: how long it is waited for an API server that
    /// refuses connections to nodes.
    pub fn new(connection: &Connection, namespace: &str, port: u16, patience: Duration) -> Self {
        let pods = Api::namespaced(connection.client.clone(), namespace);
        Self { pods, port, streams: connection.streams.clone(), patience }
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
            Ok(mode) => Proof::by(mode, How::ProxyMode),
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

    /// Queries the process itself.
    ///
    /// # Errors
    /// If there was no answer, or the answer is not a mode.
    pub async fn ask(&self, pod: &str) -> Result<ProxyMode, NotOpened> {
        let silent = || format!("port-forward: no answer within {} s", PATIENCE.as_secs());
        let mut refusals = Refusals::within(self.patience);
        let opened = self.streams.open(&mut refusals, async || {
            let forward = tokio::time::timeout(PATIENCE, self.pods.portforward(pod, &[self.port])).await;
            Ok(forward.map_err(|_| Unopened::Failed(silent()))??)
        });
        let (forward, _turn) = opened.await.map_err(|not| match not {
            NotOpened::Failed(why) if why == silent() => NotOpened::Failed(why),
            NotOpened::Failed(why) => NotOpened::Failed(format!("port-forward to {}: {why}", self.port)),
            NotOpened::Refused(why) => NotOpened::Refused(format!("port-forward to {}: {why}", self.port)),
        })?;
        let answer = tokio::time::timeout(PATIENCE, self.get(forward)).await;
        let answer = answer.unwrap_or_else(|_| Err(silent())).map_err(NotOpened::Failed)?;
        let unknown = |_| NotOpened::Failed(format!("GET /proxyMode answered {:?}", shortened(&answer, 60)));
        answer.trim().parse().map_err(unknown)
    }

    async fn get(&self, mut forward: Portforwarder) -> Result<String, String> {
        let failed = |error: &dyn std::fmt::Display| format!("port-forward to {}: {error}", self.port);
        let stream = forward.take_stream(self.port).ok_or("port-forward: no stream")?;
        let refused = forward.take_error(self.port);
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let request = http::Request::get("/proxyMode")
                .header(http::header::HOST, "localhost")
                .header(http::header::CONNECTION, "close")
                .body(Empty::<Bytes>::new())
                .expect("a request of constants is valid");
            let exchange = async {
                let response = sender.send_request(request).await?;
                let status = response.status();
                let body = Limited::new(response.into_body(), 4096).collect().await;
                Ok::<_, hyper::Error>((status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
            };
            // The connection must be polled while waiting for the answer.
            let (answer, _) = futures::join!(exchange, connection);
            answer
        };
        let refused = async {
            match refused {
                Some(message) => message.await,
                None => None,
            }
        };
        let exchange: Result<_, hyper::Error> = exchange.await;
        let result = match exchange {
            Ok((http::StatusCode::OK, body)) => Ok(String::from_utf8_lossy(&body).into_owned()),
            Ok((status, _)) => Err(format!("GET /proxyMode on port {} answered {status}", self.port)),
            Err(error) => {
                // A message of the kubelet, if any, is better than "connection closed".
                let message = tokio::time::timeout(Duration::from_millis(50), refused).await.ok().flatten();
                Err(failed(&foreign(&message.unwrap_or_else(|| error.to_string()))))
            }
        };
        // Only then the connection is closed, and the turn can be another's.
        forward.abort();
        let _ = forward.join().await;
        result
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
