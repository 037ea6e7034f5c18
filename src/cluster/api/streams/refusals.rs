//! Which errors are refusals of the API server, and say nothing about a node. Pure.

use crate::cluster::api::errors::is_transient;

/// Whether a refusal of the API server is about the number of streams, or the way to all nodes, and not about one node.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_about_all(status.code, &status.message),
        other => is_transient(other),
    }
}

/// The same for the code and message of an answer.
///
/// 429 is of the API server's flow control; 502 to 504 are of a load balancer or of a proxy to the nodes. Konnectivity's errors
/// arrive in a 500 of the API server: `No agent available` (`pkg/server/backend_manager.go` in
/// kubernetes-sigs/apiserver-network-proxy), `dial timeout, backstop` (konnectivity-client/pkg/client/client.go). The
/// kubelet answers `unable to upgrade connection`, also if the pod or its container does not exist or access is denied
/// (pkg/kubelet/server/server.go), which is about that pod.
pub fn is_about_all(code: u16, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["does not exist", "not found", "authorization error", "unauthorized", "forbidden"]) {
        return false;
    }
    matches!(code, 429 | 502 | 503 | 504)
        || says(&["unable to upgrade connection", "no agent available", "dial timeout, backstop"])
}

/// Whether an answer may be about one node, although it says that a connection could not be upgraded: from 1.30 on the API
/// server speaks for the client to the kubelet, and puts these words before any refusal of the kubelet
/// (`NewConnection` in client-go/transport/spdy, KEP-4006).
pub(super) fn names_upgrade(message: &str) -> bool {
    message.to_ascii_lowercase().contains("unable to upgrade connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_again() {
        for (code, message, expected) in [
            (429, "too many requests", true),
            (502, "<html>Bad Gateway</html>", true),
            (503, "apiserver is shutting down", true),
            (504, "context deadline exceeded", true),
            (500, "unable to upgrade connection: stream limit reached", true),
            (500, "error dialing backend: No agent available", true),
            (500, "error dialing backend: dial timeout, backstop", true),
            (500, "unable to upgrade connection: container not found (\"helper\")", false),
            (500, "unable to upgrade connection: pod does not exist", false),
            (500, "unable to upgrade connection: Authorization error (user=a, verb=create)", false),
            (500, "error dialing backend: dial tcp 10.0.0.1:10250: connect: connection refused", false),
            (404, "pods \"a\" not found", false),
            (403, "pods \"a\" is forbidden", false),
            (500, "container runtime is down", false),
        ] {
            assert_eq!(is_about_all(code, message), expected, "{code} {message}");
        }
    }
}
