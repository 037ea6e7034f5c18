//! Endpoints and names, by kubeadm's rules (cmd/kubeadm/app/apis/kubeadm/validation).

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The API server port of an endpoint without a port.
pub const API_SERVER_PORT: u16 = 6443;

/// A host with or without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: Option<u16>,
}

impl Endpoint {
    /// `host:port`, with [`API_SERVER_PORT`] where no port was given.
    pub fn with_port(&self) -> String {
        let port = self.port.unwrap_or(API_SERVER_PORT);
        if self.host.contains(':') { format!("[{}]:{port}", self.host) } else { format!("{}:{port}", self.host) }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(format!("{text:?}: an endpoint is a host and port; remove \"{scheme}://\": {rest}"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(format!("{text:?}: missing ]"))?;
                host.parse::<Ipv6Addr>().map_err(|_| format!("{text:?}: brackets are for IPv6 addresses"))?;
                let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("")) };
                (host, port)
            }
            None if text.matches(':').count() == 1 => {
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
            }
            None => (text, None),
        };
        if host.parse::<IpAddr>().is_err() {
            check_dns_name(host).map_err(|error| {
                format!("{text:?}: {error}; write a name or an address, as in k8s.example.com:6443")
            })?;
        }
        let port = match port {
            None => None,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Some(
                port.parse::<u16>()
                    .ok()
                    .filter(|port| *port > 0)
                    .ok_or(format!("{text:?}: the port must be 1 to 65535"))?,
            ),
            Some(_) => return Err(format!("{text:?}: the port must be 1 to 65535")),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

/// A DNS name by the rules of Kubernetes (RFC 1123 subdomain): lower case, digits, `-` and `.`.
///
/// # Errors
/// What is wrong with it.
pub fn check_dns_name(name: &str) -> Result<(), String> {
    let label_is_fine = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label_is_fine) {
        if name.contains('.') && name.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(format!("{name:?} looks like an IPv4 address but is not one"));
        }
        return Ok(());
    }
    let lower = name.to_ascii_lowercase();
    let meant = if lower != name && check_dns_name(&lower).is_ok() {
        format!("; did you mean {lower}?")
    } else {
        String::new()
    };
    Err(format!("{name:?} is not a DNS name (a-z, 0-9, - and dots between the labels){meant}"))
}

/// A subject alternative name: an address, a DNS name, or one with `*.` before it.
///
/// # Errors
/// What is wrong with it.
pub fn check_alternative_name(name: &str) -> Result<(), String> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    check_dns_name(name.strip_prefix("*.").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, full) in [
            ("k8s.example.com", "k8s.example.com:6443"),
            ("k8s.example.com:443", "k8s.example.com:443"),
            ("10.0.0.1", "10.0.0.1:6443"),
            ("[fd00::1]:6443", "[fd00::1]:6443"),
            ("[fd00::1]", "[fd00::1]:6443"),
            ("fd00::1", "[fd00::1]:6443"),
            ("host:1", "host:1"),
        ] {
            assert_eq!(text.parse::<Endpoint>().map(|endpoint| endpoint.with_port()).as_deref(), Ok(full));
        }
        for text in [
            "",
            ":6443",
            "host:",
            "host:0",
            "host:65536",
            "host:http",
            "https://host:6443",
            "[fd00::1",
            "[host]:1",
            "[fd00::1]6443",
            "Host:1",
            "a_b:1",
            "10.0.0.300:1",
            "host:+1",
            "a:b:c",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn names() {
        for name in ["node-1", "a.b.c", "1a", "cluster.local"] {
            assert_eq!(check_dns_name(name), Ok(()));
        }
        for name in ["", "Node", "a..b", "-a", "a-", "a_b", ".", "a.", "a b", &"a".repeat(64), "1.2.3.4.5"] {
            assert!(check_dns_name(name).is_err(), "{name}");
        }
        assert!(check_dns_name("Node-1").unwrap_err().contains("did you mean node-1?"));
        for name in ["*.example.com", "10.0.0.1", "fd00::1", "a.example.com"] {
            assert_eq!(check_alternative_name(name), Ok(()));
        }
        for name in ["*", "*.*.a", "a.*", "10.0.0.1:6443"] {
            assert!(check_alternative_name(name).is_err(), "{name}");
        }
    }
}
