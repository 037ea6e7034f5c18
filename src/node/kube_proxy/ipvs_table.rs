//! The kernel's IPVS tables as `/proc/net/ip_vs` and `/proc/net/ip_vs_conn` show them. Pure.

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

/// A connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Where it comes from.
    pub client: (IpAddr, u16),
    /// The virtual server it came to.
    pub server: (IpAddr, u16),
    /// Its state, such as `ESTABLISHED`.
    pub state: String,
    /// Seconds until it is forgotten.
    pub expires: u64,
}

/// Takes `/proc/net/ip_vs` apart, sorted by address.
pub fn servers(text: &str) -> Vec<Server> {
    let mut servers: Vec<Server> = text.lines().filter_map(server).collect();
    servers.sort();
    servers
}

fn server(line: &str) -> Option<Server> {
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

/// Takes `/proc/net/ip_vs_conn` apart. What only remembers a client's choice of backend (a template) is no connection.
pub fn connections(text: &str) -> Vec<Connection> {
    text.lines().filter_map(connection).filter(|connection| connection.client.1 != 0).collect()
}

/// `Pro FromIP FPrt ToIP TPrt DestIP DPrt State Expires …`
fn connection(line: &str) -> Option<Connection> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [protocol, from, from_port, to, to_port, _, _, state, expires, ..] = fields[..] else { return None };
    let port = |text| u16::from_str_radix(text, 16).ok();
    Some(Connection {
        protocol: protocol.to_owned(),
        client: (address_of(from)?, port(from_port)?),
        server: (address_of(to)?, port(to_port)?),
        state: state.to_owned(),
        expires: expires.parse().ok()?,
    })
}

/// `0A600001`, `[2001:0db8:…]` or `2001:0db8:…`
fn address_of(text: &str) -> Option<IpAddr> {
    if text.len() == 8 && !text.contains(':') {
        return u32::from_str_radix(text, 16).ok().map(|address| IpAddr::V4(address.into()));
    }
    text.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

impl Connection {
    /// Whether something is still said over it. `udp_timeout`: after how many seconds of silence the kernel forgets a
    /// UDP connection.
    pub fn is_live(&self, udp_timeout: u64) -> bool {
        match self.protocol.as_str() {
            "TCP" => !matches!(self.state.as_str(), "NONE" | "TIME_WAIT" | "CLOSE" | "LISTEN"),
            "UDP" => udp_timeout.saturating_sub(self.expires) < UDP_IDLE,
            _ => !matches!(self.state.as_str(), "NONE" | "CLOSED" | "REJECTED"),
        }
    }
}

/// UDP says no goodbye: after so many seconds of silence it counts as ended.
const UDP_IDLE: u64 = 10;

impl Server {
    /// Whether the connection came to this virtual server.
    pub fn has(&self, connection: &Connection) -> bool {
        self.protocol == connection.protocol
            && self.address == connection.server.0
            && self.port == u32::from(connection.server.1)
    }

    /// As people write it.
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
        let names: Vec<String> = servers(text).iter().map(|s| format!("{} {}", s.name(), s.scheduler)).collect();
        assert_eq!(names, ["FWM 10 rr", "TCP 10.96.0.1:443 wlc", "UDP 10.96.0.10:53 rr", "TCP [2001:db8::1]:80 rr"]);
    }

    #[test]
    fn what_is_live() {
        let text = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n\
                    TCP 0AF40005 C350 0A600064 0050 0AF40006 1F90 ESTABLISHED     890\n\
                    TCP 0AF40005 C351 0A600064 0050 0AF40006 1F90 TIME_WAIT       110\n\
                    TCP 0AF40005 0000 0A600064 0050 0AF40006 1F90 ASSURED         880\n\
                    TCP 0AF40005 C352 0A600064 0050 0AF40006 1F90 FIN_WAIT         20\n\
                    UDP 0AF40005 C353 0A60000A 0035 0AF40006 0035 UDP             295\n\
                    UDP 0AF40005 C354 0A60000A 0035 0AF40006 0035 UDP             289\n\
                    TCP 2001:0db8:0000:0000:0000:0000:0000:0005 C350 2001:0db8:0000:0000:0000:0000:0000:0001 0050 2001:0db8:0000:0000:0000:0000:0000:0006 1F90 SYN_RECV          50\n";
        let live: Vec<bool> = connections(text).iter().map(|connection| connection.is_live(300)).collect();
        assert_eq!(live, [true, false, true, true, false, true]);
        let server = &servers("TCP  0A600064:0050 rr")[0];
        assert_eq!(connections(text).iter().filter(|connection| server.has(connection)).count(), 3);
    }
}
