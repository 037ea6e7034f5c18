//! Services of which kube-proxy itself says, in its rules or virtual servers, that they have no endpoints.
//!
//! All of the lab's have some, but for one that no client asks. kube-proxy's first sync may come before it has been told of
//! everything, see [`super::causes::Cause::Unserved`].

use std::collections::BTreeSet;
use std::io::{self, BufRead};

/// The lab's Services (`guest/lib/lab-services`), as clients name them.
const SERVICES: [&str; 8] = ["cluster-ip", "affinity", "node-port", "balancer", "ranges", "local", "external", "udp"];

/// The Service of a virtual server, by its address or its port as `/proc/net/ip_vs` has them.
fn service_of(server: &str) -> Option<&'static str> {
    let (address, port) = server.split_once(':').unwrap_or((server, ""));
    let by_address = match address {
        "0A600101" => Some("cluster-ip"),
        "0A600102" => Some("affinity"),
        "0A600103" => Some("udp"),
        "C6336414" => Some("balancer"),
        "C6336415" => Some("ranges"),
        "C6336416" => Some("local"),
        "C633641E" => Some("external"),
        _ => None,
    };
    by_address.or(match port {
        "7580" => Some("node-port"),
        "7581" => Some("balancer"),
        "7582" => Some("ranges"),
        "7583" => Some("local"),
        "7585" => Some("udp"),
        _ => None,
    })
}

/// The Service that a rule rejects for want of endpoints.
fn rejected_by(rule: &str) -> Option<&str> {
    if !rule.contains("has no endpoints") && !rule.contains("has no local endpoints") {
        return None;
    }
    // As in: --comment "default/udp has no endpoints", "default/web:http has no local endpoints"
    let name = rule.split("\"default/").nth(1)?;
    name.split([' ', ':']).next()
}

/// From what iptables-save says and `/proc/net/ip_vs` has, in any order.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn of(state: impl BufRead) -> io::Result<Vec<&'static str>> {
    let mut rejected: BTreeSet<&str> = BTreeSet::new();
    let (mut virtual_servers, mut with_backend) = (BTreeSet::new(), BTreeSet::new());
    let mut ipvs = false;
    let mut current = None;
    for line in state.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = rejected_by(&line) {
            rejected.extend(SERVICES.into_iter().filter(|service| *service == name));
        } else if line.starts_with("-A KUBE-SERVICES ") && line.contains("--match-set KUBE-CLUSTER-IP") {
            ipvs = true;
        } else if line.starts_with("TCP ") || line.starts_with("UDP ") {
            current = line.split_whitespace().nth(1).and_then(service_of);
            virtual_servers.extend(current);
        } else if line.starts_with("  ->") {
            // -> RemoteAddress:Port Forward Weight ActiveConn InActConn
            let weight = line.split_whitespace().nth(3).and_then(|weight| weight.parse::<u32>().ok());
            with_backend.extend(current.filter(|_| weight.is_some_and(|weight| weight > 0)));
        }
    }
    let empty = |name: &str| ipvs && virtual_servers.contains(name) && !with_backend.contains(name);
    Ok(SERVICES.into_iter().filter(|name| rejected.contains(name) || empty(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_reject() {
        let rules = r#"
-A KUBE-SERVICES -d 10.96.1.1/32 -p tcp -m comment --comment "default/cluster-ip has no endpoints" -m tcp --dport 80 -j REJECT
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/local:http has no local endpoints" -j DROP
-A KUBE-SERVICES -d 10.96.1.4/32 -p tcp -m comment --comment "default/empty has no endpoints" -j REJECT
-A KUBE-SERVICES -d 10.96.0.10/32 -m comment --comment "kube-system/udp has no endpoints" -j REJECT
"#;
        assert_eq!(of(rules.as_bytes()).unwrap(), ["cluster-ip", "local"]);
    }

    const SERVERS: &str = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600101:0050 rr
  -> 0AF40002:1F90      Masq    1      0          0
TCP  0A600102:0050 rr persistent 10800 FFFFFFFF
TCP  0A090001:7580 rr
  -> 0AF40002:1F90      Masq    0      3          0
TCP  0A600104:0050 rr
UDP  0A090001:7585 rr
UDP  0A600103:0050 rr
  -> 0AF40002:1F90      Masq    1      0          0
";

    #[test]
    fn virtual_servers_without_a_real_one() {
        let rule = "-A KUBE-SERVICES -m comment --comment \"Kubernetes service cluster ip\" -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT\n";
        assert_eq!(of(format!("{rule}{SERVERS}").as_bytes()).unwrap(), ["affinity", "node-port"]);
    }

    #[test]
    fn virtual_servers_of_a_mode_that_was_left_serve_nobody() {
        assert!(of(SERVERS.as_bytes()).unwrap().is_empty());
    }
}
