//! IPVS through generic netlink's family `IPVS`.

use std::io;
use std::net::IpAddr;

use nix::sys::socket::SockProtocol;

use super::message::{attribute, number, push, push_nested};
use super::socket::Socket;

/// Generic netlink's control family, which resolves the others.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const HEADER: usize = 4;

const DELETE_SERVICE: u8 = 3;
const GET_CONFIG: u8 = 13;
const SERVICE: u16 = 1;
const SERVICE_FAMILY: u16 = 1;
const SERVICE_PROTOCOL: u16 = 2;
const SERVICE_ADDRESS: u16 = 3;
const SERVICE_PORT: u16 = 4;
const TIMEOUT_UDP: u16 = 6;

/// A connection to IPVS.
pub struct Ipvs {
    socket: Socket,
    family: u16,
}

impl Ipvs {
    /// Opens a connection to IPVS.
    ///
    /// # Errors
    /// If the kernel refuses, or has no IPVS.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::open(SockProtocol::NetlinkGeneric)?;
        let mut payload = vec![GET_FAMILY, 1, 0, 0];
        push(&mut payload, FAMILY_NAME, b"IPVS\0");
        let answers = socket.request(CONTROL, 0, &payload)?;
        let id = answers.iter().find_map(|answer| number(attribute(answer.get(HEADER..)?, FAMILY_ID)?));
        let family = id.and_then(|id| u16::try_from(id).ok());
        Ok(Self { socket, family: family.ok_or(io::ErrorKind::NotFound)? })
    }

    /// Removes a virtual server; its connections end with it.
    ///
    /// # Errors
    /// If the kernel refuses; [`io::ErrorKind::NotFound`] or `ESRCH` if it does not exist any more.
    pub fn delete(&mut self, protocol: &str, address: IpAddr, port: u16) -> io::Result<()> {
        let number: u16 = match protocol {
            "TCP" => 6,
            "UDP" => 17,
            "SCTP" => 132,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let (family, mut bytes): (u16, Vec<u8>) = match address {
            IpAddr::V4(address) => (2, address.octets().to_vec()),
            IpAddr::V6(address) => (10, address.octets().to_vec()),
        };
        // 16 bytes for an address of either family.
        bytes.resize(16, 0);
        let mut service = Vec::new();
        push(&mut service, SERVICE_FAMILY, &family.to_ne_bytes());
        push(&mut service, SERVICE_PROTOCOL, &number.to_ne_bytes());
        push(&mut service, SERVICE_ADDRESS, &bytes);
        push(&mut service, SERVICE_PORT, &port.to_be_bytes());
        let mut payload = vec![DELETE_SERVICE, 1, 0, 0];
        push_nested(&mut payload, SERVICE, &service);
        self.socket.request(self.family, 0, &payload).map(|_| ())
    }

    /// After how many idle seconds a UDP connection expires.
    ///
    /// # Errors
    /// If the kernel does not report it.
    pub fn udp_timeout(&mut self) -> io::Result<u32> {
        let answers = self.socket.request(self.family, 0, &[GET_CONFIG, 1, 0, 0])?;
        let timeout = answers.iter().find_map(|answer| number(attribute(answer.get(HEADER..)?, TIMEOUT_UDP)?));
        timeout.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
