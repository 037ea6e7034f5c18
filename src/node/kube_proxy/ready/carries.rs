//! Checks whether the running mode has programmed all required Services. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::mode::ProxyMode;
use crate::mode::traits::Carrier;
use crate::node::kube_proxy::rules::iptables_save::Rule;
use crate::node::kube_proxy::rules::ipvs_table::Server;
use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::kube_proxy::rules::stale::is_of;
use crate::node_protocol::ServicePort;

/// The destination of a packet to a Service: protocol in upper case, address and port.
pub type Target = (String, IpAddr, u16);

/// Chains in which iptables mode has a rule for each address and port of a Service, with or without endpoints.
const PORTALS: [(&str, &str); 3] =
    [("nat", "KUBE-SERVICES"), ("filter", "KUBE-SERVICES"), ("filter", "KUBE-EXTERNAL-SERVICES")];

/// The targets that the running mode has programmed. `nft`: those in the tables of nftables mode, see [`elements`].
pub fn carried(observed: &Observed, running: ProxyMode, nft: BTreeSet<Target>) -> BTreeSet<Target> {
    match running.traits().carrier {
        Carrier::VirtualServers => {
            let target =
                |server: &Server| Some((server.protocol.clone(), server.address, u16::try_from(server.port).ok()?));
            observed.servers.iter().filter_map(target).collect()
        }
        Carrier::IptablesChains => {
            let tables =
                observed.saves.iter().filter(|(_, save)| is_of(save, running)).flat_map(|(_, save)| &save.tables);
            let rules = tables.flat_map(|table| table.rules.iter().map(move |rule| (table.name.as_str(), rule)));
            rules
                .filter(|(table, rule)| PORTALS.contains(&(table, &rule.chain)))
                .filter_map(|(_, r)| target(r))
                .collect()
        }
        Carrier::NftablesTables => nft,
    }
}

/// The targets in one line of a table in nftables mode.
pub fn elements(line: &str) -> impl Iterator<Item = Target> {
    line.split(',').filter_map(element)
}

/// The names of Services that are not programmed. Only addresses of the families that this kube-proxy serves count.
pub fn missing<'a>(services: &'a [ServicePort], carried: &BTreeSet<Target>, served: &[&str]) -> Vec<&'a str> {
    let counts = |address: &&IpAddr| served.contains(&if address.is_ipv6() { "ipv6" } else { "ipv4" });
    let lacks = |service: &&ServicePort| {
        let has = |address: &IpAddr| carried.contains(&(service.protocol.clone(), *address, service.port));
        service.addresses.iter().filter(counts).any(|address| !has(address))
    };
    services.iter().filter(lacks).map(|service| service.name.as_str()).collect()
}

/// `-d ADDRESS/32 -p tcp … --dport PORT`
fn target(rule: &Rule) -> Option<Target> {
    let address = rule.value(&["-d"])?.split('/').next()?.parse().ok()?;
    let port = rule.value(&["--dport"])?.parse().ok()?;
    Some((rule.value(&["-p"])?.to_ascii_uppercase(), address, port))
}

/// `ADDRESS . tcp . PORT … : goto CHAIN`, in a map in nftables mode
fn element(text: &str) -> Option<Target> {
    let text = text.trim().trim_start_matches("elements = {").trim();
    let mut fields = text.split_whitespace();
    let (address, dot, protocol, dot2, port) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let verdict = fields.any(|field| field == ":");
    let port = port.parse().ok().filter(|_| dot == "." && dot2 == "." && verdict)?;
    Some((protocol.to_ascii_uppercase(), address.parse().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(addresses: &[&str]) -> ServicePort {
        ServicePort {
            name: "default/web:http".to_owned(),
            protocol: "TCP".to_owned(),
            port: 80,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            node_port: None,
            must_answer: false,
        }
    }

    #[test]
    fn elements_of_nftables() {
        let text = "elements = { 10.96.0.100 . tcp . 80 : goto service-x,\n 2001:db8::1 . udp . 53 comment \"a/b\" : goto reject-chain }\n\
                    elements = { 10.244.0.6 . 10.244.0.6 . tcp . 8080, tcp . 30200 : goto x }\n";
        let found: Vec<String> = text
            .lines()
            .flat_map(elements)
            .map(|(protocol, address, port)| format!("{protocol} {address} {port}"))
            .collect();
        assert_eq!(found, ["TCP 10.96.0.100 80", "UDP 2001:db8::1 53"]);
    }

    #[test]
    fn families_that_are_not_served_are_ignored() {
        let carried = BTreeSet::from([("TCP".to_owned(), "10.96.0.100".parse().unwrap(), 80)]);
        for (addresses, lacks) in [
            (&["10.96.0.100"][..], false),
            (&["10.96.0.100", "2001:db8::1"], false),
            (&["10.96.0.100", "192.0.2.7"], true),
            (&["10.96.0.101"], true),
            (&[], false),
        ] {
            assert_eq!(!missing(&[service(addresses)], &carried, &["ipv4"]).is_empty(), lacks, "{addresses:?}");
        }
        assert_eq!(missing(&[service(&["10.96.0.1"])], &BTreeSet::new(), &["ipv4"]), ["default/web:http"]);
        let dual = service(&["10.96.0.100", "2001:db8::1"]);
        assert_eq!(missing(&[dual], &carried, &["ipv4", "ipv6"]), ["default/web:http"]);
    }
}
