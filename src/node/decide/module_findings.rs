//! Findings about the modules of a node and its kernel. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::module_state::{Module, State};
use crate::node::boot::request::{BASIC_SCHEDULERS, LAST_WITH_LIST, NodeRequest};
use crate::node::modules::kernel::Kernel;
use crate::node::modules::kernel_config::Setting;
use crate::report::{Finding, Level, finding};

/// The finding for a kernel whose IPVS supports IPv4 only.
pub const WITHOUT_IPV6: &str = "ipvs-without-ipv6";

/// The finding for modules that only some versions of kube-proxy need, if the version is unknown.
pub const KUBERNETES_VERSION: &str = "kubernetes-version";

/// Missing and blocked modules, one finding per reason.
pub(super) fn module_findings(modules: &[Module]) -> Vec<Finding> {
    /// Mandatory modules first; then by reason and hint.
    type Group<'a> = (bool, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Group<'_>, Vec<&Module>> = BTreeMap::new();
    for module in modules.iter().filter(|m| matches!(m.state, State::Missing | State::Blocked | State::Unknown)) {
        groups.entry((!module.mandatory, module.reason, module.hint.as_deref())).or_default().push(module);
    }
    let finding = |((optional, _, hint), group): (Group<'_>, Vec<&Module>)| {
        let names: Vec<&str> = group.iter().map(|module| module.name.as_str()).collect();
        let detail = group.first().and_then(|module| module.detail.as_deref()).unwrap_or_default();
        finding(
            if optional { Level::Warning } else { Level::Error },
            match group.first().map(|module| module.state) {
                Some(State::Missing) => "module-missing",
                Some(State::Unknown) => "module-unknown",
                _ => "module-blocked",
            },
            format!("{}: {detail}", names.join(" ")),
            hint.map(str::to_owned).unwrap_or_default(),
        )
    };
    // A reason that is reported for mandatory modules is not repeated.
    let detail = |group: &[&Module]| group.first().and_then(|module| module.detail.clone());
    let mandatory = groups.iter().filter(|((optional, _, _), _)| !optional);
    let said: BTreeSet<_> = mandatory.map(|((_, _, hint), group)| (*hint, detail(group))).collect();
    let news = |((optional, _, hint), group): &(&Group<'_>, &Vec<&Module>)| {
        !optional || !said.contains(&(*hint, detail(group)))
    };
    groups.iter().filter(news).map(|(key, group)| finding((*key, group.clone()))).collect()
}

/// Modules that kube-proxy of an unknown version may need and that are not usable.
pub(super) fn version_finding(request: &NodeRequest, modules: &[Module]) -> Option<Finding> {
    let is_lacking = |module: &&Module| !matches!(module.state, State::Loaded | State::BuiltIn | State::Loadable);
    // No version can run ipvs without the mandatory modules.
    if request.minor.is_some() || modules.iter().filter(|module| module.mandatory).any(|module| is_lacking(&module)) {
        return None;
    }
    let basic = modules.iter().filter(|module| BASIC_SCHEDULERS.contains(&module.name.as_str()));
    let lacking: Vec<&str> = basic.filter(is_lacking).map(|module| module.name.as_str()).collect();
    (!lacking.is_empty()).then(|| finding(Level::Warning, KUBERNETES_VERSION, format!(
            "{} cannot be used, and the Kubernetes version is unknown; without them kube-proxy up to 1.25 silently falls back to iptables, and 1.26 exits",
            lacking.join(" ")
        ), "set --kubernetes-version vX.Y; kube-proxy 1.27 and newer do not need them"))
}

/// Built-in modules that kube-proxy up to 1.26 does not find: it reads `modules.builtin` and then runs modprobe
/// (pkg/proxy/ipvs/proxier.go, `GetModules`).
pub(super) fn unseen_finding(request: &NodeRequest, kernel: &Kernel, modules: &[Module]) -> Option<Finding> {
    let unseen = modules.iter().filter(|module| module.state == State::BuiltIn && module.name.starts_with("ip_vs"));
    let names: Vec<&str> = unseen.map(|module| module.name.as_str()).collect();
    let looks = request.minor.is_none_or(|minor| minor <= LAST_WITH_LIST);
    (looks && !kernel.knows_builtin && !names.is_empty()).then(|| finding(if request.minor.is_some() { Level::Error } else { Level::Warning }, "modules-builtin", format!(
            "{}: built into kernel {}, but not listed in a modules.builtin, so kube-proxy up to 1.26 treats them as missing",
            names.join(" "),
            kernel.release
        ), if request.minor.is_some() {
            format!("copy that kernel's modules.builtin to /lib/modules/{}, or use Kubernetes 1.27 or newer", kernel.release)
        } else {
            "set --kubernetes-version vX.Y; kube-proxy 1.27 and newer do not use that file".to_owned()
        }))
}

/// Kernel options without which kube-proxy's ipvs mode fails although all modules exist.
pub(super) fn config_findings(kernel: &Kernel) -> Vec<Finding> {
    // If IPVS itself is off, another finding reports it.
    let Some(config) = kernel.config.as_ref().filter(|config| config.option("IP_VS") != Setting::Off) else {
        return Vec::new();
    };
    // pkg/proxy/ipvs/proxier.go: NewProxier sets net.ipv4.vs.conntrack, and returns an error if it cannot.
    // The address families and protocols are those of net/netfilter/ipvs/Kconfig.
    let options = [
        (Level::Error, "IP_VS_NFCT", "kube-proxy cannot set net.ipv4.vs.conntrack and exits"),
        (Level::Error, "IP_VS_PROTO_TCP", "IPVS cannot balance TCP"),
        (Level::Error, "IP_VS_PROTO_UDP", "IPVS cannot balance UDP, so cluster DNS fails"),
        (
            Level::Warning,
            "IP_VS_IPV6",
            "in a dual-stack or IPv6 cluster kube-proxy cannot serve IPv6 Services on this node",
        ),
    ];
    let off = options.into_iter().filter(|(_, name, _)| config.option(name) == Setting::Off);
    off.map(|(level, name, what)| {
        finding(
            level,
            if name == "IP_VS_IPV6" { WITHOUT_IPV6 } else { "kernel-config" },
            format!("kernel {} was built without CONFIG_{name} ({}): {what}", kernel.release, config.place),
            format!("boot a kernel built with CONFIG_{name}"),
        )
    })
    .collect()
}
