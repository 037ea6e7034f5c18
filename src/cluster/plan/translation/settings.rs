//! The settings that a mode reads: where each mode has them, and their defaults.

use serde_json::{Value as Json, json};

use crate::go_duration::duration;
use crate::mode::ProxyMode;
use crate::proxy_config::PRIMARY_FROM;

/// kube-proxy's default periods (`SetDefaults_KubeProxyConfiguration`), in nanoseconds. ipvs mode has no minimum.
const SYNC_PERIOD: i64 = 30_000_000_000;
const MIN_SYNC_PERIOD: i64 = 1_000_000_000;
/// The bit that marks packets to masquerade, where none is set.
const MASQUERADE_BIT: i64 = 14;

/// What a value is, for comparing two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `true` or `false`, with this default.
    Switch(bool),
    /// A duration; zero means the default.
    Duration(i64),
    /// As [`Kind::Duration`]: the default depends on the mode.
    MinSyncPeriod,
    /// A number with this default.
    Number(i64),
    /// A text or a list; empty means the default.
    Other,
    /// `ipvs.scheduler`
    Scheduler,
    /// `nodePortAddresses`: the default depends on the mode.
    NodePortAddresses,
}

/// A setting: the same meaning, wherever a mode has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    kind: Kind,
    /// Its path in iptables, ipvs and nftables mode; `None` where the mode does not read it.
    paths: [Option<&'static str>; 3],
    /// The first minor version that reads it; 0 for all.
    since: u32,
}

const fn everywhere(path: &'static str, kind: Kind, since: u32) -> Setting {
    Setting { kind, paths: [Some(path), Some(path), Some(path)], since }
}

const fn of_ipvs(path: &'static str, kind: Kind) -> Setting {
    Setting { kind, paths: [None, Some(path), None], since: 0 }
}

const fn each(kind: Kind, iptables: &'static str, ipvs: &'static str, nftables: &'static str) -> Setting {
    Setting { kind, paths: [Some(iptables), Some(ipvs), Some(nftables)], since: 0 }
}

/// Every setting that a proxier reads. Those of the whole process (addresses, logging, the client) are not among them: they
/// do not depend on the mode.
pub(super) const SETTINGS: [Setting; 27] = [
    Setting { paths: [None, Some("featureGates.KubeProxyIPVS"), None], ..everywhere("", Kind::Switch(false), 37) },
    Setting { paths: [None, None, Some("featureGates.NFTablesProxyMode")], ..everywhere("", Kind::Switch(false), 29) },
    Setting {
        paths: [None, None, Some("featureGates.KubeProxyNFTablesLocalhostNodePorts")],
        ..everywhere("", Kind::Switch(false), 37)
    },
    each(Kind::Switch(false), "iptables.masqueradeAll", "iptables.masqueradeAll", "nftables.masqueradeAll"),
    each(Kind::Number(MASQUERADE_BIT), "iptables.masqueradeBit", "iptables.masqueradeBit", "nftables.masqueradeBit"),
    each(Kind::Duration(SYNC_PERIOD), "iptables.syncPeriod", "ipvs.syncPeriod", "nftables.syncPeriod"),
    each(Kind::MinSyncPeriod, "iptables.minSyncPeriod", "ipvs.minSyncPeriod", "nftables.minSyncPeriod"),
    Setting { paths: [Some("iptables.localhostNodePorts"), None, None], ..everywhere("", Kind::Other, 26) },
    of_ipvs("ipvs.scheduler", Kind::Scheduler),
    of_ipvs("ipvs.excludeCIDRs", Kind::Other),
    of_ipvs("ipvs.strictARP", Kind::Switch(false)),
    of_ipvs("ipvs.tcpTimeout", Kind::Duration(0)),
    of_ipvs("ipvs.tcpFinTimeout", Kind::Duration(0)),
    of_ipvs("ipvs.udpTimeout", Kind::Duration(0)),
    everywhere("nodePortAddresses", Kind::NodePortAddresses, 0),
    everywhere("detectLocalMode", Kind::Other, 0),
    everywhere("detectLocal.bridgeInterface", Kind::Other, 22),
    everywhere("detectLocal.interfaceNamePrefix", Kind::Other, 22),
    everywhere("clusterCIDR", Kind::Other, 0),
    everywhere("bindAddress", Kind::Other, 0),
    everywhere("conntrack.maxPerCore", Kind::Other, 0),
    everywhere("conntrack.min", Kind::Other, 0),
    everywhere("conntrack.tcpEstablishedTimeout", Kind::Other, 0),
    everywhere("conntrack.tcpCloseWaitTimeout", Kind::Other, 0),
    everywhere("conntrack.tcpBeLiberal", Kind::Switch(false), 29),
    everywhere("conntrack.udpTimeout", Kind::Duration(0), 29),
    everywhere("conntrack.udpStreamTimeout", Kind::Duration(0), 29),
];

impl Setting {
    /// Where a mode has it.
    pub(super) fn path(&self, mode: ProxyMode) -> Option<&'static str> {
        let [iptables, ipvs, nftables] = self.paths;
        match mode {
            ProxyMode::Iptables => iptables,
            ProxyMode::Ipvs => ipvs,
            ProxyMode::Nftables => nftables,
        }
    }

    /// Whether kube-proxy 1.`minor` reads it.
    pub(super) fn is_read_by(&self, minor: u32) -> bool {
        minor >= self.since
    }

    /// What a mode does if it is not set.
    pub(super) fn default(&self, mode: ProxyMode, minor: u32) -> Json {
        match self.kind {
            Kind::Switch(on) => on.into(),
            Kind::Duration(default) | Kind::Number(default) => default.into(),
            Kind::MinSyncPeriod => if mode == ProxyMode::Ipvs { 0 } else { MIN_SYNC_PERIOD }.into(),
            Kind::Other => Json::Null,
            Kind::Scheduler => "rr".into(),
            Kind::NodePortAddresses => match mode {
                // kubernetes#122724, in 1.30.
                ProxyMode::Nftables if minor >= PRIMARY_FROM => json!(["primary"]),
                ProxyMode::Iptables | ProxyMode::Ipvs | ProxyMode::Nftables => json!(["0.0.0.0/0", "::/0"]),
            },
        }
    }

    /// What a value amounts to in a mode.
    pub(super) fn effective(&self, value: Option<&Json>, mode: ProxyMode, minor: u32) -> Json {
        let value = value.filter(|value| !is_empty(value));
        let value = match self.kind {
            Kind::Duration(_) | Kind::MinSyncPeriod => {
                // One that is no duration is refused by a check.
                let nanoseconds = value.and_then(Json::as_str).and_then(|text| duration(text).ok());
                let nanoseconds = nanoseconds.filter(|nanoseconds| *nanoseconds != 0);
                nanoseconds.and_then(|nanoseconds| i64::try_from(nanoseconds).ok()).map(Json::from)
            }
            _ => value.cloned(),
        };
        value.unwrap_or_else(|| self.default(mode, minor))
    }

    /// Whether it is to be looked at although it has the same value in both modes: the workaround for packets of connections
    /// that conntrack considers invalid is a rule of iptables mode, and nftables mode has none (virtual-ips in the
    /// documentation of Kubernetes, "Migrating from iptables mode to nftables").
    pub(super) fn is_worth_a_look(&self, effect: &Json, from: ProxyMode, to: ProxyMode) -> bool {
        self.path(to) == Some("conntrack.tcpBeLiberal")
            && (from, to) == (ProxyMode::Iptables, ProxyMode::Nftables)
            && *effect == Json::Bool(false)
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        _ => false,
    }
}
