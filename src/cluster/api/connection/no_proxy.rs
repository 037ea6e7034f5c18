//! `NO_PROXY` by Go's rules (golang.org/x/net/http/httpproxy, `config.init` and `config.useProxy`), as used by kubectl.
//! Other libraries differ: here `.example` does not match `example` itself, and an invalid entry matches nothing instead of
//! making the whole list invalid.

use std::net::IpAddr;

/// Whether `host` at `port` is accessed without a proxy. `host`: without brackets.
pub(super) fn exempts(list: &str, host: &str, port: u16) -> bool {
    let (host, port) = (host.to_ascii_lowercase(), port.to_string());
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    let entries = list.split(',').map(|entry| entry.trim().to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| entry == "*" || matches(&entry, &host, &port, address))
}

fn matches(entry: &str, host: &str, port: &str, address: Option<IpAddr>) -> bool {
    if let Some((network, prefix)) = network(entry) {
        return address.is_some_and(|address| is_within(address, network, prefix));
    }
    let (name, only_port) = match split_host_port(entry) {
        Some(("", _)) => return false,
        Some((name, port)) => (name, port),
        None => (entry, ""),
    };
    if !only_port.is_empty() && only_port != port {
        return false;
    }
    if let Ok(one) = name.parse::<IpAddr>() {
        return address == Some(one.to_canonical());
    }
    // A name matches itself and its subdomains; one that starts with a dot, or `*.`, only its subdomains.
    let name = if name.starts_with("*.") { &name[1..] } else { name };
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => host == name || host.strip_suffix(name).is_some_and(|above| above.ends_with('.')),
    }
}

/// Go's `net.SplitHostPort`: `host:port` or `[host]:port`. The port may be any text, also empty.
fn split_host_port(entry: &str) -> Option<(&str, &str)> {
    let (host, port) = entry.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// Go's `net.ParseCIDR`; the address does not have to be the network's first.
fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| digits)?;
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

fn is_within(address: IpAddr, network: IpAddr, prefix: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(128 - prefix).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_does() {
        for (list, host, port, expected) in [
            ("", "k8s.example", 6443, false),
            (",, ,", "k8s.example", 6443, false),
            ("*", "k8s.example", 6443, true),
            (" * ,", "10.1.2.3", 6443, true),
            ("x,*", "10.1.2.3", 6443, true),
            ("**", "k8s.example", 6443, false),
            ("k8s.example", "k8s.example", 6443, true),
            ("K8S.Example", "k8s.EXAMPLE", 6443, true),
            ("localhost,k8s.example,", "k8s.example", 6443, true),
            ("localhost, k8s.example", "k8s.example", 6443, true),
            ("localhost k8s.example", "k8s.example", 6443, false),
            ("example", "k8s.example", 6443, true),
            ("8s.example", "k8s.example", 6443, false),
            (".example", "k8s.example", 6443, true),
            (".example", "a.k8s.example", 6443, true),
            (".k8s.example", "k8s.example", 6443, false),
            ("*.k8s.example", "k8s.example", 6443, false),
            ("*.example", "k8s.example", 6443, true),
            ("*.example:6443", "k8s.example", 6443, true),
            ("k*.example", "k8s.example", 6443, false),
            (".svc", "kubernetes.default.svc", 443, true),
            (".svc,.cluster.local", "kubernetes.default.svc.cluster.local", 443, true),
            ("svc", "kubernetes.default.svc", 443, true),
            ("k8s.example:6443", "k8s.example", 6443, true),
            ("k8s.example:443", "k8s.example", 6443, false),
            ("k8s.example:https", "k8s.example", 443, false),
            ("k8s.example:", "k8s.example", 6443, true),
            (":6443", "k8s.example", 6443, false),
            ("https://k8s.example", "k8s.example", 443, false),
            ("10.1.2.3", "10.1.2.3", 6443, true),
            ("10.1.2.3:6443", "10.1.2.3", 6443, true),
            ("10.1.2.3:443", "10.1.2.3", 6443, false),
            ("10.0.0.0/8", "10.1.2.3", 6443, true),
            ("10.9.9.9/8", "10.1.2.3", 6443, true),
            ("10.0.0.0/8", "11.1.2.3", 6443, false),
            ("0.0.0.0/0", "11.1.2.3", 6443, true),
            ("10.1.2.3/32", "10.1.2.3", 6443, true),
            ("10.0.0.0/33", "10.1.2.3", 6443, false),
            ("10.0.0.0/8:6443", "10.1.2.3", 6443, false),
            ("10.", "10.1.2.3", 6443, false),
            ("10.*", "10.1.2.3", 6443, false),
            ("10.0.0.0/8", "10.example", 6443, false),
            ("2001:db8::1", "2001:db8::1", 6443, true),
            ("2001:DB8:0::1", "2001:db8::1", 6443, true),
            ("[2001:db8::1]:6443", "2001:db8::1", 6443, true),
            ("[2001:db8::1]", "2001:db8::1", 6443, false),
            ("2001:db8::/32", "2001:db8::1", 6443, true),
            ("2001:db8::/32", "2001:db9::1", 6443, false),
            ("::/0", "2001:db9::1", 6443, true),
            ("::/0", "10.1.2.3", 6443, false),
            ("::ffff:10.1.2.3", "10.1.2.3", 6443, true),
        ] {
            assert_eq!(exempts(list, host, port), expected, "{list:?} {host}:{port}");
        }
    }
}
