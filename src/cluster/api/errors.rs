//! What goes wrong between kpx-prep and the API server: what kind of error it is, and how it is said.

use std::time::Duration;

use crate::report::foreign::foreign;

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
    /// There are no credentials (any more).
    #[error("{0}")]
    Credentials(String),
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

/// The HTTP status of a refusal by the API server.
pub fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Whether the same call may well succeed a little later. What is wrong with a certificate is wrong the next time too; and
/// what never ends is not read twice.
pub fn is_transient(error: &kube::Error) -> bool {
    match error {
        _ if is_about_tls(error) => false,
        _ if unanswered(error).is_some() => false,
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// Whether the other side, or this one, did not like a certificate, or does not speak TLS at all. In the words of rustls
/// (`rustls::Error`), which kube hands on as text only.
fn is_about_tls(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Api(_)) {
        return false;
    }
    let text = chain(error);
    ["invalid peer certificate", "received fatal alert", "received corrupt message", "no server certificate"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// Whether nothing listens at the API server's address, it cannot be found, or it said nothing in the time that it had.
pub fn is_unreachable(error: &kube::Error) -> bool {
    if matches!(unanswered(error), Some(Unanswered::Silent { .. })) {
        return true;
    }
    let text = plain(error);
    ["Connection refused", "dns error", "failed to lookup"].iter().any(|sign| text.contains(sign))
}

/// What an error means, without what a person does not need.
pub fn plain(error: &kube::Error) -> String {
    match error {
        _ if unanswered(error).is_some() => unanswered(error).map(ToString::to_string).unwrap_or_default(),
        kube::Error::Api(status) if status.message.is_empty() => {
            format!("{} ({})", foreign(&status.reason), status.code)
        }
        kube::Error::Api(status) => foreign(&status.message),
        // Go takes a certificate that is trusted itself, whatever it is for (crypto/x509); rustls' webpki does not.
        other if chain(other).contains("CaUsedAsEndEntity") => {
            "the server's certificate says that it is a CA's, which kubectl accepts where the kubeconfig trusts it, and kpx-prep \
             does not: give the server a certificate with CA:FALSE, signed by a CA or by itself \
             (openssl req -x509 -addext basicConstraints=critical,CA:FALSE)"
                .to_owned()
        }
        other => chain(other),
    }
}

/// An error with its causes, none said twice, in one line.
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
