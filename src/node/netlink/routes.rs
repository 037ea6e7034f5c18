//! Routes of this host's own addresses through rtnetlink, in the table `local`.

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::message::{octets, push};
use super::socket::Socket;

const NEW: u16 = 24;
const DELETE: u16 = 25;
/// `NLM_F_REPLACE` and `NLM_F_CREATE`.
const REPLACE: u16 = 0x100 | 0x400;
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const PREFERRED_SOURCE: u16 = 7;
const TABLE_LOCAL: u8 = 255;
/// The protocol of the kernel's own routes, which network managers do not change.
const PROTOCOL_KERNEL: u8 = 2;
/// IPv6 ignores the scope.
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
/// `ESRCH`: the route does not exist.
const NO_SUCH: i32 = 3;

/// Sets the preferred source of this host's own connections to `address` over interface `index` to `source`. The kernel's
/// default is the address itself. For IPv4 this replaces the kernel's route atomically; for IPv6 the kernel adds it after its
/// own.
///
/// # Errors
/// If the kernel refuses, for example because `source` is not an address of this host.
pub fn prefer(index: u32, address: IpAddr, source: IpAddr) -> io::Result<()> {
    request(NEW, REPLACE, index, address, Some(source))
}

/// Removes the route of an address over interface `index`. When an address is removed, the kernel removes only its own route,
/// not the one of [`prefer`].
///
/// # Errors
/// If the kernel refuses. A missing route is not an error.
pub fn delete(index: u32, address: IpAddr) -> io::Result<()> {
    match request(DELETE, 0, index, address, None) {
        Err(error) if error.raw_os_error() == Some(NO_SUCH) => Ok(()),
        result => result,
    }
}

fn request(kind: u16, flags: u16, index: u32, address: IpAddr, source: Option<IpAddr>) -> io::Result<()> {
    let (family, prefix, scope) = if address.is_ipv4() { (2, 32, SCOPE_HOST) } else { (10, 128, 0) };
    let mut payload = vec![family, prefix, 0, 0, TABLE_LOCAL, PROTOCOL_KERNEL, scope, TYPE_LOCAL, 0, 0, 0, 0];
    push(&mut payload, DESTINATION, &octets(address));
    push(&mut payload, INTERFACE, &index.to_ne_bytes());
    if let Some(source) = source {
        push(&mut payload, PREFERRED_SOURCE, &octets(source));
    }
    Socket::open(SockProtocol::NetlinkRoute)?.request(kind, flags, &payload).map(|_| ())
}
