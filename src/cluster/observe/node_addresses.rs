//! Which addresses of a node are its primary ones.

use std::net::IpAddr;

use crate::cluster::api::objects::NodeAddress;

/// The addresses of a node beside the primary one of each family: the first internal one, else the first external one
/// (`GetNodeHostIPs` in pkg/util/node, which kube-proxy uses, too).
pub(super) fn more_addresses(addresses: &[NodeAddress]) -> Vec<String> {
    let of = |kind: &'static str| addresses.iter().filter(move |address| address.r#type == kind);
    let parsed = of("InternalIP").chain(of("ExternalIP")).filter_map(|address| address.address.parse::<IpAddr>().ok());
    let mut more: Vec<IpAddr> = Vec::new();
    let mut primary: Vec<IpAddr> = Vec::new();
    for address in parsed {
        if primary.contains(&address) || more.contains(&address) {
            continue;
        }
        let is_first = primary.iter().all(|other| other.is_ipv6() != address.is_ipv6());
        if is_first { primary.push(address) } else { more.push(address) }
    }
    more.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_family_is_primary() {
        for (addresses, more) in [
            (&[][..], &[][..]),
            (&[("InternalIP", "10.0.0.1"), ("Hostname", "node-1")], &[]),
            (&[("InternalIP", "10.0.0.1"), ("InternalIP", "fd00::1")], &[]),
            (&[("InternalIP", "10.0.0.1"), ("InternalIP", "10.1.0.1")], &["10.1.0.1"]),
            (&[("ExternalIP", "192.0.2.1"), ("InternalIP", "10.0.0.1")], &["192.0.2.1"]),
            (&[("ExternalIP", "192.0.2.1")], &[]),
            (
                &[("InternalIP", "10.0.0.1"), ("ExternalIP", "2001:db8::1"), ("ExternalIP", "2001:db8::2")],
                &["2001:db8::2"],
            ),
            (&[("InternalIP", "10.0.0.1"), ("InternalIP", "10.0.0.1"), ("InternalIP", "no address")], &[]),
        ] {
            let address = |(kind, address): &(&str, &str)| NodeAddress {
                r#type: (*kind).to_owned(),
                address: (*address).to_owned(),
            };
            assert_eq!(more_addresses(&addresses.iter().map(address).collect::<Vec<_>>()), more, "{addresses:?}");
        }
    }
}
