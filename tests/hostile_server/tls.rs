//! An API server with TLS that takes down who asks, and kubeconfigs for it.

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::server::{VERSION, head, serve};

/// A file of `certificates`.
pub(crate) fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile_server/certificates").join(name)
}

/// Of each request: the Authorization header, and the client's certificate.
type Asked = Arc<Mutex<Vec<(Option<String>, Option<Vec<u8>>)>>>;

/// Serves with the certificate of this name: its version, and to all else this status, by the Authorization header. A client's
/// certificate is taken if there is one.
pub(crate) fn server(name: &str, status: fn(&str) -> u16) -> (u16, Asked) {
    let pem = |file: String| CertificateDer::from_pem_file(certificate(&file)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pem("ca.crt".to_owned())).unwrap();
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_file(certificate(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![pem(format!("{name}.crt"))], key)
        .unwrap();
    let (config, asked) = (Arc::new(config), Asked::default());
    let log = Arc::clone(&asked);
    let port = serve(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        while let Some(head) = head(&mut stream) {
            let line = head.lines().next().unwrap_or_default().to_owned();
            let value = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
            });
            let peer = stream.get_ref().conn.peer_certificates().map(|all| all[0].to_vec());
            let (status, body) = if line.starts_with("GET /version") {
                (200, VERSION.to_owned())
            } else {
                let status = status(value.as_deref().unwrap_or_default());
                let body = format!(
                    "{{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"status\": \"Failure\", \"message\": \"no\", \"code\": {status}}}"
                );
                (status, body)
            };
            log.lock().unwrap().push((value, peer));
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.get_mut().write_all(head.as_bytes()).is_err() {
                return;
            }
        }
    });
    (port, asked)
}

/// The kubeconfig's cluster, which trusts the certificate of this name.
pub(crate) fn cluster(port: u16, ca: &str) -> String {
    format!(
        "{{server: \"https://127.0.0.1:{port}\", certificate-authority: \"{}\"}}",
        certificate(&format!("{ca}.crt")).display()
    )
}
