//! What besides missing modules keeps a node from running kube-proxy in nftables mode, or was not checked. Pure.

use crate::mode::nftables::{MIN_KERNEL, MIN_NFT, is_old_nft, is_too_old, may_crash};
use crate::node::boot::request::IPTABLES_MODULES;
use crate::node::facts::HostFacts;
use crate::node::host::nft::{Nft, NftFacts, Trial};
use crate::report::foreign::shortened;
use crate::report::{Finding, Level, finding};

/// The longest part of a message of `nft` that is shown.
const SHOWN: usize = 300;

/// All findings about nftables on a node. [`HostFacts::nft`] is `None` where no program may be run: in an image.
pub(super) fn nftables_findings(facts: &HostFacts) -> Vec<Finding> {
    let mut findings = old_kernels(facts);
    findings.extend(only_nftables(facts));
    match &facts.nft {
        Some(nft) => findings.extend(of_programs(nft)),
        None => findings.push(not_checked("this run loads no module and runs no program of the host")),
    }
    findings
}

/// The findings about the `nft` programs and what they found.
pub fn of_programs(nft: &NftFacts) -> Vec<Finding> {
    let mut findings = versions(nft);
    findings.extend(trial(nft));
    findings
}

fn old_kernels(facts: &HostFacts) -> Vec<Finding> {
    let (major, minor) = MIN_KERNEL;
    let running = facts.host.release.as_deref().or_else(|| facts.kernel().map(|kernel| kernel.release.as_str()));
    let others = facts.kernels.keys().map(String::as_str).filter(|release| Some(*release) != running);
    let releases = running.map(|release| (Level::Error, release)).into_iter();
    let releases = releases.chain(others.map(|release| (Level::Warning, release)));
    let too_old = releases.filter(|(_, release)| is_too_old(release) == Some(true));
    too_old
        .map(|(level, release)| {
            let (which, fix) = if level == Level::Error {
                ("kernel", "boot a newer kernel of this distribution, or use --mode ipvs or iptables")
            } else {
                ("installed kernel", "remove that kernel, or do not boot it")
            };
            finding(
                level,
                "kernel-too-old",
                format!(
                    "{which} {release} is older than {major}.{minor}: kube-proxy does not start in nftables mode on it"
                ),
                fix,
            )
        })
        .collect()
}

/// Kernels without the legacy iptables, such as that of Ubuntu 26.04 (canonical/microk8s issue 5525), or without any.
fn only_nftables(facts: &HostFacts) -> Option<Finding> {
    // Of a kernel whose modules are not listed, nothing is known to be missing.
    let kernel = facts.kernel().filter(|kernel| !kernel.is_bare() && kernel.knows_builtin)?;
    let has = |name: &str| facts.host.loaded.contains(name) || kernel.has(name);
    let [legacy, compat] = IPTABLES_MODULES;
    if has(legacy) {
        return None;
    }
    let release = &kernel.release;
    let message = if has(compat) {
        format!(
            "of kube-proxy's modes only nftables is possible on this node without iptables-nft ({compat}): kernel {release} has no {legacy}, which the legacy iptables needs"
        )
    } else {
        format!(
            "only nftables is possible on this node: kernel {release} has neither {legacy} nor {compat}, which kube-proxy's iptables and ipvs modes need"
        )
    };
    Some(finding(
        Level::Info,
        "only-nftables",
        message,
        "do not switch this node back to iptables or ipvs with this kernel",
    ))
}

fn versions(nft: &NftFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &nft.of_kube_proxy {
        Some(Nft::Absent) => findings.push(finding(
            Level::Error,
            "kube-proxy-nft",
            "kube-proxy's image has no nft: it does not start in nftables mode",
            format!("use a kube-proxy image with nft {MIN_NFT} or newer; the official ones have it since 1.29"),
        )),
        Some(Nft::Version(version)) if is_old_nft(version) => findings.push(finding(
            Level::Error,
            "kube-proxy-nft",
            format!("kube-proxy's nft {version} is older than {MIN_NFT}: kube-proxy does not start in nftables mode"),
            format!("use a kube-proxy image with nft {MIN_NFT} or newer"),
        )),
        Some(Nft::Version(_) | Nft::Unknown) | None => {}
    }
    let Some(hosts) = nft.of_host.version() else { return findings };
    if is_old_nft(hosts) {
        findings.push(finding(
            Level::Warning,
            "nft-version",
            format!("the host's nft {hosts} is older than {MIN_NFT}; using it can damage kube-proxy's tables"),
            format!("install nftables {MIN_NFT} or newer on the host, or remove it"),
        ));
    }
    let Some(own) = nft.of_kube_proxy.as_ref().and_then(Nft::version) else { return findings };
    for (reader, whose, writer, tables) in
        [(own, "kube-proxy's", hosts, "sets that the host's"), (hosts, "the host's", own, "sets that kube-proxy's")]
    {
        if may_crash(reader, writer) {
            findings.push(finding(
                Level::Warning,
                "nft-mismatch",
                format!("{whose} nft {reader} may crash when it reads {tables} nft {writer} wrote"),
                "use versions that read each other's tables: https://github.com/kubernetes/kubernetes/issues/136786 has the matrix",
            ));
        }
    }
    findings
}

fn trial(nft: &NftFacts) -> Option<Finding> {
    let whose = if nft.of_kube_proxy.is_some() { "kube-proxy's nft" } else { "the host's nft" };
    match &nft.trial {
        Trial::Passed(_) => None,
        Trial::NotRun(why) => Some(not_checked(why)),
        Trial::Refused { family, command, why } => {
            let (what, hint) = match command {
                Some((command, Some(module))) => (
                    format!("`{command}` ({module})"),
                    format!("check that the kernel has {module} and may load it: modprobe -v {module}; dmesg | tail"),
                ),
                Some((command, None)) => (format!("`{command}`"), "check the kernel's log: dmesg | tail".to_owned()),
                None => ("the transaction".to_owned(), "check the kernel's log: dmesg | tail".to_owned()),
            };
            let why = shortened(why, SHOWN);
            let message = format!(
                "a trial transaction like those of kube-proxy was refused by {whose} in family {family}: {what}: {why}"
            );
            Some(finding(Level::Error, "nft-refused", message, hint))
        }
        // Another one than kube-proxy's says only that kube-proxy's may crash, too.
        Trial::Crashed { arguments, signal } => Some(finding(
            if nft.of_kube_proxy.is_some() { Level::Error } else { Level::Warning },
            "nft-crash",
            format!(
                "{whose} was ended by signal {signal} (nft {arguments}); kube-proxy's syncs {} fail the same way",
                if nft.of_kube_proxy.is_some() { "would" } else { "may" }
            ),
            "another nft wrote tables that it cannot read; remove them, or use a kube-proxy image with a newer nft: https://github.com/kubernetes/kubernetes/issues/136786",
        )),
    }
}

fn not_checked(why: &str) -> Finding {
    finding(Level::Info, "nft-not-checked", format!("no trial transaction was made: {why}"), "")
}
