//! What kube-proxy itself answers on its metrics port: which mode it runs, and whether it has synced.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// It listens on this very host.
const CONNECT: Duration = Duration::from_secs(1);
/// A busy node may take a while to put all metrics together.
const ANSWER: Duration = Duration::from_secs(10);
const SYNCED: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";

/// The mode that kube-proxy says it runs; nothing if none answers on `port`.
pub fn mode(port: u16) -> Option<String> {
    let mode = get(port, "/proxyMode").ok().flatten()?.trim().to_owned();
    (!mode.is_empty() && mode.len() < 32).then_some(mode)
}

/// Whether kube-proxy has carried out its rules at least once since it started, in every family that it serves.
pub fn has_synced(port: u16) -> bool {
    get(port, "/metrics").ok().flatten().is_some_and(|metrics| synced(&metrics))
}

fn synced(metrics: &str) -> bool {
    let sample = |line: &str| {
        let rest = line.strip_prefix(SYNCED)?;
        // Newer versions tell it for each family: NAME{ip_family="IPv4"} VALUE
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    };
    let samples: Vec<f64> = metrics.lines().filter_map(sample).collect();
    !samples.is_empty() && samples.iter().all(|time| *time > 0.0)
}

/// The body of an answer with status 200; nothing for any other status.
fn get(port: u16, path: &str) -> io::Result<Option<String>> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let connect = |address| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT);
    let mut stream = connect(addresses[0]).or_else(|_| connect(addresses[1]))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    // In this version of HTTP the answer is not cut to pieces, and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(None) };
    let ok = head.split_whitespace().nth(1) == Some("200");
    Ok(ok.then(|| body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_it_has_synced() {
        let name = SYNCED;
        for (metrics, expected) in [
            (format!("# TYPE {name} gauge\n{name} 1.7e+09\n"), true),
            (format!("{name} 0\n"), false),
            (format!("{name}{{ip_family=\"IPv4\"}} 1.7e+09\n{name}{{ip_family=\"IPv6\"}} 1.7e+09\n"), true),
            (format!("{name}{{ip_family=\"IPv4\"}} 1.7e+09\n{name}{{ip_family=\"IPv6\"}} 0\n"), false),
            (format!("{name}_other 1\n"), false),
            (String::new(), false),
        ] {
            assert_eq!(synced(&metrics), expected, "{metrics}");
        }
    }
}
