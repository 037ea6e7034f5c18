//! Testing TCP connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::sockopt::SendTimeout;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, connect, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

const SECONDS: u16 = 2;
/// Addresses reserved for documentation; used only for a route lookup.
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Connects like any program on this host.
///
/// # Errors
/// If the connection is not accepted in time.
pub fn plain(to: SocketAddr) -> io::Result<()> {
    stream(to).map(|_| ())
}

/// The same, and keeps the connection.
///
/// # Errors
/// If the connection is not accepted in time.
pub fn stream(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&to, Duration::from_secs(SECONDS.into()))
}

/// Connects from the address that this host uses towards other hosts.
///
/// As long as a Service's address is on `kube-ipvs0`, this host's own connections to it use it as their source, and
/// replies from other hosts do not arrive. Cleaning fixes that, so it must not prevent cleaning.
///
/// # Errors
/// If the connection is not accepted in time, or this host has no route to other hosts.
pub fn from_this_host(to: SocketAddr) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect((OUTSIDE[usize::from(to.is_ipv6())], 9))?;
    match (SocketAddr::new(probe.local_addr()?.ip(), 0), to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => bound(&SockaddrIn::from(from), &SockaddrIn::from(to)),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => bound(&SockaddrIn6::from(from), &SockaddrIn6::from(to)),
        _ => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn bound(from: &impl SockaddrLike, to: &impl SockaddrLike) -> io::Result<()> {
    let family = from.family().unwrap_or(AddressFamily::Inet);
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // SO_SNDTIMEO also limits the time for connecting.
    setsockopt(&fd, SendTimeout, &TimeVal::seconds(SECONDS.into()))?;
    bind(fd.as_raw_fd(), from)?;
    connect(fd.as_raw_fd(), to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn connects_to_a_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(plain(address).is_ok());
        let host = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (host, address) else { panic!("{address}") };
        assert!(bound(&SockaddrIn::from(from), &SockaddrIn::from(to)).is_ok());
        drop(listener);
        assert!(plain(address).is_err());
        assert!(from_this_host(address).is_err());
    }
}
