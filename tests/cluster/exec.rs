//! A kubelet's exec, by WebSocket or SPDY: channel 0 is standard input, 1 and 2 are output, 3 is how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::kubelet::text;
use super::misbehaviour::Misbehaviour;
use super::port_forward::{PROTOCOL, switched};
use super::spdy::{self, Spdy};
use super::stand_in::{Record, StandIn};

/// Switches to WebSocket or SPDY and runs the command.
pub(crate) fn answer(
    nodes: Arc<StandIn>,
    mut request: Request<Incoming>,
    record: Arc<Record>,
) -> Response<Full<Bytes>> {
    let by_spdy = spdy::switched(request.headers());
    let is_spdy = by_spdy.is_some();
    let Some(response) = by_spdy.or_else(|| switched(request.headers())) else {
        return text(StatusCode::BAD_REQUEST, format!("unable to upgrade: only {PROTOCOL} here"));
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    let command: Vec<String> = words.map(decoded).collect();
    let reads = command.windows(2).any(|pair| pair == ["--services", "-"]);
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let io = TokioIo::new(upgraded);
        let streams = if is_spdy {
            Streams::Spdy(Spdy::new(io))
        } else {
            Streams::WebSocket(Box::new(WebSocketStream::from_raw_socket(io, Role::Server, None).await))
        };
        nodes.hosts.begin();
        serve(&nodes, streams, &command, reads, &record).await;
        nodes.hosts.end();
    });
    response
}

/// The streams of one command, by numbers of channels.
enum Streams<S> {
    WebSocket(Box<WebSocketStream<S>>),
    Spdy(Spdy<S>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Streams<S> {
    /// What comes next on standard input; nothing once the connection has ended.
    async fn input(&mut self) -> Option<Vec<u8>> {
        let socket = match self {
            Self::Spdy(spdy) => return spdy.input().await,
            Self::WebSocket(socket) => socket,
        };
        loop {
            match socket.next().await? {
                Ok(Message::Binary(data)) if data.first() == Some(&0) => return Some(data[1..].to_vec()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Sends data on a channel; what is `last` ends it, where it can be ended.
    async fn send(&mut self, channel: u8, data: &[u8], last: bool) {
        // A client that is gone is noticed on standard input.
        match self {
            Self::Spdy(spdy) => _ = spdy.send(channel, data, last).await,
            Self::WebSocket(_) if data.is_empty() => {}
            Self::WebSocket(socket) => _ = socket.send(Message::binary([&[channel], data].concat())).await,
        }
    }

    /// Ends the connection. What comes still is read until the other end has closed too: unread, it would have the kernel
    /// reset the connection.
    async fn close(&mut self) {
        if let Self::WebSocket(socket) = self {
            let _ = WebSocketStream::close(socket, None).await;
        }
        let rest = async { while self.input().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), rest).await;
    }
}

/// How often the command is to say that it is at work.
fn heartbeat(command: &[String]) -> Duration {
    let every = command.windows(2).find(|pair| pair[0] == "--heartbeat").expect("a heartbeat")[1].strip_suffix("ms");
    Duration::from_millis(every.and_then(|every| every.parse().ok()).expect("milliseconds"))
}

/// Of `%2F` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.expect("two digits") as char);
                u8::from_str_radix(&digits.iter().collect::<String>(), 16).expect("hexadecimal")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("text")
}

async fn serve<S>(nodes: &StandIn, mut streams: Streams<S>, command: &[String], reads: bool, record: &Record)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = Vec::new();
    // One line: no end of the input is ever told. A command that reads none is sent something too.
    while input.is_empty() || reads && !input.contains(&b'\n') {
        match tokio::time::timeout(Duration::from_secs(10), streams.input()).await {
            Ok(Some(data)) => input.extend_from_slice(&data),
            _ => return,
        }
    }
    let wrong = nodes.wrong(&record.node);
    if wrong.contains(&Misbehaviour::SilentOnce) {
        nodes.set(&record.node, &[]).await;
        while streams.input().await.is_some() {}
        return;
    }
    // What runs a while on a node.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let long = wrong.iter().find_map(|wrong| if let Misbehaviour::SlowExec(long) = wrong { Some(*long) } else { None });
    let (until, every) = (Instant::now() + long.unwrap_or_default(), heartbeat(command));
    while Instant::now() + every < until {
        tokio::time::sleep(every).await;
        streams.send(2, b"\n", false).await;
    }
    tokio::time::sleep_until(until.into()).await;
    let input = String::from_utf8(input).expect("text");
    let modes = nodes.modes();
    let mode = modes.get(&record.node).map(String::as_str);
    let mut printed = nodes.hosts.run(&record.node, command, input.lines().next().filter(|_| reads), mode, &wrong);
    if wrong.contains(&Misbehaviour::OutputLostOnce) {
        nodes.set(&record.node, &[]).await;
        printed.stdout.clear();
    }
    let status = if printed.exit == 0 {
        json!({"metadata": {}, "status": "Success"})
    } else {
        let cause = json!({"reason": "ExitCode", "message": printed.exit.to_string()});
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [cause]},
            "message": format!("command terminated with non-zero exit code: exit status {}", printed.exit),
        })
    };
    for (channel, data) in [(1, printed.stdout), (2, String::new()), (3, status.to_string())] {
        streams.send(channel, data.as_bytes(), true).await;
    }
    streams.close().await;
}
