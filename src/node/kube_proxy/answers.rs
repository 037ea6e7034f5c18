//! What kube-proxy itself answers on its metrics port: which mode it runs, and whether it has synced.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// It listens on this very host.
const CONNECT: Duration = Duration::from_secs(1);
/// A busy node may take a while to put all metrics together.
const ANSWER: Duration = Duration::from_secs(10);
const TRIES: u32 = 4;
const SYNCED: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";

/// The mode that kube-proxy says it runs; nothing if none answers on `port`.
pub fn mode(port: u16) -> Option<String> {
    let mode = asked(|| get(port, "/proxyMode"))?.trim().to_owned();
    (!mode.is_empty() && mode.len() < 32).then_some(mode)
}

/// Who refuses is not there; who says nothing in time is asked again: a busy node may stand still for seconds.
fn asked(mut ask: impl FnMut() -> io::Result<Option<String>>) -> Option<String> {
    for _ in 1..TRIES {
        match ask() {
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
            result => return result.ok().flatten(),
        }
    }
    ask().ok().flatten()
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
    let mut stream = connect(addresses[0]).or_else(|error| connect(addresses[1]).map_err(|_| error))?;
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
    fn who_is_asked_again() {
        let mode = || Ok(Some("ipvs".to_owned()));
        let error = |kind: io::ErrorKind| Err(io::Error::from(kind));
        let told = |answers: Vec<io::Result<Option<String>>>| {
            let mut answers = answers.into_iter();
            (asked(|| answers.next().unwrap()).is_some(), answers.len())
        };
        assert_eq!(told(vec![mode()]), (true, 0));
        assert_eq!(told(vec![error(io::ErrorKind::TimedOut), error(io::ErrorKind::WouldBlock), mode()]), (true, 0));
        assert_eq!(told(vec![error(io::ErrorKind::ConnectionRefused), mode()]), (false, 1), "nobody is there");
        assert_eq!(told(vec![Ok(None), mode()]), (false, 1), "an answer, if not ours");
        assert_eq!(told((0..5).map(|_| error(io::ErrorKind::TimedOut)).collect()), (false, 1));
    }

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
