//! Trying whether something answers over TCP.

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
/// Documentation's own addresses: only asked for the way there.
const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// As any program of this host would.
///
/// # Errors
/// When nothing answers in time.
pub fn plain(to: SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(&to, Duration::from_secs(SECONDS.into())).map(|_| ())
}

/// From the address that this host has for everybody else.
///
/// An address of a Service that is still on `kube-ipvs0` is where this host's own connections to it come from, and an
/// answer sent there by another host does not arrive. That is cured by cleaning, and no reason not to clean.
///
/// # Errors
/// When nothing answers in time, or this host has no way to anybody else.
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
    // For how long connecting may take, too.
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
    fn who_listens_answers() {
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
