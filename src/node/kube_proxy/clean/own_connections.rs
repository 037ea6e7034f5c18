//! This host's own connections to Services while their addresses are on `kube-ipvs0`.
//!
//! A host's connection to one of its own addresses uses that address as its source, unless the route sets another one. So
//! as long as `kube-ipvs0` exists, the host's own connections to a Service have the Service's address as their source, in
//! the new mode as well. They end when the address is removed, and if the new mode does not masquerade them (no
//! clusterCIDR), replies from pods on other hosts never arrive. Therefore new connections are made to use the host's own
//! address, and an address is removed only when none of the old connections is left.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::kube_proxy::rules::owners::LINK;
use crate::node::kube_proxy::socket_table::socket;
use crate::node::netlink::{links, routes};
use crate::node::root::Root;

/// Formerly anycast addresses of relays, unused now (RFC 7526): the source address for them is the host's default one.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 88, 99, 1)), IpAddr::V6(Ipv6Addr::new(0x2002, 0xc058, 0x6301, 0, 0, 0, 0, 1))];
/// The number of the loopback interface, in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;
const SOCKETS: [&str; 4] = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];

/// Makes new connections use the host's own address as their source.
pub fn come_from_the_host(observed: &Observed) {
    on_link(observed, |link, address| match own_address(observed, address) {
        None => Err(io::Error::other("no own address of this host was found to use as the source")),
        Some(own) if address.is_ipv4() => routes::prefer(link, address, own),
        // For an IPv6 address, the kernel accepts no route before its own, and none over an interface that is down. So this
        // route is added after it on the loopback interface, where the route of a local address leads anyway.
        Some(own) => {
            routes::prefer(LOOPBACK, address, own)?;
            routes::delete(link, address)
        }
    });
}

/// Makes them use the Service's address as their source again, as in ipvs mode: with another preferred source, the route
/// would be removed together with that address, and ipvs mode needs it.
pub fn come_from_the_service(observed: &Observed) {
    on_link(observed, |link, address| {
        if address.is_ipv4() {
            return routes::prefer(link, address, address);
        }
        if source_to(address) != Some(address) {
            // The kernel creates such a route only together with an address; there must always be one.
            routes::prefer(LOOPBACK, address, address)?;
            links::delete_address(link, address)?;
            links::add_address(link, address)?;
        }
        routes::delete(LOOPBACK, address)
    });
}

/// Removes the route of [`come_from_the_host`] for an address that is being removed, or was removed, from `kube-ipvs0`.
///
/// # Errors
/// When the kernel refuses.
pub fn forget(link: u32, address: IpAddr) -> io::Result<()> {
    routes::delete(if address.is_ipv4() { link } else { LOOPBACK }, address)
}

fn on_link(observed: &Observed, act: impl Fn(u32, IpAddr) -> io::Result<()>) {
    let Ok(Some(link)) = links::find(LINK) else { return };
    for address in &observed.link_addresses {
        if let Err(error) = act(link.index, *address) {
            tracing::info!("the route of {address} was not changed: {error}");
        }
    }
}

/// The host's default source address or, without a default route, the one towards the neighbours of `address`.
fn own_address(observed: &Observed, address: IpAddr) -> Option<IpAddr> {
    let neighbour = match address {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ 1).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ 1).into()),
    };
    let is_own = |own: &IpAddr| !own.is_loopback() && observed.own_addresses.contains(own);
    [FAR[usize::from(address.is_ipv6())], neighbour].into_iter().filter_map(source_to).find(is_own)
}

/// The source address of a connection to `address`. Nothing is sent: the kernel only looks up the route.
fn source_to(address: IpAddr) -> Option<IpAddr> {
    let any = if address.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The local ends of this host's live connections whose source is an address of `kube-ipvs0`.
///
/// # Errors
/// If a file below `/proc/net` exists and cannot be read.
pub fn from_the_link(root: &Root, observed: &Observed) -> io::Result<Vec<(IpAddr, u16)>> {
    let mut ends = Vec::new();
    if observed.link_addresses.is_empty() {
        return Ok(ends);
    }
    for path in SOCKETS {
        root.read_lines(path, |line| {
            ends.extend(live_end(line).filter(|(address, _)| observed.link_addresses.contains(address)));
        })?;
    }
    Ok(ends)
}

fn live_end(line: &str) -> Option<(IpAddr, u16)> {
    let socket = socket(line)?;
    // Established (UDP: connected), being opened, being closed; FIN_WAIT2 only as long as a process has it open.
    let lives = matches!(socket.state, "01" | "02" | "03" | "04" | "08") || socket.state == "05" && socket.inode != 0;
    lives.then_some((socket.local.ip(), socket.local.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn live_ends() {
        let line = |local: &str, state: &str, inode: &str| {
            live_end(&format!(
                "   1: {local} 0A01F40A:1F90 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 20 4 30 10 -1"
            ))
            .map(|(address, port)| format!("{address} {port}"))
        };
        let service = Some("10.96.1.1 40000".to_owned());
        assert_eq!(line("0101600A:9C40", "01", "4711"), service);
        assert_eq!(line("0101600A:9C40", "02", "4711"), service, "being opened");
        assert_eq!(line("0101600A:9C40", "05", "4711"), service, "half closed");
        assert_eq!(line("0101600A:9C40", "05", "0"), None, "closed by its owner");
        assert_eq!(line("0101600A:9C40", "06", "0"), None, "TIME_WAIT");
        assert_eq!(line("0101600A:9C40", "0A", "4711"), None, "listens");
        assert_eq!(line("0000000000000000FFFF00000101600A:9C40", "01", "4711"), service, "mapped");
        assert_eq!(
            line("100000FD000096000000000005010000:9C40", "01", "4711").as_deref(),
            Some("fd00:10:96::105 40000")
        );
        assert_eq!(
            live_end(
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
            ),
            None
        );
        assert_eq!(line("xyz:1", "01", "4711"), None);
    }
}
