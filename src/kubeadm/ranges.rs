//! Checks pod and service ranges against each other and against the API server's address.

use std::net::IpAddr;

use super::cidr::{Cidr, DEFAULT_SERVICE_CIDR, check_pod_range, check_service_range, parse_ranges};
use super::problem::Findings;

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
