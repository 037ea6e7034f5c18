//! A client with a timeout and a size limit for every answer, whatever server answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use http::{Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::credential_plugin::Plugin;
use super::token_file::TokenFile;
use crate::cluster::api::errors::Unanswered;

/// Size limit of an answer: a page of 500 objects has some megabytes, and an object at most 1.5 MiB (etcd's own limit).
const LONGEST_ANSWER: u64 = 64 << 20;
/// Size limit of a line; a watch sends one for each change.
const LONGEST_LINE: u64 = 16 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The limits and credentials of every request.
#[derive(Clone)]
pub(super) struct Bounds {
    /// The server.
    pub(super) server: String,
    /// Timeout of a request including its answer; `None` for no limit.
    pub(super) time: Option<Duration>,
    /// Credentials that may change.
    pub(super) credentials: Credentials,
}

/// The source of credentials, queried before each request.
#[derive(Clone)]
pub(super) enum Credentials {
    /// The client's own configuration.
    Fixed,
    /// A file with a bearer token.
    TokenFile(Arc<TokenFile>),
    /// An exec credential plugin, which may need its own client.
    Plugin(Arc<Plugin>),
}

/// Wraps a client.
pub(super) fn bounded(inner: Client, bounds: Bounds) -> Client {
    let namespace = inner.default_namespace().to_owned();
    Client::new(BoundedClient { inner, bounds }, namespace)
}

#[derive(Clone)]
struct BoundedClient {
    inner: Client,
    bounds: Bounds,
}

impl Service<Request<Body>> for BoundedClient {
    type Response = Response<BoundedBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<BoundedBody>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Self { inner, bounds } = self.clone();
        Box::pin(async move {
            let (inner, header) = match &bounds.credentials {
                Credentials::Fixed => (inner, None),
                Credentials::TokenFile(file) => (inner, Some(file.header().map_err(Unanswered::Credentials)?)),
                Credentials::Plugin(plugin) => plugin.current().await.map_err(Unanswered::Credentials)?,
            };
            if let Some(header) = header {
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            let endless = is_endless(&request);
            let deadline = bounds.time.map(|time| Instant::now() + time);
            let silent =
                || Unanswered::Silent { server: bounds.server.clone(), after: bounds.time.unwrap_or_default() };
            let answer = async { inner.send(request).await };
            let response = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, answer).await.map_err(|_| silent())?,
                None => answer.await,
            }?;
            if let (Credentials::Plugin(plugin), StatusCode::UNAUTHORIZED) = (&bounds.credentials, response.status()) {
                plugin.refused().await;
            }
            let limit = if endless { LONGEST_LINE } else { LONGEST_ANSWER };
            // After a protocol switch there is no body.
            Ok(response.map(|body| BoundedBody {
                body,
                left: limit,
                lines: endless,
                deadline: deadline.filter(|_| !endless).map(|deadline| Box::pin(tokio::time::sleep_until(deadline))),
                silent: silent(),
                too_long: Unanswered::TooLong { server: bounds.server.clone(), limit: limit >> 20 },
            }))
        })
    }
}

/// Whether the request has no timeout: a watch, or an upgraded connection.
fn is_endless(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    watches
        || request.headers().contains_key(UPGRADE)
        || request.headers().get(CONNECTION).is_some_and(|c| c == "Upgrade")
}

struct BoundedBody {
    body: Body,
    /// Remaining bytes of the answer, or of the current line.
    left: u64,
    lines: bool,
    deadline: Option<Pin<Box<Sleep>>>,
    silent: Unanswered,
    too_long: Unanswered,
}

impl BoundedBody {
    fn takes(&mut self, data: &Bytes) -> bool {
        let mut length = data.len();
        if self.lines
            && let Some(end) = data.iter().rposition(|byte| *byte == b'\n')
        {
            self.left = LONGEST_LINE;
            length -= end + 1;
        }
        match self.left.checked_sub(u64::try_from(length).unwrap_or(u64::MAX)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Some(Err(Box::new(self.silent.clone()))));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        if frame.data_ref().is_some_and(|data| !self.takes(data)) {
            return Poll::Ready(Some(Err(Box::new(self.too_long.clone()))));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
