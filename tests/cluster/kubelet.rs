//! What the API server asks a kubelet for, over TLS: logs, port-forwarding and exec. One port serves all nodes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::exec;
use super::misbehaviour::{Misbehaviour, SILENT};
use super::port_forward;
use super::stand_in::{Record, StandIn, locked};

/// With this certificate and key.
pub(crate) fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(&fs::read(certificate).expect("a certificate")).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key).expect("a key")).expect("PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate and its key");
    TlsAcceptor::from(Arc::new(config))
}

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, nodes: Arc<StandIn>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, nodes) = (acceptor.clone(), Arc::clone(&nodes));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(Arc::clone(&nodes), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Ends with an error when a node that is down does not answer, or when the other side goes.
            let _ = connection.with_upgrades().await;
        });
    }
}

/// An answer in plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// Whether kube-proxy does not listen yet.
fn is_silent(record: &Record, wrong: &[Misbehaviour]) -> bool {
    let since = jiff::Timestamp::now().duration_since(*locked(&record.started)).unsigned_abs();
    !Misbehaviour::first_sync(wrong).is_zero() && since < SILENT
}

async fn answer(nodes: Arc<StandIn>, request: Request<Incoming>) -> std::io::Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let words: Vec<&str> = path.split('/').skip(1).collect();
    let [what, namespace, name, ..] = words[..] else { return Ok(text(StatusCode::NOT_FOUND, "404 page not found")) };
    let Some(record) = nodes.pod(namespace, name) else {
        return Ok(text(StatusCode::NOT_FOUND, format!("pod \"{name}\" does not exist\n")));
    };
    let wrong = nodes.wrong(&record.node);
    if wrong.contains(&Misbehaviour::Down) {
        // Nobody there: first nothing, then an end without an answer.
        tokio::time::sleep(Duration::from_secs(2)).await;
        return Err(std::io::Error::other("the node is down"));
    }
    Ok(match what {
        "containerLogs" => logs(&record, request.uri().query().unwrap_or_default()),
        "portForward" if wrong.contains(&Misbehaviour::RefusesPortForward) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "unable to do port forwarding: socat not found")
        }
        "portForward" if is_silent(&record, &wrong) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "connect: connection refused")
        }
        "portForward" => port_forward::answer(request, record),
        "exec" if wrong.contains(&Misbehaviour::RefusesExec) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "container runtime is down")
        }
        "exec" => exec::answer(nodes, request, record),
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    })
}

fn logs(record: &Record, query: &str) -> Response<Full<Bytes>> {
    let number = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse::<usize>().ok())
    };
    let log = locked(&record.log).clone();
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    let first = number("tailLines").map_or(0, |tail| lines.len().saturating_sub(tail));
    let with_times = query.split('&').any(|pair| pair == "timestamps=true");
    let started = *locked(&record.started);
    let mut log: String = lines[first..]
        .iter()
        .map(|line| if with_times { format!("{started} {line}") } else { (*line).to_owned() })
        .collect();
    log.truncate(number("limitBytes").unwrap_or(usize::MAX).min(log.len()));
    text(StatusCode::OK, log)
}
