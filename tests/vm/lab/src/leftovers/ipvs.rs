//! Virtual servers of IPVS, through its generic netlink family (`linux/ip_vs.h`).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, bail};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// Generic netlink's control family, which resolves the others.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const NEW_SERVICE: u8 = 1;
const NEW_DESTINATION: u8 = 5;
const FLUSH: u8 = 17;

const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;

/// Request and acknowledge.
const FLAGS: u16 = 1 | 4;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
/// Of a message, and of generic netlink after it.
const HEADER: usize = 16;
const GENERIC: usize = 4;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Add a TCP virtual server with its real servers
    Tcp(Server),
    /// Add a UDP virtual server with its real servers
    Udp(Server),
    /// Remove all virtual servers
    Flush,
}

#[derive(clap::Args)]
pub(crate) struct Server {
    address: IpAddr,
    port: u16,
    /// Real servers: ADDRESS PORT …
    real: Vec<String>,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let mut ipvs = Ipvs::open().context("IPVS")?;
    let (protocol, server) = match command {
        Command::Tcp(server) => (6_u16, server),
        Command::Udp(server) => (17, server),
        Command::Flush => return ipvs.ask(FLUSH, &[]).context("removing all virtual servers"),
    };
    let real = server.real.as_chunks();
    if !real.1.is_empty() {
        bail!("a real server is an address and a port");
    }
    let whole = service(protocol, server.address, server.port, true);
    ipvs.ask(NEW_SERVICE, &whole).with_context(|| format!("adding {} port {}", server.address, server.port))?;
    let of = service(protocol, server.address, server.port, false);
    for [address, port] in real.0 {
        let destination = destination(address.parse()?, port.parse()?);
        let add = || format!("adding the real server {address} port {port} to {} port {}", server.address, server.port);
        ipvs.ask(NEW_DESTINATION, &[&of[..], &destination].concat()).with_context(add)?;
    }
    Ok(())
}

/// Appends an attribute, padded to four bytes.
fn push(bytes: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = u16::try_from(4 + payload.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The number of an address's family, and its 16 bytes.
fn octets(address: IpAddr) -> (u16, Vec<u8>) {
    let (family, mut bytes) = match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    };
    bytes.resize(16, 0);
    (family, bytes)
}

/// A virtual server, for a round robin if `whole`; else only which one is meant.
fn service(protocol: u16, address: IpAddr, port: u16, whole: bool) -> Vec<u8> {
    let (family, bytes) = octets(address);
    let mut service = Vec::new();
    push(&mut service, 1, &family.to_ne_bytes());
    push(&mut service, 2, &protocol.to_ne_bytes());
    push(&mut service, 3, &bytes);
    push(&mut service, 4, &port.to_be_bytes());
    if whole {
        push(&mut service, 6, b"rr\0");
        // No flags, of all.
        push(&mut service, 7, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        // No timeout of persistence; each client by itself.
        push(&mut service, 8, &0_u32.to_ne_bytes());
        push(&mut service, 9, &if address.is_ipv6() { 128_u32 } else { u32::MAX }.to_ne_bytes());
    }
    let mut nest = Vec::new();
    push(&mut nest, SERVICE | NESTED, &service);
    nest
}

/// A real server behind masquerading, of weight 1, without limits.
fn destination(address: IpAddr, port: u16) -> Vec<u8> {
    let (family, bytes) = octets(address);
    let mut destination = Vec::new();
    push(&mut destination, 1, &bytes);
    push(&mut destination, 2, &port.to_be_bytes());
    push(&mut destination, 3, &0_u32.to_ne_bytes());
    push(&mut destination, 4, &1_u32.to_ne_bytes());
    push(&mut destination, 5, &0_u32.to_ne_bytes());
    push(&mut destination, 6, &0_u32.to_ne_bytes());
    push(&mut destination, 11, &family.to_ne_bytes());
    let mut nest = Vec::new();
    push(&mut nest, DESTINATION | NESTED, &destination);
    nest
}

fn request(kind: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + GENERIC + attributes.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    // Sequence and port: only one request is under way.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    message
}

/// The number of the family in the control family's answer.
fn family(answer: &[u8]) -> Option<u16> {
    let mut rest = answer.get(HEADER + GENERIC..)?;
    loop {
        let short = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let length = usize::from(short(0)?);
        if short(2)? == FAMILY_ID {
            return short(4);
        }
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
}

struct Ipvs {
    socket: OwnedFd,
    family: u16,
}

impl Ipvs {
    fn open() -> anyhow::Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
        let mut ipvs = Self { socket, family: CONTROL };
        let mut name = Vec::new();
        push(&mut name, FAMILY_NAME, b"IPVS\0");
        let answer = ipvs.answer(GET_FAMILY, &name).context("this kernel has none")?;
        ipvs.family = family(&answer).context("the kernel named no family")?;
        Ok(ipvs)
    }

    fn ask(&mut self, command: u8, attributes: &[u8]) -> anyhow::Result<()> {
        self.answer(command, attributes).map(|_| ())
    }

    /// What came before the acknowledgement.
    fn answer(&mut self, command: u8, attributes: &[u8]) -> anyhow::Result<Vec<u8>> {
        send(self.socket.as_raw_fd(), &request(self.family, command, attributes), MsgFlags::empty())?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 8192];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            let message = &buffer[..length];
            if message.get(4..6) != Some(&ERROR.to_ne_bytes()) {
                answer = message.to_vec();
                continue;
            }
            let code = message.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok()).map(i32::from_ne_bytes);
            return match code.context("the kernel's answer was cut off")? {
                0 => Ok(answer),
                code => Err(io::Error::from_raw_os_error(-code).into()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_length_and_its_attributes() {
        let message = request(30, FLUSH, &[]);
        assert_eq!(message, [20, 0, 0, 0, 30, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 17, 1, 0, 0]);
        let whole = service(6, "10.96.0.1".parse().unwrap(), 443, true);
        assert_eq!(usize::from(u16::from_ne_bytes([whole[0], whole[1]])), whole.len());
        assert_eq!(whole[2..4], (SERVICE | NESTED).to_ne_bytes());
        // Family, protocol, address, port.
        assert_eq!(whole[4..12], [6, 0, 1, 0, 2, 0, 0, 0]);
        assert_eq!(whole[20..28], [20, 0, 3, 0, 10, 96, 0, 1]);
        assert_eq!(whole[40..46], [6, 0, 4, 0, 1, 187]);
    }

    #[test]
    fn the_family_is_found() {
        let mut answer = vec![0; HEADER + GENERIC];
        push(&mut answer, FAMILY_NAME, b"IPVS\0");
        push(&mut answer, FAMILY_ID, &31_u16.to_ne_bytes());
        assert_eq!(family(&answer), Some(31));
        assert_eq!(family(&answer[..24]), None);
        assert_eq!(family(&[]), None);
    }
}
