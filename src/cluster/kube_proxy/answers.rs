//! What a running kube-proxy answers on its ports, through a port-forward: its mode, whether it syncs, and whether it is healthy.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sync_health::{HEALTH_PATHS, SyncHealth, full_sync_seconds, healthy, is_about_syncs, sync_health};

/// Size limit of a mode.
const LONGEST_MODE: usize = 4096;
/// Size limit of all metrics: those of a kube-proxy have some hundred KiB.
const LONGEST_METRICS: usize = 16 << 20;
/// Size limits of the lines about syncs, of which there are a dozen.
const LONGEST_LINE: usize = 1024;
const MOST_LINES: usize = 64;

/// The answers of a kube-proxy.
#[derive(Debug)]
pub struct Answers {
    /// The status of `GET /proxyMode`.
    pub status: http::StatusCode,
    /// Its body.
    pub mode: String,
    /// What its metrics say; `None` if they could not be read.
    pub sync: Option<SyncHealth>,
}

/// Asks for the mode and then for the metrics, on one connection.
///
/// # Errors
/// If there is no answer to the first question.
pub async fn ask<S>(stream: S) -> hyper::Result<Answers>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    conversation(stream, async |mut sender| {
        let response = send(&mut sender, "/proxyMode", false).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_MODE).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mode = String::from_utf8_lossy(&body).into_owned();
        let sync = if status.is_success() { metrics(&mut sender).await } else { None };
        Ok(Answers { status, mode, sync })
    })
    .await
}

/// Asks on the health port whether it is healthy; `None` if it does not say.
pub async fn ask_health<S>(stream: S) -> Option<bool>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = conversation(stream, async |mut sender| {
        for (at, path) in HEALTH_PATHS.iter().enumerate() {
            let response = send(&mut sender, path, at + 1 == HEALTH_PATHS.len()).await?;
            let healthy = healthy(response.status().as_u16());
            // Read to its end, so that the next question can be asked.
            let _ = Limited::new(response.into_body(), LONGEST_MODE).collect().await;
            if healthy.is_some() {
                return Ok(healthy);
            }
        }
        Ok(None)
    });
    answer.await.ok().flatten()
}

async fn conversation<S, T>(
    stream: S,
    questions: impl AsyncFnOnce(SendRequest<Empty<Bytes>>) -> hyper::Result<T>,
) -> hyper::Result<T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    let questions = questions(sender);
    // The connection must be polled while waiting for the answers. Once it has ended, they end, too.
    let (mut questions, mut connection) = (std::pin::pin!(questions), std::pin::pin!(connection));
    let mut ended = false;
    loop {
        tokio::select! {
            biased;
            answers = &mut questions => return answers,
            _ = &mut connection, if !ended => ended = true,
        }
    }
}

async fn send(
    sender: &mut SendRequest<Empty<Bytes>>,
    path: &str,
    last: bool,
) -> hyper::Result<http::Response<Incoming>> {
    let request = http::Request::get(path)
        .header(http::header::HOST, "localhost")
        .header(http::header::CONNECTION, if last { "close" } else { "keep-alive" })
        .body(Empty::<Bytes>::new())
        .expect("a request of constants is valid");
    sender.send_request(request).await
}

/// Reads the metrics and keeps the lines about syncs only. The time is that of the answer, by kube-proxy's clock.
async fn metrics(sender: &mut SendRequest<Empty<Bytes>>) -> Option<SyncHealth> {
    let response = send(sender, "/metrics", true).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let date = response.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let now = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp().as_duration().as_secs_f64());
    let mut body = Limited::new(response.into_body(), LONGEST_METRICS);
    let mut lines = Lines::default();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            lines.add(&data);
        }
    }
    let kept = lines.end();
    Some(SyncHealth { full_sync_seconds: full_sync_seconds(&kept), ..sync_health(&kept, now) })
}

/// The lines about syncs.
#[derive(Debug, Default)]
struct Lines {
    kept: String,
    count: usize,
    line: Vec<u8>,
}

impl Lines {
    fn add(&mut self, data: &[u8]) {
        for part in data.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        if is_about_syncs(&line) && self.count < MOST_LINES {
            self.kept.push_str(line.trim_end());
            self.kept.push('\n');
            self.count += 1;
        }
        self.line.clear();
    }

    fn end(mut self) -> String {
        self.finish();
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::sync_health::SyncState;

    const NAME: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";

    #[test]
    fn only_lines_about_syncs_are_kept() {
        let mut lines = Lines::default();
        let text = format!("# HELP {NAME} x\ngo_goroutines 5\n{NAME} 1\n{}\n{NAME}{{a=\"b\"}} 2", "x".repeat(1 << 20));
        for piece in text.as_bytes().chunks(7) {
            lines.add(piece);
        }
        assert_eq!(lines.end(), format!("{NAME} 1\n{NAME}{{a=\"b\"}} 2\n"));
        let mut many = Lines::default();
        many.add(format!("{NAME} 1\n").repeat(1000).as_bytes());
        assert_eq!(many.end().lines().count(), MOST_LINES);
    }

    /// The answers to some questions, and how many were asked.
    async fn asked(answers: &[&str]) -> hyper::Result<Answers> {
        let (here, mut there) = tokio::io::duplex(1 << 16);
        let answers: Vec<String> = answers.iter().map(ToString::to_string).collect();
        let server = tokio::spawn(async move {
            let mut request = [0; 4096];
            for answer in answers {
                let _ = there.read(&mut request).await;
                let _ = there.write_all(answer.as_bytes()).await;
            }
        });
        let result = ask(here).await;
        let _ = server.await;
        result
    }

    #[tokio::test]
    async fn mode_and_metrics_on_one_connection() {
        let answer = |body: &str| {
            let date = "Date: Mon, 23 Nov 2026 10:00:00 GMT";
            format!("HTTP/1.1 200 OK\r\n{date}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let syncs = "kubeproxy_sync_proxy_rules_duration_seconds";
        let (mode, metrics) = (answer("ipvs"), answer(&format!("{NAME} 1.795428e9\n{syncs}_sum 5\n{syncs}_count 2\n")));
        let both = asked(&[&mode, &metrics]).await.expect("answers");
        assert_eq!((both.status.as_u16(), both.mode.as_str()), (200, "ipvs"));
        let sync = both.sync.expect("metrics");
        assert_eq!((sync.state, sync.age_seconds), (SyncState::Synced, Some(0)));
        assert_eq!(sync.full_sync_seconds, Some(2.5));
        // It ends after the first answer, or does not know the second path.
        let first = asked(&[&mode]).await.expect("an answer");
        assert!(first.mode == "ipvs" && first.sync.is_none());
        let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert!(asked(&[&mode, missing]).await.expect("an answer").sync.is_none());
        assert_eq!(asked(&[missing]).await.expect("an answer").status.as_u16(), 404);
        assert!(asked(&[]).await.is_err());
    }
}
