//! `metricsBindAddress` and `healthzBindAddress`: an IP address, with or without a port.

/// The port of such an address: kube-proxy appends `default` to an address without one (`AppendPortIfNeeded` in
/// pkg/proxy/util) and then demands IP:port (`validateHostPort` in pkg/proxy/apis/config/validation).
///
/// # Errors
/// Why kube-proxy does not accept it.
pub(super) fn port(text: &str, default: u16) -> Result<u16, String> {
    if is_ip(text) {
        return Ok(default);
    }
    let not_an_address = || format!("{text:?} is not IP:port; use for example 0.0.0.0:{default} or \"[::]:{default}\"");
    let (host, port) = split(text).ok_or_else(not_an_address)?;
    if !is_ip(host) {
        return Err(format!(
            "{text:?}: {host:?} is not an IP address, and kube-proxy does not accept a host name here"
        ));
    }
    let digits = port.strip_prefix('+').unwrap_or(port);
    let number = Some(digits).filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    // As Go's Atoi: leading zeros are allowed.
    let number = number.and_then(|digits| digits.trim_start_matches('0').parse::<u16>().ok());
    number.filter(|port| *port > 0).ok_or_else(|| format!("{text:?}: {port:?} is not a port from 1 to 65535"))
}

/// Go's `net.SplitHostPort`.
fn split(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once("]:")?;
        return (!host.contains(['[', ']']) && !port.contains([':', '[', ']'])).then_some((host, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// As `ParseIPSloppy` (k8s.io/utils/net).
pub(super) fn is_ip(text: &str) -> bool {
    crate::cidr::address(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_ports::METRICS_PORT;

    #[test]
    fn as_kube_proxy_reads_them() {
        // Each tested with kube-proxy and --write-config-to: 1.20.2, leading zeros in an address 1.34.9.
        for (text, expected) in [
            ("0.0.0.0", Some(10249)),
            ("::", Some(10249)),
            ("::1", Some(10249)),
            ("127.0.0.1:1", Some(1)),
            ("127.0.0.1:010249", Some(10249)),
            ("[::]:9000", Some(9000)),
            ("[::1]", None),
            ("localhost", None),
            ("localhost:10249", None),
            (":10249", None),
            ("127.0.0.1:0", None),
            ("127.0.0.1:http", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("127.000.0.1", Some(10249)),
            ("[::ffff:127.000.0.01]:9000", Some(9000)),
            ("127..0.1", None),
            ("0x7f.0.0.1", None),
            ("fe80::1%eth0", None),
            ("[fe80::1%eth0]:10249", None),
            ("[::]:1:2", None),
        ] {
            assert_eq!(port(text, METRICS_PORT).ok(), expected, "{text}");
        }
    }
}
