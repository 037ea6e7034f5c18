//! Routes of this host's own addresses: rtnetlink, the table `local`.

use std::io;
use std::net::Ipv4Addr;

use nix::sys::socket::SockProtocol;

use super::message::push;
use super::socket::Socket;

const NEW: u16 = 24;
const DELETE: u16 = 25;
/// `NLM_F_REPLACE` and `NLM_F_CREATE`.
const REPLACE: u16 = 0x100 | 0x400;
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const PREFERRED_SOURCE: u16 = 7;
const FAMILY_V4: u8 = 2;
const TABLE_LOCAL: u8 = 255;
/// As the kernel's own, which network managers leave alone.
const PROTOCOL_KERNEL: u8 = 2;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
/// `ESRCH`: there is no such route.
const NO_SUCH: i32 = 3;

/// Makes this host's own connections to `address`, which interface `index` carries, come from `source` when they do not
/// choose. The kernel's own choice is the address itself. In no moment the address is not this host's.
///
/// # Errors
/// When the kernel refuses, for example because `source` is not an address of this host.
pub fn prefer(index: u32, address: Ipv4Addr, source: Ipv4Addr) -> io::Result<()> {
    request(NEW, REPLACE, index, address, Some(source))
}

/// Removes what [`prefer`] made of an address's route, once the address is gone: the kernel knows only its own.
///
/// # Errors
/// When the kernel refuses. That there is none is no error.
pub fn delete(index: u32, address: Ipv4Addr) -> io::Result<()> {
    match request(DELETE, 0, index, address, None) {
        Err(error) if error.raw_os_error() == Some(NO_SUCH) => Ok(()),
        result => result,
    }
}

fn request(kind: u16, flags: u16, index: u32, address: Ipv4Addr, source: Option<Ipv4Addr>) -> io::Result<()> {
    let mut payload = vec![FAMILY_V4, 32, 0, 0, TABLE_LOCAL, PROTOCOL_KERNEL, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
    push(&mut payload, DESTINATION, &address.octets());
    push(&mut payload, INTERFACE, &index.to_ne_bytes());
    if let Some(source) = source {
        push(&mut payload, PREFERRED_SOURCE, &source.octets());
    }
    Socket::open(SockProtocol::NetlinkRoute)?.request(kind, flags, &payload).map(|_| ())
}
