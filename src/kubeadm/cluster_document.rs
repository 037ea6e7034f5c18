//! Checks a `ClusterConfiguration` that is not edited: what kubeadm refuses is a problem, what is likely a mistake a
//! warning.
//!
//! By kubeadm's own rules (`ValidateNetworking`, `ValidatePodSubnetNodeMask`, `getClusterNodeMask` in
//! `cmd/kubeadm/app/apis/kubeadm/validation/validation.go`, read at 1.31 and 1.36; tested with 1.20.2).

use std::net::IpAddr;

use super::endpoint::{Endpoint, check_dns_name};
use super::findings::{Findings, place};
use super::ranges::{DEFAULT_SERVICE_CIDR, check_pod_range_for, check_service_range};
use crate::cidr::Cidr;
use crate::yaml::Node;

/// Checks it for kubeadm 1.`minor`.
pub(super) fn check(name: &str, root: &Node, minor: u32, findings: &mut Findings) {
    let given = |path: &[&str]| {
        let node = root.get(path)?;
        let text = node.text().filter(|text| !text.is_empty() && !node.is_null())?;
        Some((place(name, node, &path.join(".")), text))
    };
    let gate = root.get(&["featureGates", "IPv6DualStack"]).and_then(Node::text);
    // Off by default up to 1.20, locked from 1.23.
    let dual_stack = match minor {
        ..21 => gate == Some("true"),
        21..23 => gate != Some("false"),
        _ => true,
    };
    let services = given(&["networking", "serviceSubnet"]);
    let pods = given(&["networking", "podSubnet"]);
    let read = |given: &Option<(String, &str)>, findings: &mut Findings| {
        let (place, text) = given.as_ref()?;
        ranges(place, text, dual_stack, minor, findings)
    };
    let service_ranges = read(&services, findings);
    let pod_ranges = read(&pods, findings);
    if let (Some((place, _)), Some(ranges)) = (&services, &service_ranges) {
        for range in ranges {
            findings.accept(place, check_service_range(*range));
        }
    }
    if let (Some((place, _)), Some(ranges)) = (&pods, &pod_ranges) {
        for range in ranges {
            check_pods(name, root, place, *range, (dual_stack, minor), findings);
        }
        let default = || DEFAULT_SERVICE_CIDR.parse().map(|range| vec![range]).unwrap_or_default();
        together(place, ranges, &service_ranges.unwrap_or_else(default), findings);
    }
    if let Some((place, domain)) = given(&["networking", "dnsDomain"]) {
        if domain.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
            findings.warn("dns-domain", format!(
                "{place}: {domain} is an IP address; names such as kubernetes.default.svc.{domain} are probably not intended"
            ));
        } else {
            findings.accept(&place, check_dns_name(domain));
        }
    }
    if let Some((place, endpoint)) = given(&["controlPlaneEndpoint"]) {
        findings.accept(&place, endpoint.parse::<Endpoint>());
    }
}

/// One range, or one of each family; `None` if kubeadm refuses them.
fn ranges(place: &str, text: &str, dual_stack: bool, minor: u32, findings: &mut Findings) -> Option<Vec<Cidr>> {
    let parsed: Result<Vec<_>, String> = text.split(',').map(Cidr::around).collect();
    let parsed = findings.accept(place, parsed)?;
    for (range, address) in &parsed {
        if range.to_string() != format!("{address}/{}", range.prefix()) {
            findings.warn(
                "address-ranges",
                format!("{place}: {address}/{} has host bits set; kubeadm reads it as {range}", range.prefix()),
            );
        }
    }
    let ranges: Vec<Cidr> = parsed.into_iter().map(|(range, _)| range).collect();
    match ranges.as_slice() {
        [_] => {}
        [_, _] if !dual_stack => {
            findings.problem(
                place,
                format!("kubeadm 1.{minor} accepts two ranges only with featureGates: {{IPv6DualStack: true}}"),
            );
            return None;
        }
        [a, b] if a.is_ipv6() != b.is_ipv6() => {}
        _ => {
            findings
                .problem(place, format!("{text:?} must be one range, or one IPv4 and one IPv6 range for dual-stack"));
            return None;
        }
    }
    Some(ranges)
}

/// Checks a pod range against the size of the node ranges: kube-controller-manager's default, or the file's.
fn check_pods(
    name: &str,
    root: &Node,
    place_of_pods: &str,
    range: Cidr,
    (dual_stack, minor): (bool, u32),
    findings: &mut Findings,
) {
    // The smallest range that kubeadm accepts: 14 addresses by its constant, which is a /28.
    if range.host_bits() < 4 {
        findings.problem(place_of_pods, format!("{range} is too small: kubeadm requires at least 14 addresses"));
        return;
    }
    let of_family = if range.is_ipv6() { "node-cidr-mask-size-ipv6" } else { "node-cidr-mask-size-ipv4" };
    let argument = if dual_stack { of_family } else { "node-cidr-mask-size" };
    let given = extra_argument(root, argument).filter(|node| node.text().is_some_and(|text| !text.is_empty()));
    let default = if range.is_ipv6() { 64 } else { 24 };
    let (mask, whose) = match given {
        None => (default, "kube-controller-manager's default".to_owned()),
        Some(node) => {
            let field = format!("controllerManager.extraArgs.{argument}");
            let place = place(name, node, &field);
            let number = node.text().and_then(|text| text.parse().ok()).filter(|mask| *mask <= 128);
            let Some(mask) = findings.accept(&place, number.ok_or("is not a prefix length")) else { return };
            (mask, argument.to_owned())
        }
    };
    let Err(why) = check_pod_range_for(range, mask, &whose) else { return };
    let allocates = extra_argument(root, "allocate-node-cidrs").and_then(Node::text) != Some("false");
    match (allocates, minor) {
        (false, 31..) => {}
        // Unknown since which version kubeadm reads that argument.
        (false, 21..31) => {
            findings.warn("address-ranges", format!("{place_of_pods}: {why}; kubeadm of some versions refuses it"));
        }
        _ => findings.problem(place_of_pods, why),
    }
}

/// A value in `controllerManager.extraArgs`: a mapping, or from v1beta4 on a list of names and values where the last one
/// applies.
fn extra_argument<'a>(root: &'a Node, argument: &str) -> Option<&'a Node> {
    let arguments = root.get(&["controllerManager", "extraArgs"])?;
    let named = |item: &&Node| item.get(&["name"]).and_then(Node::text) == Some(argument);
    arguments.get(&[argument]).or_else(|| arguments.items().iter().rfind(named)?.get(&["value"]))
}

/// Compares pod and service ranges; kubeadm does not, so the cluster would fail later.
fn together(place: &str, pods: &[Cidr], services: &[Cidr], findings: &mut Findings) {
    for (pod, service) in pods.iter().flat_map(|pod| services.iter().map(move |service| (pod, service))) {
        if pod.overlaps(*service) {
            findings.warn(
                "address-ranges",
                format!(
                    "{place}: {pod} overlaps the service range {service}; pods and Services may get the same address"
                ),
            );
        }
    }
    if let (Some(pod), Some(service)) = (pods.first(), services.first())
        && pod.is_ipv6() != service.is_ipv6()
    {
        findings.warn(
            "address-ranges",
            format!("{place}: starts with a different address family than the service range {service}"),
        );
    }
}
