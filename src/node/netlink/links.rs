//! Network interfaces and their addresses: rtnetlink.

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::message::{address, attribute, octets, push, text};
use super::socket::{DUMP, Socket};

const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
/// `NLM_F_EXCL` and `NLM_F_CREATE`.
const CREATE: u16 = 0x200 | 0x400;
const DELETE_ADDRESS: u16 = 21;
const GET_LINK: u16 = 18;
const GET_ADDRESS: u16 = 22;
const LINK_HEADER: usize = 16;
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const INFO_KIND: u16 = 1;
const ADDRESS_HEADER: usize = 8;
const ADDRESS: u16 = 1;
/// The local address of a point-to-point link.
const LOCAL: u16 = 2;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its kind, such as `dummy`, if it has one.
    pub kind: Option<String>,
}

/// The interface of this name, if there is one.
///
/// # Errors
/// If the kernel refuses the request.
pub fn find(name: &str) -> io::Result<Option<Link>> {
    let answers = Socket::open(SockProtocol::NetlinkRoute)?.request(GET_LINK, DUMP, &[0; LINK_HEADER])?;
    Ok(answers.iter().find_map(|answer| {
        let attributes = answer.get(LINK_HEADER..)?;
        (attribute(attributes, LINK_NAME).map(text)? == name).then_some(())?;
        let index = u32::from_ne_bytes(answer.get(4..8)?.try_into().ok()?);
        let kind = attribute(attributes, LINK_INFO).and_then(|info| attribute(info, INFO_KIND)).map(text);
        Some(Link { index, kind })
    }))
}

/// Every address of this system, with the number of its interface.
///
/// # Errors
/// If the kernel refuses the request.
pub fn addresses() -> io::Result<Vec<(u32, IpAddr)>> {
    let answers = Socket::open(SockProtocol::NetlinkRoute)?.request(GET_ADDRESS, DUMP, &[0; ADDRESS_HEADER])?;
    let one = |answer: &Vec<u8>| {
        let index = u32::from_ne_bytes(answer.get(4..8)?.try_into().ok()?);
        let attributes = answer.get(ADDRESS_HEADER..)?;
        let payload = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
        Some((index, address(payload)?))
    };
    Ok(answers.iter().filter_map(one).collect())
}

/// Removes a host address (full prefix length) from an interface.
///
/// # Errors
/// If the kernel refuses, for example because it does not exist any more.
pub fn delete_address(index: u32, address: IpAddr) -> io::Result<()> {
    of_one_host(DELETE_ADDRESS, 0, index, address)
}

/// Adds a host address to an interface. An existing one is not an error.
///
/// # Errors
/// If the kernel refuses.
pub fn add_address(index: u32, address: IpAddr) -> io::Result<()> {
    match of_one_host(NEW_ADDRESS, CREATE, index, address) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

fn of_one_host(kind: u16, flags: u16, index: u32, address: IpAddr) -> io::Result<()> {
    let (family, prefix) = if address.is_ipv4() { (2, 32) } else { (10, 128) };
    let mut payload = vec![family, prefix, 0, 0];
    payload.extend(index.to_ne_bytes());
    push(&mut payload, LOCAL, &octets(address));
    push(&mut payload, ADDRESS, &octets(address));
    Socket::open(SockProtocol::NetlinkRoute)?.request(kind, flags, &payload).map(|_| ())
}

/// Removes an interface with all its addresses.
///
/// # Errors
/// If the kernel refuses, for example because it does not exist any more.
pub fn delete(name: &str) -> io::Result<()> {
    let mut payload = vec![0; LINK_HEADER];
    let mut terminated = name.as_bytes().to_vec();
    terminated.push(0);
    push(&mut payload, LINK_NAME, &terminated);
    Socket::open(SockProtocol::NetlinkRoute)?.request(DELETE_LINK, 0, &payload).map(|_| ())
}
