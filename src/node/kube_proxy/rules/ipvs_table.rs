//! Parses the kernel's IPVS tables, `/proc/net/ip_vs` and `/proc/net/ip_vs_conn`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Its address; unspecified for a firewall mark.
    pub address: IpAddr,
    /// Its port, or firewall mark.
    pub port: u32,
    /// `TCP`, `UDP`, `SCTP` or `FWM`.
    pub protocol: String,
    /// Its scheduler.
    pub scheduler: String,
}

/// A connection. It contains no text, because a node may have a million of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: &'static str,
    /// Its source.
    pub client: (IpAddr, u16),
    /// Its virtual server.
    pub server: (IpAddr, u16),
    /// Whether, by its state, it has ended or has not started.
    pub over: bool,
    /// Seconds until it expires.
    pub expires: u64,
}

/// The virtual server in a line of `/proc/net/ip_vs`.
pub fn server(line: &str) -> Option<Server> {
    let mut fields = line.split_whitespace();
    let (protocol, place, scheduler) = (fields.next()?, fields.next()?, fields.next()?);
    let (address, port) = match protocol {
        "TCP" | "UDP" | "SCTP" => {
            let (address, port) = place.rsplit_once(':')?;
            (address_of(address)?, u32::from_str_radix(port, 16).ok()?)
        }
        "FWM" => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), u32::from_str_radix(place, 16).ok()?),
        _ => return None,
    };
    Some(Server { address, port, protocol: protocol.to_owned(), scheduler: scheduler.to_owned() })
}

/// The connection in a line of `/proc/net/ip_vs_conn`: `Pro FromIP FPrt ToIP TPrt DestIP DPrt State Expires …`
///
/// A persistence template (without a port) is not a connection.
pub fn connection(line: &str) -> Option<Connection> {
    let mut fields = line.split_whitespace();
    let mut next = || fields.next();
    let (protocol, from, from_port, to, to_port) = (next()?, next()?, next()?, next()?, next()?);
    let (_, _, state, expires) = (next()?, next()?, next()?, next()?);
    let port = |text| u16::from_str_radix(text, 16).ok();
    let protocol = ["TCP", "UDP", "SCTP"].into_iter().find(|known| *known == protocol)?;
    let over: &[&str] = match protocol {
        "TCP" => &["NONE", "TIME_WAIT", "CLOSE", "LISTEN"],
        _ => &["NONE", "CLOSED", "REJECTED"],
    };
    let connection = Connection {
        protocol,
        client: (address_of(from)?, port(from_port)?),
        server: (address_of(to)?, port(to_port)?),
        over: over.contains(&state),
        expires: expires.parse().ok()?,
    };
    (connection.client.1 != 0).then_some(connection)
}

/// `0A600001`, `[2001:0db8:…]` or `2001:0db8:…`
fn address_of(text: &str) -> Option<IpAddr> {
    if text.len() == 8 && !text.contains(':') {
        return u32::from_str_radix(text, 16).ok().map(|address| IpAddr::V4(address.into()));
    }
    text.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

impl Connection {
    /// Whether it is still in use. `udp_timeout`: after how many idle seconds the kernel removes a UDP connection.
    pub fn is_live(&self, udp_timeout: u64) -> bool {
        if self.protocol == "UDP" { udp_timeout.saturating_sub(self.expires) < UDP_IDLE } else { !self.over }
    }
}

/// UDP has no end of connection: after this many idle seconds it counts as ended.
const UDP_IDLE: u64 = 10;

impl Server {
    /// Whether the connection belongs to this virtual server.
    pub fn has(&self, connection: &Connection) -> bool {
        self.protocol == connection.protocol
            && self.address == connection.server.0
            && self.port == u32::from(connection.server.1)
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match self.address {
            _ if self.protocol == "FWM" => format!("FWM {}", self.port),
            IpAddr::V4(address) => format!("{} {address}:{}", self.protocol, self.port),
            IpAddr::V6(address) => format!("{} [{address}]:{}", self.protocol, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_servers() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                    UDP  0A60000A:0035 rr \n  -> 0AF40006:0035      Masq    1      0          0         \n\
                    TCP  0A600001:01BB wlc persistent 10800 FFFFFFFF\n\
                    TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:0050 rr \nFWM  0000000A rr \n";
        let mut servers: Vec<Server> = text.lines().filter_map(server).collect();
        servers.sort();
        let names: Vec<String> = servers.iter().map(|s| format!("{} {}", s.name(), s.scheduler)).collect();
        assert_eq!(names, ["FWM 10 rr", "TCP 10.96.0.1:443 wlc", "UDP 10.96.0.10:53 rr", "TCP [2001:db8::1]:80 rr"]);
    }

    #[test]
    fn live_connections() {
        let text = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n\
                    TCP 0AF40005 C350 0A600064 0050 0AF40006 1F90 ESTABLISHED     890\n\
                    TCP 0AF40005 C351 0A600064 0050 0AF40006 1F90 TIME_WAIT       110\n\
                    TCP 0AF40005 0000 0A600064 0050 0AF40006 1F90 ASSURED         880\n\
                    TCP 0AF40005 C352 0A600064 0050 0AF40006 1F90 FIN_WAIT         20\n\
                    UDP 0AF40005 C353 0A60000A 0035 0AF40006 0035 UDP             295\n\
                    UDP 0AF40005 C354 0A60000A 0035 0AF40006 0035 UDP             289\n\
                    TCP 2001:0db8:0000:0000:0000:0000:0000:0005 C350 2001:0db8:0000:0000:0000:0000:0000:0001 0050 2001:0db8:0000:0000:0000:0000:0000:0006 1F90 SYN_RECV          50\n";
        let connections: Vec<Connection> = text.lines().filter_map(connection).collect();
        let live: Vec<bool> = connections.iter().map(|connection| connection.is_live(300)).collect();
        assert_eq!(live, [true, false, true, true, false, true]);
        let server = server("TCP  0A600064:0050 rr").unwrap();
        assert_eq!(connections.iter().filter(|connection| server.has(connection)).count(), 3);
    }
}
