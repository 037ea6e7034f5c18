//! This host's own connections to Services, while `kube-ipvs0` carries their addresses.
//!
//! A host's connection to one of its own addresses comes from that address, unless the route says otherwise. So as long
//! as `kube-ipvs0` is there, the host's own connections to a Service's address come from the Service's address, in the
//! new mode as well. They end when the address goes, and where the new mode does not mask them (no clusterCIDR) the
//! answer of a pod on another host never arrives. Hence two things: new ones are made to come from the host's own
//! address, and an address goes only when none of the old ones is left.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::observe::Observed;
use super::owners::LINK;
use crate::node::netlink::{links, routes};
use crate::node::root::Root;

/// Were a relay's and are nobody's (RFC 7526): what a host would send to them from is what it has for the world.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 88, 99, 1)), IpAddr::V6(Ipv6Addr::new(0x2002, 0xc058, 0x6301, 0, 0, 0, 0, 1))];
/// The number of the loopback interface, in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
const LOOPBACK: u32 = 1;
const SOCKETS: [&str; 4] = ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"];

/// From now on they come from the host's own address.
pub fn come_from_the_host(observed: &Observed) {
    on_link(observed, |link, address| match own_address(observed, address) {
        None => Err(io::Error::other("no address of this host's own was found to prefer")),
        Some(own) if address.is_ipv4() => routes::prefer(link, address, own),
        // The kernel lets nobody have a route in front of its own one for an IPv6 address, and none over an interface
        // that is down. So ours waits behind it on the loopback interface, where that of a local address leads anyway.
        Some(own) => {
            routes::prefer(LOOPBACK, address, own)?;
            routes::delete(link, address)
        }
    });
}

/// They come from the Service's address again, as ipvs mode has it: with another one preferred the route would go with
/// that one, and ipvs mode needs it.
pub fn come_from_the_service(observed: &Observed) {
    on_link(observed, |link, address| {
        if address.is_ipv4() {
            return routes::prefer(link, address, address);
        }
        if source_to(address) != Some(address) {
            // Only with an address the kernel makes a route like its own; in no moment there shall be none.
            routes::prefer(LOOPBACK, address, address)?;
            links::delete_address(link, address)?;
            links::add_address(link, address)?;
        }
        routes::delete(LOOPBACK, address)
    });
}

/// Takes away what [`come_from_the_host`] made for an address that is about to leave `kube-ipvs0`, or has left it.
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
            tracing::info!("the route of {address} stays as it is: {error}");
        }
    }
}

/// The host's own address for the world, else, where it has no way there, for the neighbours of `address`.
fn own_address(observed: &Observed, address: IpAddr) -> Option<IpAddr> {
    let neighbour = match address {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ 1).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ 1).into()),
    };
    let is_own = |own: &IpAddr| !own.is_loopback() && observed.own_addresses.contains(own);
    [FAR[usize::from(address.is_ipv6())], neighbour].into_iter().filter_map(source_to).find(is_own)
}

/// Where a connection of this host to `address` would come from. Nothing is sent: the kernel only looks for the way.
fn source_to(address: IpAddr) -> Option<IpAddr> {
    let any = if address.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The local ends of live connections of this host that come from an address of `kube-ipvs0`.
///
/// # Errors
/// When a file below `/proc/net` exists and cannot be read.
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

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
fn live_end(line: &str) -> Option<(IpAddr, u16)> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    let [_, local, _, state, _, _, _, _, _, inode] = fields[..] else { return None };
    // Established (UDP: connected), being opened, being closed; FIN_WAIT2 only as long as somebody has it open.
    let lives = matches!(state, "01" | "02" | "03" | "04" | "08") || state == "05" && inode != "0";
    let (address, port) = local.split_once(':').filter(|_| lives)?;
    Some((address_of(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of four bytes, each as this machine reads it.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match <[u8; 16]>::try_from(&bytes[..]) {
        // A socket for both families shows an IPv4 address as a mapped one.
        Ok(long) => Some(IpAddr::V6(Ipv6Addr::from(long)).to_canonical()),
        Err(_) => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
    }
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
