//! Checks pod and service ranges against each other and against the API server's address.

use std::net::IpAddr;

use super::findings::Findings;
use crate::cidr::{Cidr, parse_ranges};

/// The pod and service ranges, each with its origin.
#[derive(Debug)]
pub struct Ranges<'a> {
    /// Pod ranges.
    pub pods: Option<(String, &'a str)>,
    /// Service ranges; kubeadm's default if not given.
    pub services: Option<(String, &'a str)>,
}

impl Ranges<'_> {
    /// Checks each range, and the ranges against each other and the API server's address.
    /// Returns the place of a dual-stack pair if there is one.
    pub fn check(&self, advertise_address: Option<&str>, findings: &mut Findings) -> Option<String> {
        let parse = |given: &Option<(String, &str)>, limit: fn(Cidr) -> Result<(), String>, findings: &mut Findings| {
            let (place, text) = given.as_ref()?;
            let ranges = findings.accept(place, parse_ranges(text))?;
            for range in &ranges {
                findings.accept(place, limit(*range));
            }
            Some(ranges)
        };
        let pods = parse(&self.pods, check_pod_range, findings);
        let services = parse(&self.services, check_service_range, findings);
        let dual = |given: &Option<(String, &str)>, ranges: &Option<Vec<Cidr>>| {
            given
                .as_ref()
                .filter(|_| ranges.as_ref().is_some_and(|ranges| ranges.len() == 2))
                .map(|(place, _)| place.clone())
        };
        let dual_stack = dual(&self.pods, &pods).or_else(|| dual(&self.services, &services));
        let default = if self.services.is_none() { parse_ranges(DEFAULT_SERVICE_CIDR).ok() } else { None };
        let is_default = default.is_some();
        let services = services.or(default);
        let whose = if is_default { "kubeadm's default service range" } else { "the service range" };
        let family = |cidr: &Cidr| if cidr.is_ipv6() { "IPv6" } else { "IPv4" };
        if let (Some((place, _)), Some(pods), Some(services)) = (&self.pods, &pods, &services) {
            for (pod, service) in pods.iter().flat_map(|pod| services.iter().map(move |service| (pod, service))) {
                if pod.overlaps(*service) {
                    findings.problem(place, format!("{pod} overlaps {whose} {service}; use separate ranges"));
                }
            }
            if pods[0].is_ipv6() != services[0].is_ipv6() {
                findings.problem(
                    place,
                    format!(
                        "starts with {}, but {whose} with {}; use the same order of address families",
                        family(&pods[0]),
                        family(&services[0])
                    ),
                );
            }
        }
        if let (Some(services), Some(Ok(address))) = (&services, advertise_address.map(str::parse::<IpAddr>))
            && address.is_ipv6() != services[0].is_ipv6()
        {
            findings.problem(
                "--apiserver-advertise-address",
                format!("{address} must be of the first address family of {whose}: {}", family(&services[0])),
            );
        }
        dual_stack
    }
}

/// kubeadm's default service range.
pub const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/12";

/// kubeadm's limits for pod ranges: at least 10 addresses, and room for 1 to 2^16 node ranges (/24 or /64).
///
/// # Errors
/// Which limit the range exceeds.
pub fn check_pod_range(range: Cidr) -> Result<(), String> {
    check_pod_range_for(range, if range.is_ipv6() { 64 } else { 24 }, "kube-controller-manager's default")
}

/// Like [`check_pod_range`], for another size of the node ranges; `whose` names its origin.
///
/// # Errors
/// Which limit the range exceeds.
pub fn check_pod_range_for(range: Cidr, node: u8, whose: &str) -> Result<(), String> {
    if range.prefix() > node {
        Err(format!("{range} is too small: each node gets a /{node} from it ({whose})"))
    } else if node - range.prefix() > 16 {
        Err(format!("{range} is too large: with a /{node} per node, the prefix must be {} or longer", node - 16))
    } else {
        Ok(())
    }
}

/// kubeadm's and the API server's limits for service ranges: from 10 to 2^20 addresses.
///
/// # Errors
/// Which limit the range exceeds.
pub fn check_service_range(range: Cidr) -> Result<(), String> {
    match range.host_bits() {
        21.. => Err(format!(
            "{range} is too large: the API server allows at most 2^20 addresses, a prefix of {} or longer",
            range.prefix() + range.host_bits() - 20
        )),
        ..4 => Err(format!("{range} is too small: kubeadm requires at least 10 addresses")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, pods, services) in [
            ("10.0.0.0/8", true, false),
            ("0.0.0.0/0", false, false),
            ("10.96.0.0/12", true, true),
            ("10.0.0.0/24", true, true),
            ("10.0.0.0/25", false, true),
            ("10.0.0.0/28", false, true),
            ("10.0.0.0/29", false, false),
            ("fd00::/48", true, false),
            ("fd00::/47", false, false),
            ("fd00::/64", true, false),
            ("fd00::/108", false, true),
            ("fd00::/107", false, false),
            ("fd00::/124", false, true),
            ("fd00::/125", false, false),
        ] {
            let range = text.parse().unwrap();
            assert_eq!(
                (check_pod_range(range).is_ok(), check_service_range(range).is_ok()),
                (pods, services),
                "{text}"
            );
        }
    }
}
