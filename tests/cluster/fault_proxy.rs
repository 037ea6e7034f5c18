//! Stands between kpx-prep and the API server: counts what passes, and makes things go wrong at a chosen request.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::cluster_state::Cluster;
use super::kpx_prep::Run;
use super::refusals::{as_refused, page_of_a_proxy, refusal, status};
use super::request::Asked;
use super::stand_in::locked;

/// What happens to a request.
pub(crate) enum Fault {
    None,
    /// The API server is not asked; this status is the answer.
    Answer(u16),
    /// So many connections to nodes may be open; more are refused, in one of the ways in which that is done.
    Busy(usize),
    /// A watch begins, only to tell that it would have begun too long ago.
    ExpiredWatch,
    /// The connection ends, before or after the API server got the request.
    Close(When),
    /// The program ends.
    Kill(When),
    /// Something else happens first.
    Meanwhile(BoxFuture<'static, ()>),
    /// The program is stopped (SIGSTOP) before or after the API server gets the request, goes on once this has happened, and
    /// only then gets the answer.
    Freeze(When, BoxFuture<'static, ()>),
}

/// Relative to the API server getting the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Decides about the n-th request, counted from 1.
pub(crate) type Decide = Box<dyn Fn(usize, &Asked) -> Fault + Send + Sync>;

struct Shared {
    client: Client,
    decide: Decide,
    seen: Mutex<Vec<Asked>>,
    /// What a kill ends.
    target: Mutex<Option<Pid>>,
    /// How many objects a list may hold; else as asked.
    page: Option<u32>,
    streams: Mutex<Streams>,
}

/// Connections to nodes: port-forwarding and exec.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streams {
    pub(crate) open: usize,
    pub(crate) most: usize,
    pub(crate) refused: usize,
}

/// A connection to a node.
struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        locked(&self.0.streams).open -= 1;
    }
}

/// The proxy; it ends when dropped.
pub(crate) struct FaultProxy {
    shared: Arc<Shared>,
    kubeconfig: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cluster {
    /// A proxy before this cluster's API server.
    pub(crate) async fn proxy(&self, decide: impl Fn(usize, &Asked) -> Fault + Send + Sync + 'static) -> FaultProxy {
        self.paging_proxy(None, decide).await
    }

    /// One that lets lists have so many objects a page only.
    pub(crate) async fn paging_proxy(
        &self,
        page: Option<u32>,
        decide: impl Fn(usize, &Asked) -> Fault + Send + Sync + 'static,
    ) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        let kubeconfig = self.folder.join(format!("proxy-{}.conf", address.port()));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: proxy\n\
             clusters: [{{name: proxy, cluster: {{server: \"http://{address}\"}}}}]\n\
             users: [{{name: proxy, user: {{}}}}]\n\
             contexts: [{{name: proxy, context: {{cluster: proxy, user: proxy}}}}]\n"
        );
        fs::write(&kubeconfig, text).expect("a kubeconfig");
        let (seen, target) = (Mutex::default(), Mutex::default());
        let (client, decide, streams) = (self.client.clone(), Box::new(decide), Mutex::default());
        let shared = Arc::new(Shared { client, decide, seen, target, page, streams });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        FaultProxy { shared, kubeconfig, task }
    }
}

impl FaultProxy {
    /// The cluster as seen through it.
    pub(crate) fn cluster(&self, cluster: &Cluster) -> Cluster {
        cluster.through(self.kubeconfig.clone())
    }

    /// The process that a kill ends.
    pub(crate) fn aims_at(&self, run: &Run) {
        *locked(&self.shared.target) = Some(run.id());
    }

    /// What has passed so far.
    pub(crate) fn seen(&self) -> Vec<Asked> {
        locked(&self.shared.seen).clone()
    }

    /// The connections to nodes so far.
    pub(crate) fn streams(&self) -> Streams {
        *locked(&self.shared.streams)
    }

    /// How often each verb was used on each resource.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for asked in self.seen() {
            *counts.entry(asked.to_string()).or_default() += 1;
        }
        counts
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Faults end it with an error, on purpose.
            let _ = connection.with_upgrades().await;
        });
    }
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> io::Result<Response<Body>> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(parts, body);
    let asked = Asked::of(&request);
    let number = {
        let mut seen = locked(&shared.seen);
        seen.push(asked.clone());
        seen.len()
    };
    match (shared.decide)(number, &asked) {
        Fault::Answer(status) => Ok(refusal(status)),
        Fault::Busy(at_most) if asked.is_stream() && shared.is_busy(at_most) => Ok(match number % 5 {
            0 => refusal(429),
            // Of something in front of the API server, in its own words.
            1 => page_of_a_proxy(502),
            2 => page_of_a_proxy(504),
            3 => refusal(503),
            _ => as_refused(500, "unable to upgrade connection: too many streams"),
        }),
        Fault::None | Fault::Busy(_) => forward(&shared, request, upgrade).await,
        Fault::ExpiredWatch => {
            let event = json!({"type": "ERROR", "object": status(410)}).to_string() + "\n";
            let response = Response::builder().header(CONTENT_TYPE, "application/json");
            Ok(response.body(Body::from(event.into_bytes())).expect("a response"))
        }
        Fault::Close(When::Before) => Err(io::Error::other("closed on purpose")),
        Fault::Close(When::After) => {
            swallow(&shared, request, upgrade).await;
            Err(io::Error::other("closed on purpose"))
        }
        Fault::Kill(when) => {
            if when == When::After {
                swallow(&shared, request, upgrade).await;
            }
            shared.signal(Signal::SIGKILL).await;
            Err(io::Error::other("nobody to answer"))
        }
        Fault::Meanwhile(what) => {
            what.await;
            forward(&shared, request, upgrade).await
        }
        Fault::Freeze(when, what) => {
            shared.signal(Signal::SIGSTOP).await;
            if when == When::Before {
                what.await;
                shared.signal(Signal::SIGCONT).await;
                return forward(&shared, request, upgrade).await;
            }
            let answer = forward(&shared, request, upgrade).await;
            what.await;
            shared.signal(Signal::SIGCONT).await;
            answer
        }
    }
}

/// The API server gets the request and nobody its answer. A watch or an upgrade has no end to wait for.
async fn swallow(shared: &Arc<Shared>, request: Request<Bytes>, upgrade: OnUpgrade) {
    let asked = Asked::of(&request);
    if let Ok(response) = forward(shared, request, upgrade).await
        && asked.verb != "watch"
        && asked.resource != "pods/portforward"
    {
        let _ = response.into_body().collect().await;
    }
}

async fn forward(shared: &Arc<Shared>, request: Request<Bytes>, upgrade: OnUpgrade) -> io::Result<Response<Body>> {
    let counted = Asked::of(&request).is_stream().then(|| shared.count());
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    parts.extensions.clear();
    if let (Some(page), Some(query)) = (shared.page, parts.uri.query()) {
        let short = |pair: &str| if pair.starts_with("limit=") { format!("limit={page}") } else { pair.to_owned() };
        let query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(short).collect();
        parts.uri = format!("{}?{}", parts.uri.path(), query.join("&")).parse().expect("a URI");
    }
    let body = body.to_vec();
    let mut response =
        shared.client.send(Request::from_parts(parts, Body::from(body))).await.map_err(io::Error::other)?;
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = (upgrade.await, server.await) {
                let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
            drop(counted);
        });
    }
    Ok(response)
}

impl Shared {
    /// Whether another connection to a node would be too much.
    fn is_busy(&self, at_most: usize) -> bool {
        let mut streams = locked(&self.streams);
        let busy = streams.open >= at_most;
        streams.refused += usize::from(busy);
        busy
    }

    /// Counts a connection to a node from its request to its end.
    fn count(self: &Arc<Self>) -> Counted {
        let mut streams = locked(&self.streams);
        streams.open += 1;
        streams.most = streams.most.max(streams.open);
        Counted(Arc::clone(self))
    }

    /// The program may send its first request before the test knows its process.
    async fn signal(&self, signal: Signal) {
        loop {
            if let Some(target) = *locked(&self.target) {
                // It may have ended by itself.
                let _ = kill(target, signal);
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
