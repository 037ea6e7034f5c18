//! Values that kube-proxy refuses although their type is right (`Validate` in pkg/proxy/apis/config/validation).

use serde_json::Value;

use super::address::{is_ip, port};
use super::refused_field::RefusedField;
use crate::cidr::Cidr;
use crate::mode::ProxyMode;
use crate::mode::traits::Carrier;
use crate::proxy_ports::{HEALTHZ_PORT, METRICS_PORT};

/// kube-proxy's default periods (`SetDefaults_KubeProxyConfiguration`), in nanoseconds.
const SYNC_PERIOD: i128 = 30_000_000_000;
const MIN_SYNC_PERIOD: i128 = 1_000_000_000;
/// IPVS schedulers that are validated by name, up to 1.26.
const SCHEDULERS: [&str; 11] = ["", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq"];
/// The first version that accepts `primary` in `nodePortAddresses`, alone (kubernetes#123105; tested with 1.31, 1.34 and 1.36).
pub const PRIMARY_FROM: u32 = 30;
/// The first version that accepts `primary`, `localhost` and `all` there, also together and beside ranges (kubernetes#138427).
pub const KEYWORDS_FROM: u32 = 37;

/// A Go duration in nanoseconds.
///
/// # Errors
/// If it is not a duration.
pub(super) fn duration(text: &str) -> Result<i128, String> {
    crate::go_duration::duration(text)
}

/// The values that kube-proxy 1.`minor` in `mode` refuses, in a document with correct types.
pub(super) fn check(json: &Value, minor: u32, mode: ProxyMode) -> Vec<RefusedField> {
    let mut check = Check { json, problems: Vec::new() };
    check.whole("iptables.masqueradeBit", 0, 31);
    check.whole("oomScoreAdj", -1000, 1000);
    check.whole("conntrack.maxPerCore", 0, i64::MAX);
    check.whole("conntrack.min", 0, i64::MAX);
    check.whole("clientConnection.burst", 0, i64::MAX);
    for field in ["conntrack.tcpEstablishedTimeout", "conntrack.tcpCloseWaitTimeout", "configSyncPeriod"] {
        check.not_negative(field);
    }
    check.periods("iptables", MIN_SYNC_PERIOD);
    if mode.traits().has_ipvs_settings {
        check.periods("ipvs", 0);
        for field in ["ipvs.tcpTimeout", "ipvs.tcpFinTimeout", "ipvs.udpTimeout"] {
            check.not_negative(field);
        }
        check.text("ipvs.scheduler", |name| {
            let known = minor >= 27 || SCHEDULERS.contains(&name);
            if known { Ok(()) } else { Err(format!("{name:?} is not a scheduler of kube-proxy 1.{minor}")) }
        });
        check.texts("ipvs.excludeCIDRs", cidr);
    }
    if minor >= 29 {
        // Only that mode's own section is validated, as with ipvs.
        if mode.traits().carrier == Carrier::NftablesTables {
            check.whole("nftables.masqueradeBit", 0, 31);
            check.periods("nftables", MIN_SYNC_PERIOD);
        }
        check.not_negative("conntrack.udpTimeout");
        check.not_negative("conntrack.udpStreamTimeout");
    }
    check.text("bindAddress", |text| if is_ip(text) { Ok(()) } else { Err(format!("{text:?} is not an IP address")) });
    check.text("metricsBindAddress", |text| port(text, METRICS_PORT).map(|_| ()));
    check.text("healthzBindAddress", |text| port(text, HEALTHZ_PORT).map(|_| ()));
    let dual_stack = minor >= 21 || minor == 0 || check.has_gate(&["IPv6DualStack", "AllAlpha"]);
    check.text("clusterCIDR", |text| ranges(text, dual_stack));
    check.text("portRange", port_range);
    if minor > 0 {
        // `ValidateShowHiddenMetricsVersion` of k8s.io/component-base/metrics.
        check.text("showHiddenMetricsForVersion", |text| {
            let previous = format!("1.{}", minor - 1);
            if text == previous {
                return Ok(());
            }
            Err(format!(
                "{text:?}: kube-proxy 1.{minor} accepts only the version before its own, {previous}; remove the field"
            ))
        });
    }
    if minor <= 25 {
        check.not_negative("udpIdleTimeout");
    }
    check.texts("nodePortAddresses", |text| {
        let keyword = match text {
            "primary" => minor >= PRIMARY_FROM,
            "localhost" | "all" => minor >= KEYWORDS_FROM,
            _ => false,
        };
        if keyword { Ok(()) } else { cidr(text) }
    });
    let addresses = json.get("nodePortAddresses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if addresses.len() > 1 && minor < KEYWORDS_FROM && addresses.iter().any(|address| address == "primary") {
        check.refuse("nodePortAddresses", "primary cannot be combined with anything else".to_owned());
    }
    check.problems
}

/// One range, or one of IPv4 and one of IPv6; two only with dual-stack, which is behind a gate up to 1.20.
fn ranges(text: &str, dual_stack: bool) -> Result<(), String> {
    text.split(',').try_for_each(cidr)?;
    let is_ipv6: Vec<bool> = text.split(',').map(|range| range.contains(':')).collect();
    match is_ipv6.as_slice() {
        [_] => Ok(()),
        [first, second] if first != second && dual_stack => Ok(()),
        [_, _] if !dual_stack => Err(format!("{text:?}: two ranges require the gate IPv6DualStack")),
        _ => Err(format!("{text:?} must be one range, or one IPv4 and one IPv6 range")),
    }
}

/// `80-90`, `80+10` or `80` (`ParsePortRange` in k8s.io/apimachinery/pkg/util/net).
fn port_range(text: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let parts = match (text.split_once('-'), text.split_once('+')) {
        (Some(_), Some(_)) => None,
        (Some((low, high)), None) => number(low).zip(number(high)),
        (None, Some((low, more))) => {
            number(low).zip(number(more)).and_then(|(low, more)| Some((low, low.checked_add(more)?)))
        }
        (None, None) => number(text).map(|port| (port, port)),
    };
    let good = parts.is_some_and(|(low, high)| low <= high && high <= 65535);
    if good { Ok(()) } else { Err(format!("{text:?} is not a port range; use for example 30000-32767")) }
}

fn cidr(text: &str) -> Result<(), String> {
    Cidr::around(text).map(|_| ())
}

struct Check<'a> {
    json: &'a Value,
    problems: Vec<RefusedField>,
}

impl<'a> Check<'a> {
    fn at(&self, field: &str) -> Option<&'a Value> {
        field.split('.').try_fold(self.json, |value, key| value.get(key))
    }

    fn has_gate(&self, names: &[&str]) -> bool {
        let gates = self.at("featureGates");
        names.iter().any(|name| gates.and_then(|gates| gates.get(*name)).and_then(Value::as_bool) == Some(true))
    }

    fn refuse(&mut self, field: &str, message: String) {
        self.problems.push(RefusedField { field: field.to_owned(), message });
    }

    fn whole(&mut self, field: &str, least: i64, most: i64) {
        if let Some(number) = self.at(field).and_then(Value::as_i64)
            && !(least..=most).contains(&number)
        {
            let range = if most == i64::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
            self.refuse(field, format!("{number} is out of range: {range}"));
        }
    }

    /// Checks a non-empty string; an empty one means the default.
    fn text(&mut self, field: &str, check: impl Fn(&str) -> Result<(), String>) {
        if let Some(text) = self.at(field).and_then(Value::as_str).filter(|text| !text.is_empty())
            && let Err(why) = check(text)
        {
            self.refuse(field, why);
        }
    }

    fn texts(&mut self, field: &str, check: impl Fn(&str) -> Result<(), String>) {
        let items = self.at(field).and_then(Value::as_array).into_iter().flatten();
        let wrong = items.map(|item| item.as_str().unwrap_or_default()).find_map(|item| check(item).err());
        if let Some(why) = wrong {
            self.refuse(field, why);
        }
    }

    fn nanoseconds(&self, field: &str) -> Option<i128> {
        self.at(field).and_then(Value::as_str).and_then(|text| duration(text).ok())
    }

    fn not_negative(&mut self, field: &str) {
        if self.nanoseconds(field).is_some_and(|nanoseconds| nanoseconds < 0) {
            self.refuse(field, "a duration cannot be negative".to_owned());
        }
    }

    fn periods(&mut self, section: &str, least: i128) {
        let (sync, min_sync) = (format!("{section}.syncPeriod"), format!("{section}.minSyncPeriod"));
        self.not_negative(&sync);
        self.not_negative(&min_sync);
        let or = |given: Option<i128>, default| given.filter(|given| *given != 0).unwrap_or(default);
        if or(self.nanoseconds(&min_sync), least) > or(self.nanoseconds(&sync), SYNC_PERIOD) {
            self.refuse(&min_sync, "is longer than syncPeriod".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Tested with kube-proxy 1.20.2 and --write-config-to; for other versions from the source.
    #[test]
    fn as_kube_proxy_validates_them() {
        let gate = || json!({"IPv6DualStack": true});
        for (config, minor, refused) in [
            (json!({"portRange": "80-90"}), 20, None),
            (json!({"portRange": "80+10"}), 20, None),
            (json!({"portRange": "0-0"}), 20, None),
            (json!({"portRange": ""}), 20, None),
            (json!({"portRange": "abc"}), 20, Some("portRange")),
            (json!({"portRange": "90-80"}), 20, Some("portRange")),
            (json!({"portRange": "80 - 90"}), 20, Some("portRange")),
            (json!({"portRange": "80-"}), 20, Some("portRange")),
            (json!({"portRange": "1-70000"}), 20, Some("portRange")),
            (json!({"portRange": "65535+1"}), 20, Some("portRange")),
            (json!({"showHiddenMetricsForVersion": ""}), 20, None),
            (json!({"showHiddenMetricsForVersion": "1.19"}), 20, None),
            (json!({"showHiddenMetricsForVersion": "1.18"}), 20, Some("showHiddenMetricsForVersion")),
            (json!({"showHiddenMetricsForVersion": "v1.19"}), 20, Some("showHiddenMetricsForVersion")),
            (json!({"showHiddenMetricsForVersion": "1.19"}), 21, Some("showHiddenMetricsForVersion")),
            (json!({"udpIdleTimeout": "0s"}), 20, None),
            (json!({"udpIdleTimeout": "-1s"}), 20, Some("udpIdleTimeout")),
            (json!({"udpIdleTimeout": "-1s"}), 26, None),
            (json!({"clusterCIDR": "10.0.0.0/8,fd00::/64"}), 20, Some("clusterCIDR")),
            (json!({"clusterCIDR": "10.0.0.0/8,fd00::/64", "featureGates": gate()}), 20, None),
            (json!({"clusterCIDR": "10.0.0.0/8,11.0.0.0/8", "featureGates": gate()}), 20, Some("clusterCIDR")),
            (json!({"clusterCIDR": "10.0.0.0/8", "featureGates": gate()}), 20, None),
            (json!({"clusterCIDR": "10.0.0.0/8,fd00::/64"}), 23, None),
            (json!({"nodePortAddresses": ["primary"]}), 29, Some("nodePortAddresses")),
            (json!({"nodePortAddresses": ["primary"]}), 31, None),
            (json!({"nodePortAddresses": ["localhost"]}), 36, Some("nodePortAddresses")),
            (json!({"nodePortAddresses": ["all"]}), 36, Some("nodePortAddresses")),
            (json!({"nodePortAddresses": ["all", "10.0.0.1/8"]}), 37, None),
            (json!({"nodePortAddresses": ["primary", "10.0.0.0/8"]}), 34, Some("nodePortAddresses")),
            (json!({"nodePortAddresses": ["primary", "localhost"]}), 38, None),
            (json!({"clusterCIDR": "10.0.0.0/8,11.0.0.0/8"}), 23, Some("clusterCIDR")),
        ] {
            let found: Vec<_> = check(&config, minor, ProxyMode::Ipvs).into_iter().map(|one| one.field).collect();
            assert_eq!(found, refused.into_iter().collect::<Vec<_>>(), "{config} in 1.{minor}");
        }
    }
}
