//! Connection tracking through netlink: ctnetlink.

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::message::{address, attribute, push, push_nested};
use super::socket::{DUMP, Socket};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER: usize = 4;
const ORIGINAL: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const V4_DESTINATION: u16 = 2;
const V6_DESTINATION: u16 = 4;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

/// Deletes the entries of UDP connections to one of `servers`, so that the next packet is routed like a first one. Returns
/// their number.
///
/// # Errors
/// If the kernel refuses the request. An entry that does not exist any more is not an error.
pub fn forget_udp(servers: &[(IpAddr, u16)]) -> io::Result<usize> {
    let mut forgotten = 0;
    for family in [2_u8, 10] {
        if !servers.iter().any(|(address, _)| address.is_ipv6() == (family == 10)) {
            continue;
        }
        let header = [family, 0, 0, 0];
        let mut socket = Socket::open(SockProtocol::NetlinkNetFilter)?;
        let is_to_one = |entry: &[u8]| {
            let tuple = entry.get(HEADER..).and_then(|attributes| attribute(attributes, ORIGINAL));
            tuple.and_then(destination).is_some_and(|destination| servers.contains(&destination))
        };
        for entry in socket.request_some(SUBSYSTEM | GET, DUMP, &header, is_to_one)? {
            let Some(attributes) = entry.get(HEADER..) else { continue };
            let Some(tuple) = attribute(attributes, ORIGINAL) else { continue };
            let mut payload = header.to_vec();
            push_nested(&mut payload, ORIGINAL, tuple);
            // The same addresses may be in use again, so exactly the found entry is deleted.
            for kind in [ID, ZONE] {
                if let Some(value) = attribute(attributes, kind) {
                    push(&mut payload, kind, value);
                }
            }
            match socket.request(SUBSYSTEM | DELETE, 0, &payload) {
                Ok(_) => forgotten += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(forgotten)
}

/// The original destination of a UDP connection.
fn destination(tuple: &[u8]) -> Option<(IpAddr, u16)> {
    let protocol = attribute(tuple, TUPLE_PROTOCOL)?;
    (attribute(protocol, PROTOCOL_NUMBER)? == [17]).then_some(())?;
    let port = <[u8; 2]>::try_from(attribute(protocol, DESTINATION_PORT)?).ok()?;
    let addresses = attribute(tuple, TUPLE_ADDRESSES)?;
    let bytes = attribute(addresses, V4_DESTINATION).or_else(|| attribute(addresses, V6_DESTINATION))?;
    Some((address(bytes)?, u16::from_be_bytes(port)))
}
