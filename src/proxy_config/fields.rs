//! Every field of `KubeProxyConfiguration` v1alpha1 and the JSON type that kube-proxy requires
//! (staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go, from 1.20 to 1.37).
//!
//! kube-proxy decodes strictly first, and leniently if only that fails, so it ignores an unknown field; with a field of
//! another type it exits ("failed to decode").

use serde_json::Value;

use super::refused_field::RefusedField;
use super::values::duration;

/// The JSON type of a field; `null` means the default unless noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// An integer that fits in 32 bits.
    Int,
    /// A number.
    Number,
    /// A string that Go's `time.ParseDuration` reads. With `null` kube-proxy exits (`metav1.Duration` reads it as a string).
    Duration,
    /// The same for a pointer type: `null` means the default.
    OptionalDuration,
    /// A list of strings.
    Texts,
    /// A mapping of names to booleans.
    Gates,
    /// A mapping; its fields follow in the table.
    Section,
    /// A mapping whose content is not checked.
    Opaque,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its dotted path.
    pub path: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The first minor version that certainly reads it; 0 for all from 1.15 on.
    pub since: u32,
    /// The last one that certainly reads it.
    pub until: u32,
}

const fn always(path: &'static str, kind: Kind) -> Field {
    Field { path, kind, since: 0, until: u32::MAX }
}

const fn since(since: u32, path: &'static str, kind: Kind) -> Field {
    Field { since, ..always(path, kind) }
}

/// Every field, sections before what is in them.
pub const FIELDS: [Field; 64] = [
    always("apiVersion", Kind::Text),
    always("kind", Kind::Text),
    always("bindAddress", Kind::Text),
    always("bindAddressHardFail", Kind::Bool),
    always("clientConnection", Kind::Section),
    always("clientConnection.kubeconfig", Kind::Text),
    always("clientConnection.acceptContentTypes", Kind::Text),
    always("clientConnection.contentType", Kind::Text),
    always("clientConnection.qps", Kind::Number),
    always("clientConnection.burst", Kind::Int),
    always("clusterCIDR", Kind::Text),
    always("configSyncPeriod", Kind::Duration),
    always("conntrack", Kind::Section),
    always("conntrack.maxPerCore", Kind::Int),
    always("conntrack.min", Kind::Int),
    since(29, "conntrack.tcpBeLiberal", Kind::Bool),
    always("conntrack.tcpCloseWaitTimeout", Kind::OptionalDuration),
    always("conntrack.tcpEstablishedTimeout", Kind::OptionalDuration),
    since(29, "conntrack.udpStreamTimeout", Kind::Duration),
    since(29, "conntrack.udpTimeout", Kind::Duration),
    since(22, "detectLocal", Kind::Section),
    since(22, "detectLocal.bridgeInterface", Kind::Text),
    since(22, "detectLocal.interfaceNamePrefix", Kind::Text),
    always("detectLocalMode", Kind::Text),
    always("enableProfiling", Kind::Bool),
    always("featureGates", Kind::Gates),
    always("healthzBindAddress", Kind::Text),
    always("hostnameOverride", Kind::Text),
    always("iptables", Kind::Section),
    since(26, "iptables.localhostNodePorts", Kind::Bool),
    always("iptables.masqueradeAll", Kind::Bool),
    always("iptables.masqueradeBit", Kind::Int),
    always("iptables.minSyncPeriod", Kind::Duration),
    since(37, "iptables.snatNodeInternalIP", Kind::Bool),
    always("iptables.syncPeriod", Kind::Duration),
    always("ipvs", Kind::Section),
    always("ipvs.excludeCIDRs", Kind::Texts),
    always("ipvs.minSyncPeriod", Kind::Duration),
    always("ipvs.scheduler", Kind::Text),
    always("ipvs.strictARP", Kind::Bool),
    always("ipvs.syncPeriod", Kind::Duration),
    always("ipvs.tcpFinTimeout", Kind::Duration),
    always("ipvs.tcpTimeout", Kind::Duration),
    always("ipvs.udpTimeout", Kind::Duration),
    since(29, "logging", Kind::Opaque),
    always("metricsBindAddress", Kind::Text),
    always("mode", Kind::Text),
    since(29, "nftables", Kind::Section),
    since(29, "nftables.masqueradeAll", Kind::Bool),
    since(29, "nftables.masqueradeBit", Kind::Int),
    since(29, "nftables.minSyncPeriod", Kind::Duration),
    since(29, "nftables.syncPeriod", Kind::Duration),
    always("nodePortAddresses", Kind::Texts),
    always("oomScoreAdj", Kind::Int),
    always("portRange", Kind::Text),
    always("showHiddenMetricsForVersion", Kind::Text),
    Field { until: 25, ..always("udpIdleTimeout", Kind::Duration) },
    since(30, "windowsRunAsService", Kind::Bool),
    always("winkernel", Kind::Section),
    always("winkernel.enableDSR", Kind::Bool),
    always("winkernel.networkName", Kind::Text),
    always("winkernel.sourceVip", Kind::Text),
    since(24, "winkernel.rootHnsEndpointName", Kind::Text),
    since(24, "winkernel.forwardHealthCheckVip", Kind::Bool),
];

/// Fields that kube-proxy 1.`minor` cannot decode.
pub(super) fn check(json: &Value, minor: u32) -> Vec<RefusedField> {
    let of_version = FIELDS.iter().filter(|field| (field.since..=field.until).contains(&minor));
    let wrong = of_version.filter_map(|field| {
        let value = field.path.split('.').try_fold(json, |value, key| value.get(key))?;
        let message = wrong(field.kind, value)?;
        Some(RefusedField { field: field.path.to_owned(), message })
    });
    wrong.collect()
}

/// Fields that are unknown in every version, and ignored.
pub(super) fn unknown(json: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let known = |path: &str| FIELDS.iter().find(|field| field.path == path).map(|field| field.kind);
    for (key, value) in json.as_object().into_iter().flatten() {
        match known(key) {
            None => unknown.push(key.clone()),
            Some(Kind::Section) => {
                let inner = value.as_object().into_iter().flatten().map(|(inner, _)| format!("{key}.{inner}"));
                unknown.extend(inner.filter(|path| known(path).is_none()));
            }
            Some(_) => {}
        }
    }
    unknown
}

/// Why a value does not have a type.
fn wrong(kind: Kind, value: &Value) -> Option<String> {
    let must = |what: &str| Some(format!("must be {what}, not {}", said(value)));
    match (kind, value) {
        (Kind::Duration, Value::Null) => must("a duration such as 30s; remove the field for the default"),
        (_, Value::Null)
        | (Kind::Text, Value::String(_))
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Number, Value::Number(_))
        | (Kind::Section | Kind::Opaque, Value::Object(_)) => None,
        (Kind::Text, _) => must("a string; put it in quotes"),
        (Kind::Bool, _) => must("true or false, without quotes"),
        (Kind::Int, Value::Number(number)) if is_int32(number) => None,
        (Kind::Int, _) => must("an integer, without quotes"),
        (Kind::Number, _) => must("a number, without quotes"),
        (Kind::Duration | Kind::OptionalDuration, Value::String(text)) => duration(text).err(),
        (Kind::Duration | Kind::OptionalDuration, _) => must("a duration with a unit, such as 30s"),
        (Kind::Texts, Value::Array(items)) => items
            .iter()
            .any(|item| !item.is_string() && !item.is_null())
            .then(|| "must be a list of strings".to_owned()),
        (Kind::Texts, _) => must("a list"),
        (Kind::Gates, Value::Object(gates)) => {
            let mut wrong = gates.iter().filter(|(_, on)| !on.is_boolean() && !on.is_null());
            wrong.next().map(|(gate, on)| format!("{gate} must be true or false, without quotes, not {}", said(on)))
        }
        (Kind::Gates | Kind::Section | Kind::Opaque, _) => must("a mapping"),
    }
}

/// `14`, and `14.0`, which Go's JSON writes as 14.
fn is_int32(number: &serde_json::Number) -> bool {
    let bounds = f64::from(i32::MIN)..=f64::from(i32::MAX);
    number.as_f64().is_some_and(|number| number.fract() == 0.0 && bounds.contains(&number))
}

/// A value for a message, on one line.
fn said(value: &Value) -> String {
    crate::report::foreign::shortened(&value.to_string(), 60)
}
