//! kube-proxy's part of a config: its settings, their checks for the Kubernetes version, and their YAML.

use super::findings::Findings;
use super::given::Given;
use super::node_ports;
use super::raw_options::RawProxyOptions;
use super::scheduler::check_scheduler;
use crate::cidr::Cidr;
use crate::go_duration::duration;
use crate::mode::{ProxyMode, policy};
use crate::report::{Level, finding};
use crate::yaml::Value;

/// The `apiVersion` of a `KubeProxyConfiguration`, in every Kubernetes version.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The fields of `ipvs:`, in every Kubernetes version from 1.18.
pub const IPVS_FIELDS: [&str; 8] = [
    "excludeCIDRs",
    "minSyncPeriod",
    "scheduler",
    "strictARP",
    "syncPeriod",
    "tcpFinTimeout",
    "tcpTimeout",
    "udpTimeout",
];
/// The first version with `conntrack.tcpBeLiberal` (staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go).
const LIBERAL_FROM: u32 = 29;
/// kube-proxy's default `syncPeriod`: 30 s, in nanoseconds.
const DEFAULT_SYNC_PERIOD: i128 = 30_000_000_000;
/// kube-proxy's default `minSyncPeriod` outside ipvs mode: 1 s.
const DEFAULT_MIN_SYNC_PERIOD: i128 = 1_000_000_000;

/// The requested or existing settings, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawSettings {
    /// The mode; ipvs if not given.
    pub mode: Option<Given>,
    /// `ipvs.scheduler`
    pub scheduler: Option<Given>,
    /// `ipvs.strictARP`
    pub strict_arp: Option<Given>,
    /// `ipvs.excludeCIDRs`
    pub exclude_cidrs: Vec<Given>,
    /// `ipvs.tcpTimeout`
    pub tcp_timeout: Option<Given>,
    /// `ipvs.tcpFinTimeout`
    pub tcp_fin_timeout: Option<Given>,
    /// `ipvs.udpTimeout`
    pub udp_timeout: Option<Given>,
    /// `syncPeriod` of the mode's own section.
    pub sync_period: Option<Given>,
    /// `minSyncPeriod` of the mode's own section.
    pub min_sync_period: Option<Given>,
    /// `nodePortAddresses`
    pub node_port_addresses: Vec<Given>,
    /// `masqueradeAll` of the section that the mode reads.
    pub masquerade_all: Option<Given>,
    /// `conntrack.tcpBeLiberal`
    pub tcp_be_liberal: Option<Given>,
}

impl RawSettings {
    /// The settings from the options.
    pub fn from_options(raw: &RawProxyOptions) -> Self {
        let list = |flag: &str, items: &[String]| {
            items.iter().filter_map(|item| Given::option(flag, Some(item))).collect::<Vec<_>>()
        };
        let switch = |flag: &str, on: Option<bool>| Given::option(flag, on.map(|on| on.to_string()).as_ref());
        Self {
            mode: Given::option("--mode", raw.mode.as_ref()),
            scheduler: Given::option("--scheduler", raw.scheduler.as_ref()),
            strict_arp: switch("--strict-arp", raw.strict_arp),
            exclude_cidrs: list("--exclude-cidrs", &raw.exclude_cidrs),
            tcp_timeout: Given::option("--tcp-timeout", raw.tcp_timeout.as_ref()),
            tcp_fin_timeout: Given::option("--tcp-fin-timeout", raw.tcp_fin_timeout.as_ref()),
            udp_timeout: Given::option("--udp-timeout", raw.udp_timeout.as_ref()),
            sync_period: Given::option("--sync-period", raw.sync_period.as_ref()),
            min_sync_period: Given::option("--min-sync-period", raw.min_sync_period.as_ref()),
            node_port_addresses: list("--node-port-addresses", &raw.node_port_addresses),
            masquerade_all: switch("--masquerade-all", raw.masquerade_all),
            tcp_be_liberal: switch("--conntrack-tcp-be-liberal", raw.conntrack_tcp_be_liberal),
        }
    }

    /// Checks all settings; returns the mode and its gate if they are valid.
    pub fn check(&self, minor: u32, findings: &mut Findings) -> Option<Mode> {
        let mode = self.check_mode(minor, findings);
        for given in [&self.tcp_timeout, &self.tcp_fin_timeout, &self.udp_timeout].into_iter().flatten() {
            if not_negative(given, findings).is_some() && minor < 18 {
                findings.problem(&given.place, format!("not supported by Kubernetes 1.{minor}; it was added in 1.18"));
            }
        }
        if let Some(given) = self.tcp_be_liberal.as_ref().filter(|_| minor < LIBERAL_FROM) {
            let message = format!("not supported by Kubernetes 1.{minor}; it was added in 1.{LIBERAL_FROM}");
            findings.problem(&given.place, message);
        }
        node_ports::check(&self.node_port_addresses, mode.as_ref().map(|mode| mode.mode), minor, findings);
        for cidr in &self.exclude_cidrs {
            findings.accept(&cidr.place, cidr.text.parse::<Cidr>());
        }
        if let Some(scheduler) = &self.scheduler {
            check_scheduler(scheduler, minor, findings);
        }
        let sync = self.sync_period.as_ref().map_or(Some(DEFAULT_SYNC_PERIOD), |given| not_negative(given, findings));
        let ipvs = mode.as_ref().is_none_or(|mode| mode.mode.traits().has_ipvs_settings);
        let least = if ipvs { 0 } else { DEFAULT_MIN_SYNC_PERIOD };
        let min_sync = self.min_sync_period.as_ref().map_or(Some(least), |given| not_negative(given, findings));
        if let (Some(sync), Some(min_sync)) = (sync, min_sync) {
            let sync = if sync == 0 { DEFAULT_SYNC_PERIOD } else { sync };
            if min_sync > sync {
                let place = self.min_sync_period.as_ref().or(self.sync_period.as_ref());
                let place = place.map_or("minSyncPeriod", |given| &given.place);
                findings.problem(
                    place,
                    format!(
                        "minSyncPeriod ({}s) must not be longer than syncPeriod ({}s)",
                        seconds(min_sync),
                        seconds(sync)
                    ),
                );
            }
        }
        mode
    }

    fn check_mode(&self, minor: u32, findings: &mut Findings) -> Option<Mode> {
        let (place, mode) = match &self.mode {
            Some(given) => (given.place.as_str(), findings.accept(&given.place, given.text.parse())?),
            None => ("--mode", ProxyMode::Ipvs),
        };
        let policy = findings.accept(place, policy(mode, minor))?;
        if let Some(warning) = policy.warning {
            let link = "https://github.com/kubernetes/enhancements/issues/5495";
            findings.remarks.push(finding(Level::Warning, "version-policy", warning, link));
        }
        Some(Mode { mode, gate: policy.gate })
    }

    /// The checked settings as paths and values to write.
    pub fn to_write(&self, mode: &Mode) -> Vec<(Vec<&'static str>, Value)> {
        let section = mode.mode.name();
        let mut settings = vec![(vec!["mode"], Value::from(section))];
        if let Some(gate) = mode.gate {
            settings.push((vec!["featureGates", gate], Value::Bool(true)));
        }
        let mut text = |path: Vec<&'static str>, given: &Option<Given>| {
            if let Some(given) = given {
                settings.push((path, Value::from(given.text.as_str())));
            }
        };
        text(vec!["ipvs", "scheduler"], &self.scheduler);
        text(vec!["ipvs", "tcpTimeout"], &self.tcp_timeout);
        text(vec!["ipvs", "tcpFinTimeout"], &self.tcp_fin_timeout);
        text(vec!["ipvs", "udpTimeout"], &self.udp_timeout);
        text(vec![section, "syncPeriod"], &self.sync_period);
        text(vec![section, "minSyncPeriod"], &self.min_sync_period);
        if let Some(strict) = &self.strict_arp {
            settings.push((vec!["ipvs", "strictARP"], Value::Bool(strict.text == "true")));
        }
        if let Some(all) = &self.masquerade_all {
            // ipvs mode reads the section of iptables mode.
            let section = if mode.mode == ProxyMode::Nftables { "nftables" } else { "iptables" };
            settings.push((vec![section, "masqueradeAll"], Value::Bool(all.text == "true")));
        }
        if let Some(liberal) = &self.tcp_be_liberal {
            settings.push((vec!["conntrack", "tcpBeLiberal"], Value::Bool(liberal.text == "true")));
        }
        for (path, items) in [
            (vec!["ipvs", "excludeCIDRs"], &self.exclude_cidrs),
            (vec!["nodePortAddresses"], &self.node_port_addresses),
        ] {
            if !items.is_empty() {
                let texts: Vec<_> = items.iter().map(|item| &item.text).collect();
                settings.push((path, Value::strings(&texts)));
            }
        }
        settings
    }

    /// Refuses ipvs-only options with another mode, in which they would have no effect.
    pub fn refuse_ipvs_only(&self, mode: &Mode, findings: &mut Findings) {
        if mode.mode.traits().has_ipvs_settings {
            return;
        }
        let single = [&self.scheduler, &self.strict_arp, &self.tcp_timeout, &self.tcp_fin_timeout, &self.udp_timeout];
        for given in single.into_iter().flatten().chain(self.exclude_cidrs.first()) {
            findings.problem(&given.place, format!("is for ipvs mode only, but the mode is {}", mode.mode));
        }
    }
}

/// A mode that the Kubernetes version runs, and the gate that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The mode.
    pub mode: ProxyMode,
    /// The feature gate to set.
    pub gate: Option<&'static str>,
}

fn not_negative(given: &Given, findings: &mut Findings) -> Option<i128> {
    let nanoseconds = findings.accept(&given.place, duration(&given.text))?;
    if nanoseconds < 0 {
        findings.problem(&given.place, format!("{:?}: a duration cannot be negative", given.text));
        return None;
    }
    Some(nanoseconds)
}

fn seconds(nanoseconds: i128) -> String {
    let (whole, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    format!("{whole}.{rest:09}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        Given { place: "x".to_owned(), text: text.to_owned() }
    }

    fn problems(settings: &RawSettings, minor: u32) -> Vec<String> {
        let mut findings = Findings::default();
        settings.check(minor, &mut findings);
        findings.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn periods_must_fit_each_other() {
        for (mode, sync, min_sync, right) in [
            ("ipvs", Some("10s"), Some("20s"), false),
            ("ipvs", Some("20s"), Some("10s"), true),
            ("ipvs", None, Some("31s"), false),
            ("ipvs", None, Some("30s"), true),
            ("ipvs", Some("500ms"), None, true),
            ("iptables", Some("500ms"), None, false),
            ("ipvs", Some("0s"), Some("20s"), true),
            ("ipvs", Some("-1s"), None, false),
            ("nftables", Some("500ms"), Some("0s"), true),
        ] {
            let settings = RawSettings {
                mode: Some(given(mode)),
                sync_period: sync.map(given),
                min_sync_period: min_sync.map(given),
                ..RawSettings::default()
            };
            assert_eq!(problems(&settings, 34).is_empty(), right, "{mode} {sync:?} {min_sync:?}");
        }
    }

    /// Each mode has its own section; ipvs mode masquerades by that of iptables mode.
    #[test]
    fn settings_are_written_where_the_mode_reads_them() {
        let settings = RawSettings {
            masquerade_all: Some(given("true")),
            tcp_be_liberal: Some(given("false")),
            sync_period: Some(given("1m")),
            node_port_addresses: vec![given("10.0.0.0/8")],
            ..RawSettings::default()
        };
        for (mode, section) in
            [(ProxyMode::Iptables, "iptables"), (ProxyMode::Ipvs, "iptables"), (ProxyMode::Nftables, "nftables")]
        {
            let written = settings.to_write(&Mode { mode, gate: None });
            let value =
                |path: &[&str]| written.iter().find(|(written, _)| written == path).map(|(_, value)| value.clone());
            assert_eq!(value(&[section, "masqueradeAll"]), Some(Value::Bool(true)), "{mode}");
            assert_eq!(value(&["conntrack", "tcpBeLiberal"]), Some(Value::Bool(false)), "{mode}");
            assert_eq!(value(&[mode.name(), "syncPeriod"]), Some(Value::from("1m")), "{mode}");
            assert_eq!(value(&["nodePortAddresses"]), Some(Value::strings(&["10.0.0.0/8"])), "{mode}");
            assert_eq!(written.len(), 5, "{mode}: {written:?}");
        }
        assert_eq!((problems(&settings, 28).len(), problems(&settings, 29).len()), (1, 0));
    }

    #[test]
    fn timeouts_are_known_from_1_18_on() {
        let settings = RawSettings { tcp_timeout: Some(given("15m")), ..RawSettings::default() };
        assert_eq!((problems(&settings, 17).len(), problems(&settings, 18).len()), (1, 0));
    }
}
