//! What it means for a cluster that a setting changes its meaning.

use serde_json::Value as Json;

use super::change::{Becomes, Change};
use crate::mode::ProxyMode;

/// The gate of localhost node ports in nftables mode, and the version that has it (KEP-6032).
const LOCALHOST_GATE: (&str, u32) = ("KubeProxyNFTablesLocalhostNodePorts", 37);

/// What it means for the cluster that this becomes of the setting at `path`.
pub(super) fn note(path: &str, becomes: Becomes, value: &Json, change: Change) -> Option<String> {
    let Change { from, to, .. } = change;
    let text = match (path, becomes) {
        ("ipvs.scheduler", Becomes::NoEffect) => format!("{to} mode has no schedulers, it picks endpoints at random"),
        // pkg/proxy/ipvs/proxier.go sets the sysctls, and nothing resets them.
        ("ipvs.strictARP", Becomes::NoEffect) if *value == Json::Bool(true) => {
            "only kube-ipvs0 needs it, so MetalLB and kube-vip do without; the sysctls arp_ignore and arp_announce that it set stay until the next boot".to_owned()
        }
        ("ipvs.excludeCIDRs", Becomes::NoEffect) => match to {
            ProxyMode::Nftables => "kube-proxy empties all of IPVS at every start, these ranges included".to_owned(),
            ProxyMode::Iptables | ProxyMode::Ipvs => format!("{to} mode does not touch IPVS"),
        },
        ("ipvs.tcpTimeout", Becomes::NoEffect) => "conntrack.tcpEstablishedTimeout applies instead (24h if it is not set)".to_owned(),
        ("ipvs.tcpFinTimeout", Becomes::NoEffect) => "conntrack's timeouts of closing connections apply instead".to_owned(),
        ("ipvs.udpTimeout", Becomes::NoEffect) => {
            "conntrack.udpTimeout and conntrack.udpStreamTimeout apply instead".to_owned()
        }
        ("nodePortAddresses", Becomes::MustBeSet) => match to {
            ProxyMode::Nftables => "--node-port-addresses; otherwise node ports answer on the primary addresses of a node only".to_owned(),
            ProxyMode::Iptables | ProxyMode::Ipvs => "--node-port-addresses; otherwise node ports answer on every address of a node".to_owned(),
        },
        ("iptables.localhostNodePorts", Becomes::NoEffect) if *value != Json::Bool(false) => localhost(change),
        ("iptables.masqueradeAll" | "nftables.masqueradeAll", Becomes::MustBeSet) if *value == Json::Bool(true) => {
            "--masquerade-all; otherwise traffic to cluster IPs keeps its source address".to_owned()
        }
        ("iptables.masqueradeBit" | "nftables.masqueradeBit", Becomes::MustBeSet) => {
            "check that nothing else uses the bit that the new mode reads".to_owned()
        }
        ("iptables.syncPeriod" | "ipvs.syncPeriod" | "nftables.syncPeriod", Becomes::MustBeSet) => "--sync-period".to_owned(),
        ("iptables.minSyncPeriod" | "ipvs.minSyncPeriod" | "nftables.minSyncPeriod", Becomes::MustBeSet) => {
            "--min-sync-period".to_owned()
        }
        ("conntrack.tcpBeLiberal", Becomes::Kept) if (from, to) == (ProxyMode::Iptables, ProxyMode::Nftables) => {
            "iptables mode drops packets that conntrack calls invalid, nftables mode does not: on kernels older than 6.1, if kubeproxy_iptables_ct_state_invalid_dropped_packets_total is not 0, set --conntrack-tcp-be-liberal".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

fn localhost(Change { to, minor, .. }: Change) -> String {
    let (gate, since) = LOCALHOST_GATE;
    if to == ProxyMode::Nftables && minor >= since {
        format!("127.0.0.1:nodePort needs the gate {gate}, and localhost in nodePortAddresses; TCP only")
    } else {
        format!("{to} mode does not serve 127.0.0.1:nodePort")
    }
}
