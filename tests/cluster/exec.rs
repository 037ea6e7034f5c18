//! A kubelet's exec by WebSocket: channel 0 is standard input, 1 and 2 are output, 3 is how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::kubelet::text;
use super::misbehaviour::Misbehaviour;
use super::port_forward::{PROTOCOL, switched};
use super::stand_in::{Record, StandIn};

/// Switches to WebSocket and runs the command.
pub(crate) fn answer(
    nodes: Arc<StandIn>,
    mut request: Request<Incoming>,
    record: Arc<Record>,
) -> Response<Full<Bytes>> {
    let Some(response) = switched(request.headers()) else {
        return text(StatusCode::BAD_REQUEST, format!("unable to upgrade: only WebSocket with {PROTOCOL} here"));
    };
    let query = request.uri().query().unwrap_or_default().to_owned();
    let words = query.split('&').filter_map(|pair| pair.strip_prefix("command="));
    let command: Vec<String> = words.map(decoded).collect();
    let reads = command.windows(2).any(|pair| pair == ["--services", "-"]);
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        nodes.hosts.begin();
        serve(&nodes, socket, &command, reads, &record).await;
        nodes.hosts.end();
    });
    response
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

async fn serve<S>(nodes: &StandIn, mut socket: WebSocketStream<S>, command: &[String], reads: bool, record: &Record)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut input = Vec::new();
    // One line: no end of the input is ever told.
    while reads && !input.contains(&b'\n') {
        match tokio::time::timeout(Duration::from_secs(10), socket.next()).await {
            Ok(Some(Ok(Message::Binary(data)))) if data.first() == Some(&0) => input.extend_from_slice(&data[1..]),
            Ok(Some(Ok(_))) => {}
            _ => return,
        }
    }
    let wrong = nodes.wrong(&record.node);
    if wrong.contains(&Misbehaviour::SilentOnce) {
        nodes.set(&record.node, &[]).await;
        while let Some(Ok(_)) = socket.next().await {}
        return;
    }
    // What runs a while on a node.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let long = wrong.iter().find_map(|wrong| if let Misbehaviour::SlowExec(long) = wrong { Some(*long) } else { None });
    let (until, every) = (Instant::now() + long.unwrap_or_default(), heartbeat(command));
    while Instant::now() + every < until {
        tokio::time::sleep(every).await;
        let _ = socket.send(Message::binary(b"\x02\n".as_slice())).await;
    }
    tokio::time::sleep_until(until.into()).await;
    let input = String::from_utf8(input).expect("text");
    let modes = nodes.modes();
    let mode = modes.get(&record.node).map(String::as_str);
    let printed = nodes.hosts.run(&record.node, command, input.lines().next(), mode, &wrong);
    let status = if printed.exit == 0 {
        json!({"metadata": {}, "status": "Success"})
    } else {
        let cause = json!({"reason": "ExitCode", "message": printed.exit.to_string()});
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [cause]},
            "message": format!("command terminated with non-zero exit code: exit status {}", printed.exit),
        })
    };
    for (channel, data) in [(1, printed.stdout), (3, status.to_string())] {
        let frame = [&[channel], data.as_bytes()].concat();
        let _ = socket.send(Message::binary(frame)).await;
    }
    let _ = socket.close(None).await;
    // What comes still is read until the other end has closed too: unread, it would have the kernel reset the connection.
    let rest = async { while let Some(Ok(_)) = socket.next().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(5), rest).await;
}
