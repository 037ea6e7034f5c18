//! The ipsets of a host from `ipset save`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::owners::{is_set, node_port_protocol};

/// Every set by its name, with its elements as printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sets(BTreeMap<String, Vec<String>>);

impl Sets {
    /// Parses `ipset save`: `create NAME TYPE …`, `add NAME ELEMENT …`.
    pub fn parse(text: &str) -> Self {
        let mut sets = Self::default();
        text.lines().for_each(|line| sets.line(line));
        sets
    }

    /// Parses the next line.
    pub fn line(&mut self, line: &str) {
        let mut fields = line.split_whitespace();
        match (fields.next(), fields.next(), fields.next()) {
            (Some("create"), Some(name), _) => {
                self.0.entry(name.to_owned()).or_default();
            }
            // Only these are needed; others may have a million elements.
            (Some("add"), Some(name), Some(element)) if node_port_protocol(name).is_some() => {
                self.0.entry(name.to_owned()).or_default().push(element.to_owned());
            }
            _ => {}
        }
    }

    /// The sets of ipvs mode.
    pub fn of_ipvs(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| is_set(name))
    }

    /// Sets with similar names that are not of ipvs mode.
    pub fn suspicious(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(|name| name.starts_with("KUBE-") && !is_set(name))
    }

    /// The node ports in ipvs mode's sets, with their protocol.
    pub fn node_ports(&self) -> BTreeSet<(&'static str, u32)> {
        let mut ports = BTreeSet::new();
        for (name, elements) in &self.0 {
            let Some(protocol) = node_port_protocol(name).filter(|_| is_set(name)) else { continue };
            for element in elements {
                // `30080`, or in a hash `192.0.2.1,sctp:30080`
                let port = element.rsplit([':', ',']).next().and_then(|port| port.parse().ok());
                ports.extend(port.map(|port| (protocol, port)));
            }
        }
        ports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_node_ports() {
        let sets = Sets::parse(
            "create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536\nadd KUBE-CLUSTER-IP 10.96.0.1,tcp:443\n\
             create KUBE-NODE-PORT-TCP bitmap:port range 0-65535\nadd KUBE-NODE-PORT-TCP 30200\n\
             create KUBE-6-NODE-PORT-SCTP-HASH hash:ip,port family inet6\nadd KUBE-6-NODE-PORT-SCTP-HASH 2001:db8::1,sctp:30300\n\
             create KUBE-LIKE hash:ip family inet\nadd KUBE-LIKE 192.0.2.7\ncreate mine hash:ip family inet\n",
        );
        let names: Vec<&str> = sets.of_ipvs().collect();
        assert_eq!(names, ["KUBE-6-NODE-PORT-SCTP-HASH", "KUBE-CLUSTER-IP", "KUBE-NODE-PORT-TCP"]);
        assert_eq!(sets.suspicious().collect::<Vec<_>>(), ["KUBE-LIKE"]);
        assert_eq!(sets.node_ports().into_iter().collect::<Vec<_>>(), [("SCTP", 30300), ("TCP", 30200)]);
    }
}
