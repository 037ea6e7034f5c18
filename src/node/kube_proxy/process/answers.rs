//! kube-proxy's answers on its metrics port: its mode, and whether it has synced. Only an answer from a root process is
//! accepted: if kube-proxy does not listen, any user of the host could listen on the port.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::candidate::{Verdict, judge};
use super::toolbox::Known;
use crate::boot_clock::BootInstant;
use crate::node::kube_proxy::process;
use crate::node::root::Root;
use crate::proxy_ports::ProxyPorts;
use crate::sync_health::{HEALTH_PATHS, healthy, is_last_sync, sync_health};

/// Short, because it listens on this host.
const CONNECT: Duration = Duration::from_secs(1);
/// A busy node may take a while to collect all metrics.
const ANSWER: Duration = Duration::from_secs(10);
const TRIES: u32 = 4;
/// Number and interval of lookups of the other end of a connection in the kernel's table.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Size limit; the metrics of a kube-proxy have some hundred KiB.
const LONGEST: u64 = 16 << 20;

/// The mode that kube-proxy reports; `None` if no kube-proxy answers on `port`, or another process does.
pub fn mode_of(root: &Root, known: &Known, port: u16) -> Option<String> {
    let (candidates, place) = process::observe(root);
    if let Verdict::One(found) = judge(candidates, &place, &known.pods) {
        let sockets = process::sockets(root, &found.id);
        let listening = listening_inodes(&listeners(), port);
        // If its descriptors cannot be read, an answer from root is accepted.
        if !sockets.is_empty() && !listening.iter().any(|inode| sockets.contains(inode)) {
            return None;
        }
    }
    mode(port)
}

/// The inodes of the sockets that listen on this port.
fn listening_inodes(tables: &str, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(10).collect();
        let [_, local, _, "0A", _, _, _, _, _, inode] = fields[..] else { return None };
        let listens = u16::from_str_radix(local.rsplit(':').next()?, 16).is_ok_and(|listens| listens == port);
        listens.then(|| inode.to_owned())
    };
    tables.lines().filter_map(inode).collect()
}

/// The mode answered on `port`; `None` if no root process answers.
fn mode(port: u16) -> Option<String> {
    let mode = asked(|| get(port, "/proxyMode"))?.trim().to_owned();
    (!mode.is_empty() && mode.len() < 32).then_some(mode)
}

/// Retries after a timeout, because a busy node may not respond for seconds, but not after a refused connection.
fn asked(mut ask: impl FnMut() -> io::Result<Option<String>>) -> Option<String> {
    for _ in 1..TRIES {
        match ask() {
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
            result => return result.ok().flatten(),
        }
    }
    ask().ok().flatten()
}

/// When kube-proxy last wrote its rules, by its own clock, as its metrics say; the rules are read again only if this has
/// changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSync(String);

/// When it last synced. Without an answer, it counts as not synced.
///
/// # Errors
/// Why it has not synced its rules since it started, for every address family that it serves.
pub fn last_sync(ports: ProxyPorts) -> Result<LastSync, String> {
    let Some(metrics) = get(ports.metrics, "/metrics").ok().flatten() else {
        return Err("kube-proxy's metrics could not be read, so it is not known whether it has synced".to_owned());
    };
    let mut health = sync_health(&metrics, None);
    health.healthy = is_healthy(ports.healthz);
    match health.trouble() {
        Some(trouble) => Err(trouble),
        None => Ok(LastSync(metrics.lines().filter(|line| is_last_sync(line)).collect::<Vec<_>>().join("\n"))),
    }
}

/// Whether kube-proxy calls itself healthy; `None` if it does not answer on this host's own address.
fn is_healthy(port: u16) -> Option<bool> {
    HEALTH_PATHS.iter().find_map(|path| healthy(answer(port, path).ok()??.0))
}

/// Whether there are listeners on this port in `/proc/net/tcp` or `tcp6`, and all of them are root's.
fn is_roots(tables: &str, port: u16) -> bool {
    // sl, local address, remote address, state (0A: listening), queues, timer, retransmissions, uid
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [_, local, _, "0A", _, _, _, uid] = fields[..] else { return None };
        let listens = u16::from_str_radix(local.rsplit(':').next()?, 16).is_ok_and(|listens| listens == port);
        listens.then(|| uid.to_owned())
    };
    let mut uids = tables.lines().filter_map(listener).peekable();
    uids.peek().is_some() && uids.all(|uid| uid == "0")
}

/// Whether the other end of a connection from port `own` to `port` is on this host and root's. A NAT rule, such as one for a
/// container's hostPort, could redirect it.
fn is_roots_end(tables: &str, port: u16, own: u16) -> bool {
    let port_of = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let is_it = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().take(8).collect();
        let [_, local, remote, "01", _, _, _, uid] = fields[..] else { return false };
        port_of(local) == Some(port) && port_of(remote) == Some(own) && uid == "0"
    };
    tables.lines().any(is_it)
}

/// The kernel's table belongs to this process's network namespace, regardless of the root.
fn listeners() -> String {
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect()
}

/// The body of an answer with status 200; `None` for any other status, or if the listener is not root's.
fn get(port: u16, path: &str) -> io::Result<Option<String>> {
    Ok(answer(port, path)?.filter(|(status, _)| *status == 200).map(|(_, body)| body))
}

/// An answer's status and body; `None` if it is not one of HTTP, or if the listener is not root's.
fn answer(port: u16, path: &str) -> io::Result<Option<(u16, String)>> {
    if !is_roots(&listeners(), port) {
        return Ok(None);
    }
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let connect = |address| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT);
    let stream = connect(addresses[0]).or_else(|error| connect(addresses[1]).map_err(|_| error))?;
    let own = stream.local_addr()?.port();
    // The other end is established slightly later than this one.
    let mut looks = 0..LOOKS;
    while !is_roots_end(&listeners(), port, own) {
        if looks.next().is_none() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    exchange(stream, path)
}

fn exchange(mut stream: TcpStream, path: &str) -> io::Result<Option<(u16, String)>> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    // In HTTP/1.0 the answer is not chunked and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let (from, mut answer) = (BootInstant::now(), Vec::new());
    let mut stream = stream.take(LONGEST);
    let mut some = vec![0; 1 << 16];
    loop {
        match stream.read(&mut some)? {
            0 => break,
            read => answer.extend_from_slice(&some[..read]),
        }
        // The timeout applies to the whole answer, not only to each read.
        if from.elapsed() > ANSWER {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(None) };
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok(status.map(|status| (status, body.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_after_timeouts_only() {
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
    fn only_root_answers() {
        let line = |port: u16, state: &str, uid: u32| {
            format!(
                "   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:>5}        0 1 1 0 100 0 0 10 0\n"
            )
        };
        for (what, table, expected) in [
            ("root", line(10249, "0A", 0), true),
            ("another user", line(10249, "0A", 65534), false),
            ("both", line(10249, "0A", 0) + &line(10249, "0A", 1000), false),
            ("only a connection", line(10249, "01", 0), false),
            ("another port", line(10250, "0A", 0), false),
            ("nobody", String::new(), false),
        ] {
            assert_eq!(is_roots(&format!("  sl  local_address rem_address   st\n{table}"), 10249), expected, "{what}");
        }
    }

    #[test]
    fn the_other_end_is_roots_and_here() {
        let line = |local: u16, remote: u16, uid: u32| {
            format!(
                "   0: 0100007F:{local:04X} 0100007F:{remote:04X} 01 00000000:00000000 00:00000000 00000000 {uid:>5}        0 1 1 0 100 0 0 10 0\n"
            )
        };
        for (what, table, expected) in [
            ("kube-proxy's end", line(40000, 10249, 0) + &line(10249, 40000, 0), true),
            ("only this end", line(40000, 10249, 0), false),
            ("led to another port", line(40000, 10249, 0) + &line(20000, 40000, 0), false),
            ("another user's", line(40000, 10249, 0) + &line(10249, 40000, 1000), false),
            ("of another connection", line(40000, 10249, 0) + &line(10249, 40001, 0), false),
        ] {
            assert_eq!(is_roots_end(&table, 10249, 40000), expected, "{what}");
        }
    }

    #[test]
    fn body_size_is_limited() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
            }
        });
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert!(exchange(stream, "/metrics").unwrap().unwrap().1.len() < 17 << 20);
    }
}
