//! Errors of requests to the API server: their kinds and messages.

use std::time::Duration;

use crate::report::foreign::foreign;

/// Why waiting for an answer or reading it was stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The request timed out.
    #[error("{server} did not answer within {after:?} (--request-timeout)")]
    Silent {
        /// The server.
        server: String,
        /// The timeout.
        after: Duration,
    },
    /// The answer is too large.
    #[error("the answer of {server} exceeds {limit} MiB; reading was stopped")]
    TooLong {
        /// The server.
        server: String,
        /// The limit in MiB.
        limit: u64,
    },
    /// There are no valid credentials (any more).
    #[error("{0}")]
    Credentials(String),
}

/// The [`Unanswered`] that caused an error, if any.
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

/// The HTTP status of a refusal by the API server.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether a retry may succeed. Certificate errors are permanent, and an endless answer is not read twice.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        _ if is_about_tls(error) => false,
        _ if unanswered(error).is_some() => false,
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether either side refused a certificate, or the other side does not use TLS. By the messages of rustls
/// (`rustls::Error`), which kube passes on as text only.
fn is_about_tls(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Api(_)) {
        return false;
    }
    let text = chain(error);
    ["invalid peer certificate", "received fatal alert", "received corrupt message", "no server certificate"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Whether the API server refuses connections, its name cannot be resolved, or it did not answer in time.
pub fn is_unreachable(error: &kube::Error) -> bool {
    if matches!(unanswered(error), Some(Unanswered::Silent { .. })) {
        return true;
    }
    let text = plain(error);
    ["Connection refused", "dns error", "failed to lookup"].iter().any(|sign| text.contains(sign))
}

/// An error as a message without technical details.
pub fn plain(error: &kube::Error) -> String {
    match error {
        _ if unanswered(error).is_some() => unanswered(error).map(ToString::to_string).unwrap_or_default(),
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("{} ({})", foreign(&status.reason), status.code)
        }
        kube::Error::Api(status) => foreign(&status.message),
        // Go accepts a certificate that is trusted itself, whatever its purpose (crypto/x509); rustls' webpki does not.
        other if chain(other).contains("CaUsedAsEndEntity") => {
            "the server uses a CA certificate as its own, which kubectl accepts if the kubeconfig trusts it, but kpx-prep \
                         does not; create a server certificate with CA:FALSE, signed by a CA or self-signed \
                         (openssl req -x509 -addext basicConstraints=critical,CA:FALSE)"
                .to_owned()
        }
        other => chain(other),
    }
}

/// An error with its causes on one line, without repetitions.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    foreign(&text)
}
