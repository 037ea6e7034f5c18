//! `node survey`: everything on a host that affects kube-proxy's mode. Read-only.

use std::net::SocketAddr;

use super::bridge::Bridge;
use super::clean::drain::live;
use super::cni;
use super::nft_trial::Programs;
use super::process::candidate::strangers;
use super::process::toolbox::{Known, Toolbox};
use super::process::{self, answers};
use super::ready::answering;
use super::ready::translated::translated;
use super::rules::iptables_save::{Save, Table};
use super::rules::ipvs_table::Server;
use super::rules::leftovers::Leftovers;
use super::rules::observe::{Observed, Place};
use super::rules::owners::{LINK, Owner, owner};
use crate::mode::ProxyMode;
use crate::node::boot::request::NodeRequest;
use crate::node::host::{Host, loaded_modules};
use crate::node::install::{InstallOptions, install};
use crate::node::modules::modprobe::HostModprobe;
use crate::node::netlink::ipvs::Ipvs;
use crate::node::netlink::nftables;
use crate::node::root::Root;
use crate::node::root::conf_files::ConfFiles;
use crate::node_protocol::{Preparation, Survey, VirtualServer};
use crate::report::API_VERSION;

/// The match of `iptables -m time`.
const TIME_MATCH: &str = "xt_time";
/// Where CNI plugins accept what pods send and get: chains of flannel (by the pods' network) and Cilium (`cilium_host`). Not
/// Calico's `cali-FORWARD`: it accepts what passes a pod's interface on this node, and a node port's connection to a pod on
/// another node passes none (<https://github.com/projectcalico/calico/issues/875>).
const ACCEPTING: [&str; 2] = ["FLANNEL-FWD", "CILIUM_FORWARD"];
/// The kernel's default, if the kernel does not report the timeout.
const UDP_TIMEOUT: u32 = 300;

/// Surveys a host.
///
/// # Errors
/// If the host cannot be inspected.
pub fn survey(
    root: &Root,
    request: &NodeRequest,
    port: u16,
    questions: &[SocketAddr],
    known: &Known,
) -> anyhow::Result<Survey> {
    let options = InstallOptions { load: true, dry_run: true, force: false };
    let (prepared, _) = install(root, request, options, &HostModprobe(root), Some(&Programs { root, known }))?;
    let host = crate::node::host::observe(root)?;
    let toolbox = Toolbox::new(root, known);
    let observed = Observed::new(root, &toolbox)?;
    let running = answers::mode_of(root, known, port);
    let mode = running.as_deref().and_then(|mode| mode.parse::<ProxyMode>().ok());
    let left = mode.map(|mode| Leftovers::new(&observed, mode, None)).unwrap_or_default();
    let answering = answering(questions);
    let number = |path: &str| root.read(path).ok().flatten();
    Ok(Survey {
        api_version: API_VERSION.to_owned(),
        kind: "NodeSurvey".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: host.release.clone().unwrap_or_default(),
        distro: format!("{} {}", host.distro, host.distro_version).trim_end().to_owned(),
        modules: Preparation { outcome: prepared.outcome, summary: prepared.summary, findings: prepared.findings },
        running,
        virtual_servers: virtual_servers(&observed),
        leftovers: [Bridge::of(&observed).list(), left.list()].concat(),
        suspicious: left.suspicious,
        input_drops: input_drops(&observed),
        forward_drops: dropping(&observed, "FORWARD"),
        local_ports: number("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| ports(&text)),
        conn_reuse_mode: number("/proc/sys/net/ipv4/vs/conn_reuse_mode").and_then(|text| text.trim().parse().ok()),
        iptables: variant(&observed, &toolbox).map(str::to_owned),
        both_iptables: ["legacy", "nft"].iter().all(|variant| holds_kube_proxy(&observed, variant)),
        nft: nft_version(&Toolbox::of_host(root)),
        lacks_time_match: certainly_lacks(root, host.release.as_deref().unwrap_or_default(), TIME_MATCH),
        translated: answering.iter().copied().filter(|address| translated(root, *address).is_ok()).collect(),
        answering,
        network_manager_interferes: network_manager_interferes(root, &host),
        mark_chains: cni::mark_chains(root),
        other_kube_proxies: others(root, known),
        findings: observed.findings,
    })
}

/// Whether the running kernel has a module neither built in, nor as a file that modprobe finds, nor loaded; not where its
/// folder does not tell.
fn certainly_lacks(root: &Root, release: &str, module: &str) -> bool {
    let file = format!("/{module}.ko");
    let has = |list: &str| -> Option<bool> {
        let read = |lib: &&str| root.read(&format!("{lib}/modules/{release}/{list}")).ok().flatten();
        root.lib_folders().iter().find_map(read).map(|list| list.contains(&file))
    };
    let is_absent = has("modules.builtin") == Some(false) && has("modules.dep") == Some(false);
    is_absent && loaded_modules(root).is_ok_and(|loaded| !loaded.contains(module))
}

/// kube-proxy processes outside the known pods, such as one started by a systemd unit.
fn others(root: &Root, known: &Known) -> Vec<String> {
    let (candidates, place) = process::observe(root);
    let others = strangers(&candidates, &place, &known.pods);
    others.map(|other| format!("process {} ({})", other.id, other.cgroup_path())).collect()
}

fn virtual_servers(observed: &Observed) -> Vec<VirtualServer> {
    let claimed = observed.claimed();
    let udp_timeout = if observed.connections.is_empty() {
        UDP_TIMEOUT
    } else {
        Ipvs::open().and_then(|mut ipvs| ipvs.udp_timeout()).unwrap_or(UDP_TIMEOUT)
    };
    let one = |server: &Server| VirtualServer {
        protocol: server.protocol.clone(),
        address: server.address,
        port: server.port,
        scheduler: server.scheduler.clone(),
        claimed: claimed.contains(&server),
        connections: live(observed, server, udp_timeout.into()),
    };
    observed.servers.iter().map(one).collect()
}

/// `32768\t60999`
fn ports(text: &str) -> Option<(u16, u16)> {
    let mut fields = text.split_whitespace().map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// The address families whose INPUT chain drops by default.
fn input_drops(observed: &Observed) -> Vec<String> {
    let mut families = dropping(observed, "INPUT");
    // Firewalls that use nftables directly have their own chains at the same hook.
    for family in nftables::input_drops().unwrap_or_default() {
        families.extend((family != "ip6").then(|| "ipv4".to_owned()));
        families.extend((family != "ip").then(|| "ipv6".to_owned()));
    }
    families.sort();
    families.dedup();
    families
}

/// The address families for which iptables drops by default in this chain.
fn dropping(observed: &Observed, chain: &str) -> Vec<String> {
    let saves = observed.saves.iter();
    let dropping = saves.filter(|(_, save)| save.table("filter").is_some_and(|filter| drops(filter, chain)));
    let mut families: Vec<_> = dropping.map(|(place, _)| place.family.to_owned()).collect();
    families.sort();
    families.dedup();
    families
}

/// By policy, or by a last rule that matches everything, as in hand-written firewalls.
fn drops(filter: &Table, name: &str) -> bool {
    if filter.rules_of(name).any(|rule| rule.target().is_some_and(|target| ACCEPTING.contains(&target))) {
        return false;
    }
    let chain = filter.chains.iter().find(|chain| chain.name == name);
    if chain.is_some_and(|chain| chain.policy.as_deref() == Some("DROP")) {
        return true;
    }
    let last = filter.rules_of(name).last();
    last.is_some_and(|rule| {
        let matches_nothing = |word: &str| matches!(word, "-m" | "comment" | "--comment") || word.starts_with('"');
        let matches = rule.words().take_while(|word| *word != "-j").filter(|word| !matches_nothing(word)).count();
        matches == 0 && matches!(rule.target(), Some("DROP" | "REJECT"))
    })
}

/// Whether this variant of iptables has any objects of kube-proxy.
fn holds_kube_proxy(observed: &Observed, variant: &str) -> bool {
    let holds =
        |table: &Table| table.chains.iter().any(|chain| matches!(owner(&table.name, &chain.name), Owner::KubeProxy(_)));
    observed.saves.iter().any(|(place, save)| place.variant == variant && save.tables.iter().any(holds))
}

/// The variant of `iptables` in kube-proxy's container. Its image may have a wrapper that chooses the variant by the
/// kubelet's rules at its first call; that call must be kube-proxy's.
fn variant(observed: &Observed, toolbox: &Toolbox) -> Option<&'static str> {
    let tool = toolbox.find("iptables")?;
    if tool.leads_to().contains("wrapper") {
        return Some(hinted(&observed.saves));
    }
    let said = tool.run(&["--version"], None).ok().filter(|said| said.success)?;
    Some(if said.stdout.contains("nf_tables") { "nft" } else { "legacy" })
}

/// As `iptables-wrapper` chooses: the variant with the kubelet's chains, else the one with more rules.
fn hinted(saves: &[(Place, Save)]) -> &'static str {
    let hint = |table: &Table| table.has_chain("KUBE-IPTABLES-HINT") || table.has_chain("KUBE-KUBELET-CANARY");
    let of = |variant: &'static str| saves.iter().filter(move |(place, _)| place.variant == variant);
    for variant in ["nft", "legacy"] {
        if of(variant).any(|(_, save)| save.table("mangle").is_some_and(hint)) {
            return variant;
        }
    }
    let rules = |variant| of(variant).flat_map(|(_, save)| &save.tables).map(|table| table.rules.len()).sum::<usize>();
    if rules("legacy") > rules("nft") { "legacy" } else { "nft" }
}

/// `nftables v1.0.6 (Lester Gooch #5)`
fn nft_version(host: &Toolbox) -> Option<String> {
    let said = host.find("nft")?.run(&["--version"], None).ok()?;
    said.stdout.split_whitespace().nth(1).map(|version| version.trim_start_matches('v').to_owned())
}

/// NetworkManager changes the addresses of links that it manages.
fn network_manager_interferes(root: &Root, host: &Host) -> bool {
    let runs = host.network_manager && process::is_running(root, "NetworkManager");
    let mut files =
        ConfFiles::new(root, &["/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d"], "NetworkManager/conf.d");
    files.add(root, "/etc/NetworkManager/NetworkManager.conf".to_owned());
    let told = |line: &str| {
        let line = line.trim_start();
        (line.starts_with("unmanaged-devices") || line.starts_with("match-device")) && line.contains(LINK)
    };
    runs && !files.read.iter().any(|(_, text)| text.lines().any(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (rules, expected) in [
            (":INPUT DROP [0:0]", true),
            (":INPUT ACCEPT [0:0]", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j DROP", true),
            (
                ":INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"all -j else\" -j REJECT --reject-with icmp-port-unreachable",
                true,
            ),
            (":INPUT ACCEPT [0:0]\n-A INPUT -s 192.0.2.0/24 -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment x -m conntrack --ctstate INVALID -j DROP", false),
            (":INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n-A INPUT -j KUBE-FIREWALL", false),
        ] {
            let save = Save::parse(&format!("*filter\n{rules}\nCOMMIT\n"));
            assert_eq!(drops(save.table("filter").unwrap(), "INPUT"), expected, "{rules}");
        }
        for (rules, expected) in [
            (":INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]", false),
            (":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -j KUBE-FORWARD", true),
            // As ufw and docker leave it, and the CNI plugin's chain before or behind.
            (":FORWARD DROP [0:0]\n-A FORWARD -j ufw-before-forward\n-A FORWARD -j FLANNEL-FWD", false),
            (
                ":FORWARD DROP [0:0]\n-A FORWARD -m comment --comment \"cali:x\" -j cali-FORWARD\n-A FORWARD -j DOCKER-USER",
                true,
            ),
            (":FORWARD DROP [0:0]\n-A OTHER -j FLANNEL-FWD", true),
        ] {
            let save = Save::parse(&format!("*filter\n{rules}\nCOMMIT\n"));
            assert_eq!(drops(save.table("filter").unwrap(), "FORWARD"), expected, "{rules}");
        }
    }

    #[test]
    fn local_ports() {
        assert_eq!(ports("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(ports(""), None);
    }
}
