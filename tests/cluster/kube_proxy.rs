//! What kube-proxy makes of its configuration, which it reads once, at its start.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_yaml::Value;

use super::misbehaviour::Misbehaviour;

/// A running kube-proxy.
#[derive(Clone, Debug)]
pub(crate) struct KubeProxy {
    /// What `/proxyMode` answers.
    pub(crate) mode: String,
    /// Where it answers.
    pub(crate) metrics_port: u16,
    /// Where it says whether it is healthy; `None` if not on an address that a port-forward reaches.
    pub(crate) healthz_port: Option<u16>,
    /// Whether it says so.
    healthy: bool,
    /// What it has printed.
    pub(crate) log: String,
    /// Whether it writes its rules.
    pub(crate) syncs: bool,
    /// How long after its start it had synced.
    first_sync: std::time::Duration,
    started: jiff::Timestamp,
    minor: u32,
}

/// What it is started with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invocation {
    /// The file that `--config` names.
    pub(crate) config: Option<String>,
    /// `--proxy-mode`, which counts only without a file.
    pub(crate) mode: Option<String>,
    /// 20 for Kubernetes 1.20.
    pub(crate) minor: u32,
}

/// The top level of a YAML mapping, repeated keys included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl Entries {
    /// The first document, as kube-proxy reads it: of a repeated key the last counts.
    fn read(text: &str) -> Result<Self, String> {
        let document = serde_yaml::Deserializer::from_str(text).next().ok_or("no document")?;
        Self::deserialize(document).map_err(|error| error.to_string())
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        match self.0.iter().rfind(|(name, _)| name == key).map(|(_, value)| value) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("cannot unmarshal {other:?} into Go struct field .{key} of type string")),
        }
    }
}

impl KubeProxy {
    /// Starts; on failure, the log.
    pub(crate) fn start(invocation: &Invocation, wrong: &[Misbehaviour]) -> Result<Self, String> {
        let refuse = |why: &str| Err(format!("F1122 10:00:00.000000       1 server.go:495] failed complete: {why}\n"));
        let (mode, metrics_port, healthz_port) = match settings(invocation) {
            Ok(settings) => settings,
            Err(why) => return refuse(&why),
        };
        let mut known = vec!["", "iptables", "ipvs"];
        known.extend((invocation.minor < 26).then_some("userspace"));
        known.extend((invocation.minor >= 29).then_some("nftables"));
        if !known.contains(&mode.as_str()) {
            return refuse(&format!("KubeProxyConfiguration.mode: Invalid value: \"{mode}\""));
        }
        let old = invocation.minor < 26;
        let lacks_ipvs = mode == "ipvs" && wrong.contains(&Misbehaviour::LacksIpvs);
        if mode == "ipvs" && wrong.contains(&Misbehaviour::CrashesInIpvs) || lacks_ipvs && !old {
            return Err(include_str!("logs/1.36.3/ipvs-refused.log").to_owned());
        }
        let falls_back = lacks_ipvs;
        let log = match mode.as_str() {
            "ipvs" if falls_back => include_str!("logs/1.20.2/ipvs-fallback.log"),
            "" if old => include_str!("logs/1.20.2/default.log"),
            "" => include_str!("logs/1.36.3/default.log"),
            "ipvs" if old => include_str!("logs/1.20.2/ipvs.log"),
            "ipvs" => include_str!("logs/1.36.3/ipvs.log"),
            "nftables" => include_str!("logs/1.36.3/nftables.log"),
            _ if old => include_str!("logs/1.20.2/iptables.log"),
            _ => include_str!("logs/1.36.3/iptables.log"),
        };
        let mode = if falls_back || mode.is_empty() { "iptables".to_owned() } else { mode };
        let log = if wrong.contains(&Misbehaviour::LogRotated) {
            log.lines().filter(|line| line.contains("aches")).map(|line| format!("{line}\n")).collect()
        } else {
            log.to_owned()
        };
        let syncs = mode != "ipvs" || !wrong.contains(&Misbehaviour::FailsToSync);
        let healthy = mode != "ipvs" || !wrong.contains(&Misbehaviour::CallsItselfUnhealthy);
        let (started, minor) = (jiff::Timestamp::now(), invocation.minor);
        let first_sync = Misbehaviour::first_sync(wrong);
        Ok(Self { mode, metrics_port, healthz_port, healthy, log, syncs, first_sync, started, minor })
    }
}

impl KubeProxy {
    /// What the health port answers: the status, or nothing where this version has no such path.
    pub(crate) fn health(&self, path: &str) -> Option<&'static str> {
        (path == "/healthz" || path == "/livez" && self.minor >= 28).then_some(if self.healthy {
            "200 OK"
        } else {
            "503 Service Unavailable"
        })
    }

    /// What `/metrics` answers, of it what is about syncs: from 1.33 on for each family, which appears when it is first
    /// queued or synced.
    pub(crate) fn metrics(&self) -> String {
        let seconds = |time: jiff::Timestamp| time.as_duration().as_secs_f64();
        let queued = seconds(self.started);
        let syncs = self.syncs && jiff::Timestamp::now().duration_since(self.started).unsigned_abs() >= self.first_sync;
        let last = if syncs { queued + 0.02 } else { 0.0 };
        let failures = if self.syncs { 0 } else { 3 };
        let kind = if self.mode == "nftables" { "nftables_sync" } else { "iptables_restore" };
        let name = |what: &str| format!("kubeproxy_sync_proxy_rules_{what}");
        let labels = if self.minor >= 33 { "{ip_family=\"IPv4\"}" } else { "" };
        let mut text = "# HELP go_goroutines Number of goroutines that currently exist.\ngo_goroutines 42\n".to_owned();
        text += &format!("{}{labels} {queued:e}\n", name("last_queued_timestamp_seconds"));
        if syncs || labels.is_empty() {
            text += &format!("{}{labels} {last:e}\n", name("last_timestamp_seconds"));
        }
        text + &format!("{}{labels} {failures}\n", name(&format!("{kind}_failures_total")))
    }
}

/// The mode, the port of metricsBindAddress, and that of healthzBindAddress where localhost reaches it.
fn settings(invocation: &Invocation) -> Result<(String, u16, Option<u16>), String> {
    let Some(config) = &invocation.config else {
        return Ok((invocation.mode.clone().unwrap_or_default(), 10249, Some(10256)));
    };
    let entries = Entries::read(config)?;
    if entries.text("kind")? != "KubeProxyConfiguration" {
        return Err(format!("no kind \"{}\" is registered", entries.text("kind")?));
    }
    let port = |field: &str, default: u16| {
        let address = entries.text(field)?;
        match address.rsplit_once(':').filter(|_| address.parse::<IpAddr>().is_err()) {
            Some((_, port)) => port.parse().map_err(|_| format!("{field}: Invalid value: \"{address}\"")),
            None => Ok(default),
        }
    };
    let healthz = entries.text("healthzBindAddress")?;
    let reached = healthz.is_empty() || ["0.0.0.0", "127.", "[::", "::"].iter().any(|start| healthz.starts_with(start));
    let healthz_port = port("healthzBindAddress", 10256)?;
    Ok((entries.text("mode")?.to_owned(), port("metricsBindAddress", 10249)?, reached.then_some(healthz_port)))
}
