//! Parses the kernel's tables of sockets, `/proc/net/tcp`, `tcp6`, `udp` and `udp6`. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket<'a> {
    /// Its local address.
    pub local: SocketAddr,
    /// Where its packets go: for TCP, before any rule of netfilter changes them.
    pub remote: SocketAddr,
    /// Its state in hexadecimal, such as `01`: established.
    pub state: &'a str,
    /// Its inode; 0 if no process has it open.
    pub inode: u64,
}

/// The socket in a line: `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`
pub fn socket(line: &str) -> Option<Socket<'_>> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    let [_, local, remote, state, _, _, _, _, _, inode] = fields[..] else { return None };
    Some(Socket { local: end(local)?, remote: end(remote)?, state, inode: inode.parse().ok()? })
}

fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    Some(SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of four bytes in the byte order of this machine.
fn address_of(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match <[u8; 16]>::try_from(&bytes[..]) {
        // A dual-stack socket shows an IPv4 address as a mapped one.
        Ok(long) => Some(IpAddr::V6(Ipv6Addr::from(long)).to_canonical()),
        Err(_) => <[u8; 4]>::try_from(&bytes[..]).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_and_other_lines() {
        let line = |local: &str, remote: &str, inode: &str| {
            let rest = "00000000:00000000 00:00000000 00000000     0        0";
            format!("   1: {local} {remote} 01 {rest} {inode} 2 00000000e800c338 20 0 0 10 -1")
        };
        let ends =
            |line: &str| socket(line).map(|socket| format!("{} {} {}", socket.local, socket.remote, socket.inode));
        assert_eq!(
            ends(&line("0A0200C0:D4DA", "0100600A:01BB", "4711")).as_deref(),
            Some("192.0.2.10:54490 10.96.0.1:443 4711")
        );
        let (mapped, own) = ("0000000000000000FFFF00000100600A:01BB", "100000FD000096000000000005010000:9C40");
        assert_eq!(
            ends(&line(own, mapped, "18446744073709551615")).as_deref(),
            Some("[fd00:10:96::105]:40000 10.96.0.1:443 18446744073709551615")
        );
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        for other in [
            "",
            header,
            &line("0A0200C0:D4DA", "0100600A", "1"),
            &line("0A0200C0:D4DA", "0100600A:1BBBB", "1"),
            &line("0A0200C0:D4DA", "0100600:01BB", "1"),
            &line("0A0200C0:D4DA", "0100600A0100600A:01BB", "1"),
            &line("0A0200C0:D4DA", "é100600A:01BB", "1"),
            &line("0A0200C0:D4DA", ":01BB", "1"),
            &line("0A0200C0:D4DA", "0100600A:01BB", "-1"),
            &line("0A0200C0:D4DA", "0100600A:01BB", "18446744073709551616"),
            "   1: 0A0200C0:D4DA 0100600A:01BB 01 0:0 0:0 0",
        ] {
            assert_eq!(ends(other), None, "{other}");
        }
    }
}
