//! A netlink socket: sends a request and collects its answers.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

const HEADER: usize = 16;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// Requests all objects of a kind instead of one.
pub(super) const DUMP: u16 = 0x300;
/// On an answer: the list changed during the dump.
const CHANGED: u16 = 0x10;
const TRIES: u32 = 5;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The kernel sends at most 32 KiB at once.
const BUFFER: usize = 64 * 1024;

pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(super) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Sends a request and collects the payloads of its answers until the kernel reports the end. A list that changed
    /// during the dump is requested again.
    pub(super) fn request(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.request_some(kind, flags, payload, |_| true)
    }

    /// Like [`Socket::request`], with only the answers that `wanted` accepts: there may be a million.
    pub(super) fn request_some(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        wanted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<Vec<u8>>> {
        for _ in 1..TRIES {
            match self.once(kind, flags, payload, &wanted) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        self.once(kind, flags, payload, &wanted)
    }

    fn once(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> io::Result<Vec<Vec<u8>>> {
        self.sequence += 1;
        let flags = REQUEST | flags | if flags & DUMP == DUMP { 0 } else { ACKNOWLEDGE };
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(payload);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty())?;

        let mut answers = Vec::new();
        let mut changed = false;
        loop {
            let received = recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let mut rest = &self.buffer[..received];
            while let Some((Message { kind, flags, sequence, payload }, next)) = split(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                changed |= flags & CHANGED != 0;
                match kind {
                    DONE if changed => return Err(io::ErrorKind::Interrupted.into()),
                    DONE | ERROR => return failure(payload).map_or(Ok(answers), Err),
                    _ if wanted(payload) => answers.push(payload.to_vec()),
                    _ => {}
                }
            }
        }
    }
}

/// The error at the start of a message that ends an answer, if any: a dump that failed half-way ends with one, too
/// (`netlink_dump_done` in the kernel's `af_netlink.c`).
fn failure(payload: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(*payload.first_chunk::<4>()?);
    (code < 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
}

/// A message in a datagram.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The first message, and the rest.
fn split(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let short = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(long(0)?).ok()?;
    let message =
        Message { kind: short(4)?, flags: short(6)?, sequence: long(8)?, payload: bytes.get(HEADER..length)? };
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_dump_is_an_error() {
        let told = |payload: &[u8]| failure(payload).and_then(|error| error.raw_os_error());
        assert_eq!(told(&(-12i32).to_ne_bytes()), Some(12));
        assert_eq!(told(&0i32.to_ne_bytes()), None, "acknowledged");
        assert_eq!(told(&[]), None, "older kernels");
        assert_eq!(told(&i32::MIN.to_ne_bytes()), Some(i32::MAX));
    }
}
