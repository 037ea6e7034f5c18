//! Whether a kube-proxy writes its rules, by its metrics: a process that answers with its mode may fail at each sync. Pure.
//!
//! The names are of `pkg/proxy/metrics/metrics.go`. Up to 1.32 there is one sample for both families; then one for each,
//! labelled `ip_family`, from the first time that something was queued or synced for it.

use std::collections::BTreeMap;

use serde::Serialize;

/// When the rules were last written, in seconds since 1970; 0 or missing before the first time.
const LAST: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
/// When writing them was last asked for.
const QUEUED: &str = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
/// How often writing them failed, in iptables and ipvs mode, and in nftables mode (from 1.31 on). A partial restore that
/// fails is followed by a full one, so it is not counted.
const FAILURES: [&str; 2] = [
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
];
/// How long syncs took, as histograms: full ones, which a first sync is (in iptables mode from 1.27 on, later in nftables mode), and all.
const DURATIONS: [&str; 2] =
    ["kubeproxy_sync_full_proxy_rules_duration_seconds", "kubeproxy_sync_proxy_rules_duration_seconds"];
/// How long a change may wait: kube-proxy calls itself unhealthy after two of its periods of 30 s
/// (`2*config.SyncPeriod` in `cmd/kube-proxy/app/server.go`).
const PATIENCE: f64 = 60.0;

/// Where a kube-proxy says on its health port whether it is healthy: the first path that it has. `/healthz` also answers 503 for a
/// node that is being deleted, so `/livez` comes first, which exists from 1.28 on (KEP-3836). Both answer 200 before the first
/// sync, so they never prove one.
pub const HEALTH_PATHS: [&str; 2] = ["/livez", "/healthz"];

/// What the answer to one of [`HEALTH_PATHS`] says, by its status; `None`: ask the next one.
pub fn healthy(status: u16) -> Option<bool> {
    (status != 404).then_some((200..300).contains(&status))
}

/// Whether a kube-proxy writes its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// It has, and no change is waiting for long.
    Synced,
    /// It has not since it started, for at least one address family.
    Never,
    /// It has, but changes have been waiting for more than 60 s.
    Behind,
    /// Its metrics do not say.
    Unknown,
}

/// The syncs of a kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncHealth {
    /// Whether it writes its rules.
    pub state: SyncState,
    /// Seconds since it last did, for the family that waits longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Seconds for which a change has been waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_seconds: Option<u64>,
    /// How often writing them failed since it started.
    pub failures: u64,
    /// How many seconds writing all rules takes on average, for the slower family; see [`full_sync_seconds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_sync_seconds: Option<f64>,
    /// Whether it calls itself healthy on its health port, see [`HEALTH_PATHS`]; `None` if it was not asked, or gave no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
}

impl SyncHealth {
    /// Why it does not write its rules; `None` if it does.
    pub fn trouble(&self) -> Option<String> {
        let failed = match self.failures {
            0 => String::new(),
            times => format!("; {times} syncs failed"),
        };
        match self.state {
            SyncState::Synced if self.healthy == Some(false) => Some(
                "kube-proxy has synced its rules, but answers on its health port that it is not healthy".to_owned(),
            ),
            SyncState::Synced => None,
            SyncState::Never => Some(format!("kube-proxy has not synced its rules since it started{failed}")),
            SyncState::Behind => {
                let pending = self.pending_seconds.unwrap_or_default();
                Some(format!("kube-proxy has not written changes for {pending} s{failed}"))
            }
            SyncState::Unknown => Some("kube-proxy's metrics do not say whether it has synced its rules".to_owned()),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Family {
    last: f64,
    queued: f64,
}

/// Reads kube-proxy's metrics in the text format of Prometheus. `now`: the time by the same clock, in seconds since 1970, if
/// known; without it, waiting changes and ages are not known.
pub fn sync_health(metrics: &str, now: Option<f64>) -> SyncHealth {
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    let mut failures = 0.0;
    for line in metrics.lines() {
        if let Some((family, value)) = sample(line, LAST) {
            families.entry(family).or_default().last = value;
        } else if let Some((family, value)) = sample(line, QUEUED) {
            families.entry(family).or_default().queued = value;
        } else if let Some((_, value)) = FAILURES.iter().find_map(|name| sample(line, name)) {
            failures += value;
        }
    }
    let mut health = SyncHealth {
        state: SyncState::Synced,
        age_seconds: None,
        pending_seconds: None,
        failures: seconds(failures).unwrap_or_default(),
        full_sync_seconds: None,
        healthy: None,
    };
    if families.is_empty() {
        health.state = SyncState::Unknown;
    } else if families.values().any(|family| family.last <= 0.0) {
        health.state = SyncState::Never;
    } else if let Some(now) = now {
        let last = families.values().map(|family| family.last).fold(now, f64::min);
        health.age_seconds = seconds(now - last);
        let waiting = families.values().filter(|family| family.queued > family.last);
        // Each change renews `queued`. Where changes never end, only failures tell that none is written.
        let since = |family: &Family| if failures > 0.0 { family.last } else { family.queued };
        let longest = waiting.map(|family| now - since(family)).fold(0.0, f64::max);
        if longest > PATIENCE {
            health.state = SyncState::Behind;
            health.pending_seconds = seconds(longest);
        }
    }
    health
}

/// How many seconds a full sync took on average since kube-proxy started, for the slower family, to the millisecond. kube-proxy does not
/// tell how long the last one took. Where it does not count full syncs by themselves (ipvs mode, old versions), of all syncs.
pub fn full_sync_seconds(metrics: &str) -> Option<f64> {
    let mean = |name: &&str| {
        let of = |what: &str| -> BTreeMap<&str, f64> {
            metrics.lines().filter_map(|line| sample(line.strip_prefix(name)?, what)).collect()
        };
        let counts = of("_count");
        let means = of("_sum").into_iter().filter_map(|(family, sum)| {
            let count = counts.get(family).copied().filter(|count| *count >= 1.0)?;
            Some(sum / count)
        });
        means.filter(|mean| *mean >= 0.0).reduce(f64::max)
    };
    DURATIONS.iter().find_map(mean).map(|seconds| (seconds * 1000.0).round() / 1000.0)
}

/// Whether a line of metrics is one of those that [`sync_health`] and [`full_sync_seconds`] read.
pub fn is_about_syncs(line: &str) -> bool {
    let is_mean =
        |name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("_sum") || rest.starts_with("_count"));
    [LAST, QUEUED].iter().chain(&FAILURES).any(|name| line.starts_with(name)) || DURATIONS.into_iter().any(is_mean)
}

/// Whether a line of metrics says when the rules were last written.
pub fn is_last_sync(line: &str) -> bool {
    sample(line, LAST).is_some()
}

/// `NAME VALUE`, or `NAME{ip_family="IPv4"} VALUE`; the part in braces and the value.
fn sample<'m>(line: &'m str, name: &str) -> Option<(&'m str, f64)> {
    let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
    let (labels, value) = rest.rsplit_once(' ')?;
    let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    Some((labels.trim(), value))
}

/// Whole seconds; `None` if negative.
fn seconds(time: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and seconds are few")]
    (0.0..1e15).contains(&time).then_some(time as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(samples: &[(&str, &str, f64)]) -> String {
        let line =
            |(name, labels, value): &(&str, &str, f64)| format!("# TYPE {name} gauge\n{name}{labels} {value:e}\n");
        samples.iter().map(line).collect()
    }

    #[test]
    fn how_long_a_full_sync_takes() {
        let [full, all] = DURATIONS;
        for (what, text, expected) in [
            ("nothing", String::new(), None),
            ("none yet", format!("{full}_sum 0\n{full}_count 0\n"), None),
            ("ipvs mode, old", format!("{all}_bucket{{le=\"0.1\"}} 2\n{all}_sum 3\n{all}_count 2\n"), Some(1.5)),
            ("full ones first", format!("{all}_sum 1\n{all}_count 100\n{full}_sum 4.2\n{full}_count 2\n"), Some(2.1)),
            ("no full one yet", format!("{all}_sum 1\n{all}_count 4\n{full}_sum 0\n{full}_count 0\n"), Some(0.25)),
            (
                "two families",
                format!(
                    "{full}_sum{{ip_family=\"IPv4\"}} 9\n{full}_count{{ip_family=\"IPv4\"}} 3\n{full}_sum{{ip_family=\"IPv6\"}} 1\n{full}_count{{ip_family=\"IPv6\"}} 2\n"
                ),
                Some(3.0),
            ),
            ("not a number", format!("{full}_sum NaN\n{full}_count 2\n"), None),
            ("hostile", format!("{full}_sum -5\n{full}_count 2\n"), None),
        ] {
            assert_eq!(full_sync_seconds(&text), expected, "{what}");
            for line in text.lines() {
                assert_eq!(is_about_syncs(line), !line.contains("_bucket"), "{line}");
            }
        }
    }

    #[test]
    fn whether_it_syncs() {
        use SyncState::{Behind, Never, Synced, Unknown};
        let (v4, v6) = ("{ip_family=\"IPv4\"}", "{ip_family=\"IPv6\"}");
        let now = 1_700_000_000.0;
        let ago = |seconds: f64| now - seconds;
        for (what, samples, expected) in [
            ("old, synced", vec![(LAST, "", ago(3.0)), (QUEUED, "", ago(4.0))], (Synced, Some(3), None)),
            ("old, never", vec![(LAST, "", 0.0), (QUEUED, "", ago(4.0))], (Never, None, None)),
            ("both families", vec![(LAST, v4, ago(3.0)), (LAST, v6, ago(9.0))], (Synced, Some(9), None)),
            // The sample of a family that has not synced is not there yet.
            (
                "one family",
                vec![(LAST, v4, ago(3.0)), (QUEUED, v4, ago(4.0)), (QUEUED, v6, ago(4.0))],
                (Never, None, None),
            ),
            ("just queued", vec![(LAST, v4, ago(900.0)), (QUEUED, v4, ago(59.0))], (Synced, Some(900), None)),
            ("waiting", vec![(LAST, v4, ago(900.0)), (QUEUED, v4, ago(61.0))], (Behind, Some(900), Some(61))),
            (
                "idle in nftables mode",
                vec![(LAST, v4, ago(3000.0)), (QUEUED, v4, ago(3001.0))],
                (Synced, Some(3000), None),
            ),
            (
                "another metric",
                vec![("kubeproxy_sync_proxy_rules_last_timestamp_seconds_other", "", now)],
                (Unknown, None, None),
            ),
            ("its clock is ahead", vec![(LAST, "", ago(-5.0))], (Synced, Some(0), None)),
        ] {
            let health = sync_health(&metrics(&samples), Some(now));
            assert_eq!((health.state, health.age_seconds, health.pending_seconds), expected, "{what}");
            assert_eq!(health.trouble().is_some(), expected.0 != Synced, "{what}");
        }
        let waiting = metrics(&[(LAST, v4, ago(900.0)), (QUEUED, v4, ago(61.0))]);
        assert_eq!(sync_health(&waiting, None).state, Synced, "without a clock");
        assert_eq!(sync_health("", Some(now)).state, Unknown);
        assert_eq!(sync_health(&format!("{LAST} NaN\n"), Some(now)).state, Unknown);
    }

    #[test]
    fn changes_that_never_end_do_not_hide_that_none_is_written() {
        let metrics =
            |failures: f64, last: f64| metrics(&[(LAST, "", last), (QUEUED, "", 999.0), (FAILURES[1], "", failures)]);
        assert_eq!(sync_health(&metrics(5.0, 900.0), Some(1000.0)).state, SyncState::Behind);
        assert_eq!(sync_health(&metrics(0.0, 900.0), Some(1000.0)).state, SyncState::Synced);
        // Failures of the past.
        assert_eq!(sync_health(&metrics(5.0, 999.5), Some(1000.0)).state, SyncState::Synced);
        assert_eq!(sync_health(&metrics(5.0, 950.0), Some(1000.0)).state, SyncState::Synced);
    }

    #[test]
    fn failures_are_added_up() {
        let text = metrics(&[
            (LAST, "", 0.0),
            (FAILURES[0], "", 2.0),
            (FAILURES[1], "{ip_family=\"IPv4\"}", 3.0),
            (FAILURES[1], "{ip_family=\"IPv6\"}", 4.0),
            ("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "", 100.0),
        ]);
        let health = sync_health(&text, None);
        assert_eq!((health.state, health.failures), (SyncState::Never, 9));
        assert!(health.trouble().unwrap().ends_with("; 9 syncs failed"));
    }

    #[test]
    fn health_counts_only_if_it_is_bad() {
        for (status, expected) in [(200, Some(true)), (503, Some(false)), (404, None), (500, Some(false))] {
            assert_eq!(healthy(status), expected, "{status}");
        }
        let synced = sync_health(&metrics(&[(LAST, "", 5.0)]), None);
        let never = sync_health(&metrics(&[(LAST, "", 0.0)]), None);
        for (health, healthy, trouble) in [
            (synced, None, None),
            (synced, Some(true), None),
            (synced, Some(false), Some("not healthy")),
            (never, Some(true), Some("has not synced")),
            (never, Some(false), Some("has not synced")),
        ] {
            let told = SyncHealth { healthy, ..health }.trouble();
            assert_eq!(told.is_some(), trouble.is_some(), "{told:?}");
            assert!(told.unwrap_or_default().contains(trouble.unwrap_or_default()));
        }
    }
}
