//! Values that kube-proxy refuses though their type is right (`Validate` in pkg/proxy/apis/config/validation).

use serde_json::Value;

use super::Problem;
use super::address::{HEALTHZ_PORT, METRICS_PORT, is_ip, port};
use crate::kubeadm::cidr::Cidr;
use crate::mode::ProxyMode;

/// kube-proxy's periods where none is set (`SetDefaults_KubeProxyConfiguration`), in nanoseconds.
const SYNC_PERIOD: i128 = 30_000_000_000;
const MIN_SYNC_PERIOD: i128 = 1_000_000_000;
/// IPVS schedulers that are validated by name, up to 1.26.
const SCHEDULERS: [&str; 11] = ["", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq"];
/// The first version that takes `primary` among `nodePortAddresses`.
const PRIMARY: u32 = 27;

/// A Go duration in nanoseconds.
///
/// # Errors
/// That it is none.
pub(super) fn duration(text: &str) -> Result<i128, String> {
    crate::kubeadm::formats::duration(text)
}

/// What kube-proxy 1.`minor` in `mode` refuses of a document whose types are right.
pub(super) fn check(json: &Value, minor: u32, mode: ProxyMode) -> Vec<Problem> {
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
    if mode == ProxyMode::Ipvs {
        check.periods("ipvs", 0);
        for field in ["ipvs.tcpTimeout", "ipvs.tcpFinTimeout", "ipvs.udpTimeout"] {
            check.not_negative(field);
        }
        check.text("ipvs.scheduler", |name| {
            let known = minor >= 27 || SCHEDULERS.contains(&name);
            if known { Ok(()) } else { Err(format!("{name:?} is no scheduler that 1.{minor} knows")) }
        });
        check.texts("ipvs.excludeCIDRs", cidr);
    }
    if minor >= 29 {
        check.whole("nftables.masqueradeBit", 0, 31);
        check.periods("nftables", MIN_SYNC_PERIOD);
        check.not_negative("conntrack.udpTimeout");
        check.not_negative("conntrack.udpStreamTimeout");
    }
    check.text("bindAddress", |text| if is_ip(text) { Ok(()) } else { Err(format!("{text:?} is not an IP address")) });
    check.text("metricsBindAddress", |text| port(text, METRICS_PORT).map(|_| ()));
    check.text("healthzBindAddress", |text| port(text, HEALTHZ_PORT).map(|_| ()));
    check.text("clusterCIDR", |text| {
        // Two ranges need dual-stack, which 1.20 has behind a gate: left to kube-proxy.
        if text.split(',').count() > 2 {
            return Err(format!("{text:?}: one range, or one IPv4 and one IPv6 range"));
        }
        text.split(',').try_for_each(cidr)
    });
    check.texts("nodePortAddresses", |text| {
        let keyword = minor >= PRIMARY && matches!(text, "primary" | "localhost" | "all");
        if keyword { Ok(()) } else { cidr(text) }
    });
    check.problems
}

fn cidr(text: &str) -> Result<(), String> {
    Cidr::around(text).map(|_| ())
}

struct Check<'a> {
    json: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn at(&self, field: &str) -> Option<&'a Value> {
        field.split('.').try_fold(self.json, |value, key| value.get(key))
    }

    fn refuse(&mut self, field: &str, message: String) {
        self.problems.push(Problem { field: field.to_owned(), message });
    }

    fn whole(&mut self, field: &str, least: i64, most: i64) {
        if let Some(number) = self.at(field).and_then(Value::as_i64)
            && !(least..=most).contains(&number)
        {
            let range = if most == i64::MAX { format!("at least {least}") } else { format!("{least} to {most}") };
            self.refuse(field, format!("{number} is out of range: {range}"));
        }
    }

    /// A text that is not empty: empty is the default of each.
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
            self.refuse(field, "a time cannot be negative".to_owned());
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
