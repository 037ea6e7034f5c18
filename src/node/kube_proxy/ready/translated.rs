//! Whether something else than kube-proxy answers for a Service, in the presence of kube-proxy's own rules.
//!
//! A data plane that translates when a socket connects (`cgroup/connect4` and `connect6` programs: Cilium's socket load
//! balancing, Calico's connect-time load balancing) writes the endpoint's address into the socket. What kube-proxy makes
//! translates packets later: the socket then keeps the Service's address. The kernel's table of sockets shows which of them
//! it is; `getpeername` does not, because these data planes translate its answer back.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::connect;
use crate::node::kube_proxy::socket_table::socket;
use crate::node::root::Root;

/// Number and interval of lookups of the own socket. The table may miss a socket while others come and go.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const PAUSE: Duration = Duration::from_millis(500);
const ESTABLISHED: &str = "01";

/// Waits until a connection to `service` is translated when it is opened, and accepted. Returns the endpoint.
///
/// # Errors
/// What is seen instead when the time is over.
pub fn wait_translated(root: &Root, service: SocketAddr, deadline: Instant) -> Result<SocketAddr, String> {
    loop {
        let found = translated(root, service);
        if found.is_ok() || Instant::now() >= deadline {
            return found;
        }
        sleep(PAUSE);
    }
}

/// The endpoint to which a connection to `service` was translated when it was opened.
///
/// # Errors
/// If it is not accepted, or was not translated then.
pub fn translated(root: &Root, service: SocketAddr) -> Result<SocketAddr, String> {
    let stream = connect::stream(service).map_err(|error| format!("{service} does not answer: {error}"))?;
    let remote =
        remote(root, &stream).map_err(|error| format!("looking up a connection to {service} failed: {error}"))?;
    judge(service, remote.ok_or_else(|| format!("the kernel's table does not show a connection to {service}"))?)
}

/// Whether this remote address of a socket is that of an endpoint.
fn judge(service: SocketAddr, remote: SocketAddr) -> Result<SocketAddr, String> {
    let (address, leads_to) = (service.ip().to_canonical(), remote.ip());
    if leads_to == address {
        Err(format!("{service} answers, but its connections are not translated when they are opened"))
    } else if leads_to.is_loopback() || leads_to.is_unspecified() {
        // Such as the proxy of a service mesh, which asks the Service itself.
        Err(format!("connections to {service} lead to {remote}, a process on this host"))
    } else {
        Ok(remote)
    }
}

/// The remote address in the kernel's table, found by the socket's inode, which no other socket has.
fn remote(root: &Root, stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let inode = nix::sys::stat::fstat(stream)?.st_ino;
    let mut remote = None;
    for _ in 0..LOOKS {
        // A kernel without IPv6 has no table for it.
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            root.read_lines(table, |line| {
                let found = socket(line).filter(|socket| socket.inode == inode && socket.state == ESTABLISHED);
                remote = remote.or(found.map(|socket| socket.remote));
            })?;
        }
        if remote.is_some() {
            return Ok(remote);
        }
        sleep(LOOK_AGAIN);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_address_of_an_endpoint_counts() {
        let judged = |service: &str, remote: &str| judge(service.parse().unwrap(), remote.parse().unwrap()).is_ok();
        assert!(judged("10.96.0.1:443", "192.0.2.10:6443"));
        assert!(judged("[fd00:10:96::1]:443", "[2001:db8::10]:6443"));
        for (service, remote) in [
            ("10.96.0.1:443", "10.96.0.1:443"),
            ("10.96.0.1:443", "10.96.0.1:6443"),
            ("[::ffff:10.96.0.1]:443", "10.96.0.1:443"),
            ("[fd00:10:96::1]:443", "[fd00:10:96::1]:443"),
            ("10.96.0.1:443", "127.0.0.1:15001"),
            ("10.96.0.1:443", "127.128.0.7:15001"),
            ("[fd00:10:96::1]:443", "[::1]:15001"),
            ("10.96.0.1:443", "0.0.0.0:0"),
        ] {
            assert!(!judged(service, remote), "{service} {remote}");
        }
    }

    #[test]
    fn the_kernel_shows_the_own_socket() {
        let root = Root::new(std::path::Path::new("/")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for stream in &streams {
            assert_eq!(remote(&root, stream).unwrap(), Some(address));
        }
        let why = translated(&root, address).unwrap_err();
        assert!(why.contains("are not translated when they are opened"), "{why}");
        drop(listener);
        drop(streams);
        let why = translated(&root, address).unwrap_err();
        assert!(why.contains("does not answer"), "{why}");
    }
}
