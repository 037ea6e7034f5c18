//! Routes of this host's own addresses: rtnetlink, the table `local`.

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
/// As the kernel's own, which network managers leave alone.
const PROTOCOL_KERNEL: u8 = 2;
/// IPv6 knows no scope.
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
/// `ESRCH`: there is no such route.
const NO_SUCH: i32 = 3;

/// Makes this host's own connections to `address`, over interface `index`, come from `source` when they do not choose. The
/// kernel's own choice is the address itself. For IPv4 it takes the place of the kernel's route, with no moment between; for
/// IPv6 the kernel puts it behind its own.
///
/// # Errors
/// When the kernel refuses, for example because `source` is not an address of this host.
pub fn prefer(index: u32, address: IpAddr, source: IpAddr) -> io::Result<()> {
    request(NEW, REPLACE, index, address, Some(source))
}

/// Removes the route of an address over interface `index`. When an address goes, the kernel removes only its own route, not
/// what [`prefer`] made of it.
///
/// # Errors
/// When the kernel refuses. That there is none is no error.
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
