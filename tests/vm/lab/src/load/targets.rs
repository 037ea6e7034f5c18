//! Whom a client asks: one a line, `NAME tcp|udp ADDRESS PORT [deny|brief|direct]`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use nix::sys::socket::SockaddrStorage;

/// Distinguishes more backends than the lab has.
const BACKENDS: usize = 8;

#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) udp: bool,
    /// Must not be answered.
    pub(super) deny: bool,
    /// Not for long-lived connections.
    pub(super) brief: bool,
    /// Nothing but the machine is in the way.
    pub(super) direct: bool,
    pub(super) address: SockaddrStorage,
    pub(super) ipv6: bool,
    /// Who answered.
    pub(super) backends: Vec<String>,
}

impl Target {
    /// Whether it takes long-lived connections.
    pub(super) fn lasting(&self) -> bool {
        !(self.udp || self.deny || self.brief)
    }

    /// Remembers who answered: the first line after a header of HTTP, or of all.
    pub(super) fn answered(&mut self, said: &[u8]) {
        let body = said.windows(4).position(|four| four == b"\r\n\r\n").map_or(said, |at| &said[at + 4..]);
        let name = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if self.backends.len() < BACKENDS && !self.backends.iter().any(|known| known.as_bytes() == name) {
            self.backends.push(String::from_utf8_lossy(name).into_owned());
        }
    }
}

/// # Errors
/// If a line is none, or there is no target.
pub(super) fn parse(list: &str) -> anyhow::Result<Vec<Target>> {
    let lines = list.lines().filter(|line| !line.trim().is_empty());
    let targets: Vec<_> =
        lines.map(|line| target(line).with_context(|| format!("no target: {line}"))).collect::<Result<_, _>>()?;
    if targets.is_empty() {
        bail!("no targets");
    }
    Ok(targets)
}

fn target(line: &str) -> anyhow::Result<Target> {
    let mut words = line.split_whitespace();
    let mut word = |what| words.next().with_context(|| format!("no {what}"));
    let name = word("name")?.to_owned();
    let udp = match word("protocol")? {
        "tcp" => false,
        "udp" => true,
        other => bail!("protocol {other}"),
    };
    let address: IpAddr = word("address")?.parse()?;
    let port = word("port")?.parse()?;
    let option = words.next();
    if !matches!(option, None | Some("deny" | "brief" | "direct")) || words.next().is_some() {
        bail!("options are deny, brief or direct");
    }
    Ok(Target {
        name,
        udp,
        deny: option == Some("deny"),
        brief: option == Some("brief"),
        direct: option == Some("direct"),
        address: SocketAddr::new(address, port).into(),
        ipv6: address.is_ipv6(),
        backends: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list() {
        let list = "cluster-ip tcp 10.96.1.1 80\nudp udp fd00::1 53\n\nranges-denied tcp 198.51.100.21 80 deny\nkubernetes tcp 10.96.0.1 443 brief\nheadless tcp 10.244.0.2 8081 direct\n";
        let targets = parse(list).unwrap();
        let lasting: Vec<_> =
            targets.iter().filter(|target| target.lasting()).map(|target| target.name.as_str()).collect();
        assert_eq!(lasting, ["cluster-ip", "headless"]);
        assert!(targets[1].udp && targets[1].ipv6 && targets[2].deny && targets[3].brief && targets[4].direct);
    }

    #[test]
    fn what_is_no_list() {
        for line in
            ["", "name", "a tcp 10.0.0.1", "a sctp 10.0.0.1 1", "a tcp host 1", "a tcp ::1 1 slow", "a tcp ::1 70000"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn backends_are_told_apart() {
        let mut target = parse("a tcp ::1 1").unwrap().remove(0);
        for said in ["HTTP/1.0 200 OK\r\nA: b\r\n\r\nweb-1\n", "web-2\nmore", "web-1", "HTTP/1.0 200 OK\r\n\r\nweb-2"] {
            target.answered(said.as_bytes());
        }
        assert_eq!(target.backends, ["web-1", "web-2"]);
    }
}
