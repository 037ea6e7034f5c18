//! A client that waits for no answer longer than it was told to, and reads no more of one than makes sense, no matter who answers.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{AUTHORIZATION, CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use crate::boot_clock::BootInstant;

/// The most of one answer: a page of 500 objects has some megabytes, and an object at most 1.5 MiB (etcd's own limit).
const LONGEST_ANSWER: u64 = 64 << 20;
/// The most of one line, which a watch sends for each change.
const LONGEST_LINE: u64 = 16 << 20;
/// How soon a token's file is read again, as client-go does it (`transport/token_source.go`).
const TOKEN_AGE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an answer was not waited for or read any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The time for one question is over.
    #[error("{server} did not answer within {after:?} (--request-timeout)")]
    Silent {
        /// Who was asked.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer has no end.
    #[error("{server} answered with more than {limit} MiB: that is not read")]
    TooLong {
        /// Who was asked.
        server: String,
        /// What was read at most.
        limit: u64,
    },
    /// The bearer token cannot be read.
    #[error("reading the token file {0}: {1}")]
    Token(PathBuf, String),
}

/// What is demanded of every question.
#[derive(Clone)]
pub(super) struct Bounds {
    /// Who is asked.
    pub(super) server: String,
    /// How long one question may take, answer included; nothing for no limit.
    pub(super) time: Option<Duration>,
    /// A file with a bearer token, read again and again.
    pub(super) token: Option<Arc<TokenFile>>,
}

/// A bearer token in a file, which may change.
pub(super) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(BootInstant, HeaderValue)>>,
}

impl TokenFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The header with it. White space around the token, such as the end of the line, does not count.
    pub(super) fn header(&self) -> Result<HeaderValue, Unanswered> {
        let mut read = self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((since, header)) = read.as_ref().filter(|(since, _)| since.elapsed() < TOKEN_AGE) {
            let _ = since;
            return Ok(header.clone());
        }
        let failed = |why: String| Unanswered::Token(self.path.clone(), why);
        let text = match (std::fs::read_to_string(&self.path), read.as_ref()) {
            (Ok(text), _) => text,
            // It may have been removed on purpose; the last token stays valid (kubernetes/kubernetes#68164).
            (Err(_), Some((_, header))) => return Ok(header.clone()),
            (Err(error), None) => return Err(failed(error.to_string())),
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        let mut header = header.map_err(|_| failed("it does not hold a token in one line".to_owned()))?;
        header.set_sensitive(true);
        *read = Some((BootInstant::now(), header.clone()));
        Ok(header)
    }
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
            if let Some(token) = &bounds.token {
                request.headers_mut().insert(AUTHORIZATION, token.header()?);
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
            let limit = if endless { LONGEST_LINE } else { LONGEST_ANSWER };
            // What was switched to another protocol has no body.
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

/// A watch goes on until it ends by itself; so does a connection that becomes another.
fn is_endless(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
    watches
        || request.headers().contains_key(UPGRADE)
        || request.headers().get(CONNECTION).is_some_and(|c| c == "Upgrade")
}

struct BoundedBody {
    body: Body,
    /// Of the answer, or of its present line.
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

/// Why the answer was not waited for, if that is what an error is about.
pub fn unanswered(error: &kube::Error) -> Option<&Unanswered> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<Unanswered>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_the_file_says_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "abc.def\n").unwrap();
        let file = TokenFile::new(path.clone());
        assert_eq!(file.header().unwrap(), "Bearer abc.def");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(file.header().unwrap(), "Bearer abc.def", "the last one goes on to count");
        for (text, why) in
            [("", "it is empty"), (" \n", "it is empty"), ("a\nb\n", "it does not hold a token in one line")]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(TokenFile::new(path.clone()).header(), Err(Unanswered::Token(path.clone(), why.to_owned())));
        }
    }
}
