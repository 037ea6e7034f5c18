//! A kubelet's port-forwarding by WebSocket, and what answers behind it.
//!
//! Channel 2·i carries the data of port i, channel 2·i+1 its errors; each starts with the port as a little-endian u16.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::kube_proxy::KubeProxy;
use super::kubelet::text;
use super::stand_in::{Record, locked};

/// The protocol of kubelets until 1.29 at least; what newer clients offer beside it they do not know.
pub(crate) const PROTOCOL: &str = "v4.channel.k8s.io";

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The answer that switches to WebSocket, if that is what was asked for.
pub(crate) fn switched(headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
    let offered = header(headers, &SEC_WEBSOCKET_PROTOCOL);
    if !header(headers, &UPGRADE).eq_ignore_ascii_case("websocket")
        || offered.split(',').all(|one| one.trim() != PROTOCOL)
    {
        return None;
    }
    let accept = derive_accept_key(header(headers, &SEC_WEBSOCKET_KEY).as_bytes());
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    Some(response.body(Full::default()).expect("a response"))
}

/// Switches to WebSocket and serves what the pod runs.
pub(crate) fn answer(mut request: Request<Incoming>, record: Arc<Record>) -> Response<Full<Bytes>> {
    let Some(response) = switched(request.headers()) else {
        return text(StatusCode::BAD_REQUEST, "unable to upgrade: only WebSocket here");
    };
    let query = request.uri().query().unwrap_or_default();
    let values = query.split('&').filter_map(|pair| pair.strip_prefix("port="));
    let numbers = values.flat_map(|value| value.split("%2C").flat_map(|part| part.split(',')));
    let ports: Vec<u16> = numbers.filter_map(|port| port.parse().ok()).collect();
    if ports.is_empty() {
        return text(StatusCode::BAD_REQUEST, "query parameter \"port\" is required");
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        serve(socket, ports, record).await;
    });
    response
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

fn frame(channel: usize, bytes: &[u8]) -> Message {
    let mut frame = vec![u8::try_from(channel).unwrap_or(u8::MAX)];
    frame.extend_from_slice(bytes);
    Message::binary(frame)
}

async fn serve(mut socket: Socket, ports: Vec<u16>, record: Arc<Record>) {
    for channel in 0..2 * ports.len() {
        if socket.send(frame(channel, &ports[channel / 2].to_le_bytes())).await.is_err() {
            return;
        }
    }
    // A kubelet dials as soon as it is asked to forward, and hangs up when nobody listens.
    for (index, port) in ports.iter().enumerate() {
        if let Err(error) = listening(&record, *port) {
            let _ = socket.send(frame(2 * index + 1, error.as_bytes())).await;
            let _ = socket.close(None).await;
            return;
        }
    }
    let mut received = vec![Vec::new(); ports.len()];
    let mut open = ports.len();
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else { continue };
        let Some((channel, bytes)) = bytes.split_first() else { continue };
        let index = usize::from(*channel) / 2;
        let Some(request) = received.get_mut(index) else { continue };
        request.extend_from_slice(bytes);
        if !request.windows(4).any(|window| window == b"\r\n\r\n") {
            continue;
        }
        let close = String::from_utf8_lossy(request).to_ascii_lowercase().contains("connection: close");
        let sent = match reply(&record, ports[index], &std::mem::take(request)) {
            // In two pieces: nothing promises that an answer comes in one frame.
            Ok(reply) => {
                let (first, rest) = reply.split_at(reply.len() / 2);
                let sent = socket.send(frame(2 * index, first.as_bytes())).await;
                tokio::time::sleep(Duration::from_millis(2)).await;
                sent.and(socket.send(frame(2 * index, rest.as_bytes())).await)
            }
            Err(error) => {
                let _ = socket.send(frame(2 * index + 1, error.as_bytes())).await;
                break;
            }
        };
        // Each port has a connection of its own; with the last one all ends.
        open -= usize::from(close);
        if sent.is_err() || open == 0 {
            break;
        }
    }
    let _ = socket.close(None).await;
}

/// What listens on that port of the node, or the kubelet's message.
fn listening(record: &Record, port: u16) -> Result<KubeProxy, String> {
    let listens = |process: &KubeProxy| process.metrics_port == port || process.healthz_port == Some(port);
    let process = locked(&record.process).clone().filter(listens);
    process.ok_or_else(|| {
        format!(
            "error forwarding port {port} to pod {uid}, uid : failed to connect to localhost:{port} inside namespace: \
             dial tcp4 127.0.0.1:{port}: connect: connection refused",
            uid = record.uid
        )
    })
}

/// What comes back.
fn reply(record: &Record, port: u16, request: &[u8]) -> Result<String, String> {
    let process = listening(record, port)?;
    let request = String::from_utf8_lossy(request);
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let (status, body) = match path {
        _ if process.healthz_port == Some(port) => match process.health(path) {
            Some(status) => (status, r#"{"lastUpdated": "2026-01-01 00:00:00 +0000 UTC"}"#.to_owned()),
            None => ("404 Not Found", "404 page not found\n".to_owned()),
        },
        "/proxyMode" => ("200 OK", process.mode),
        "/metrics" => ("200 OK", process.metrics()),
        "/healthz" => ("200 OK", "ok".to_owned()),
        _ => ("404 Not Found", "404 page not found\n".to_owned()),
    };
    Ok(format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
         Date: {}\r\nContent-Length: {}\r\n\r\n{body}",
        jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT"),
        body.len()
    ))
}
