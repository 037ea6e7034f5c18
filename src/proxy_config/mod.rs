//! The `KubeProxyConfiguration` that kube-proxy reads with `--config`: reading it, and editing it without changing any other
//! byte.
//!
//! It is read as kube-proxy reads it, each field separately: a field that kube-proxy does not accept is a [`RefusedField`] and
//! gets its default here, so that the other fields can still be used.

mod address;
mod fields;
pub mod refused_field;
mod values;

use serde_json::Value as Json;

use crate::mode::{DEFAULT_SCHEDULER, ProxyMode};
use crate::proxy_ports::{HEALTHZ_PORT, METRICS_PORT, ProxyPorts};
use crate::yaml::{Document, Value, parse, set};
use refused_field::RefusedField;

pub use fields::{FIELDS, Field, Kind};
pub use values::{KEYWORDS_FROM, PRIMARY_FROM};

/// The only version, in every Kubernetes up to 1.37.
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// The fields of a `KubeProxyConfiguration` that kpx-prep needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `mode` as written; empty if it is missing, null, empty or not a string.
    pub mode: String,
    /// The ports of `metricsBindAddress` and `healthzBindAddress`; kube-proxy's defaults where they cannot be read.
    pub ports: ProxyPorts,
    /// `ipvs.strictARP`
    pub strict_arp: bool,
    /// `ipvs.scheduler`, if any; [`Self::scheduler`] has the default.
    pub written_scheduler: Option<String>,
    /// `ipvs.excludeCIDRs`
    pub exclude_cidrs: Vec<String>,
    /// `ipvs.tcpTimeout`, if it is greater than zero.
    pub tcp_timeout: Option<String>,
    /// Feature gates, in the written order.
    pub gates: Vec<(String, bool)>,
    /// Fields that are unknown to every kube-proxy and ignored, as dotted paths.
    pub unknown: Vec<String>,
    /// The document as kube-proxy reads it.
    json: Json,
}

impl ProxyConfig {
    /// Every field whose type or value kube-proxy 1.`minor` refuses when it starts in `mode`.
    pub fn refused(&self, minor: u32, mode: ProxyMode) -> Vec<RefusedField> {
        refused(&self.json, minor, mode)
    }

    /// The value at a dotted path, if it is there.
    pub fn value(&self, path: &str) -> Option<&Json> {
        path.split('.').try_fold(&self.json, |value, key| value.get(key))
    }

    /// Whether a list or text at a dotted path is missing, null or empty.
    pub fn is_empty(&self, path: &str) -> bool {
        self.value(path).is_none_or(|value| match value {
            Json::Null => true,
            Json::Array(items) => items.is_empty(),
            Json::String(text) => text.is_empty(),
            _ => false,
        })
    }

    /// The IPVS scheduler that kube-proxy uses with it.
    pub fn scheduler(&self) -> &str {
        self.written_scheduler.as_deref().unwrap_or(DEFAULT_SCHEDULER)
    }

    /// Whether a feature gate is set to `true`.
    pub fn has_gate(&self, name: &str) -> bool {
        self.gates.iter().any(|(gate, on)| gate == name && *on)
    }
}

/// Reads the `KubeProxyConfiguration` from a text: from its first document, the only one that kube-proxy reads.
///
/// # Errors
/// Why kube-proxy does not find a `KubeProxyConfiguration` in it.
pub fn read(text: &str) -> Result<ProxyConfig, String> {
    let documents = parse(text).map_err(|error| error.to_string())?;
    let json = first(&documents)?.resolve()?;
    let said = |key: &str| json.get(key).and_then(Json::as_str).unwrap_or_default();
    if said("kind") != "KubeProxyConfiguration" {
        let elsewhere = documents.iter().skip(1).any(|document| {
            document.resolve().is_ok_and(|json| json["kind"].as_str() == Some("KubeProxyConfiguration"))
        });
        return Err(if elsewhere {
            "kube-proxy reads only the first document, and the KubeProxyConfiguration is not the first".to_owned()
        } else {
            "it has no document of kind KubeProxyConfiguration".to_owned()
        });
    }
    if said("apiVersion") != API_VERSION {
        return Err(format!("its apiVersion is {:?}, but kube-proxy supports only {API_VERSION}", said("apiVersion")));
    }
    let unknown = fields::unknown(&json);
    let at = |path: &[&str]| path.iter().try_fold(&json, |value, key| value.get(key));
    let text = |path: &[&str]| at(path).and_then(Json::as_str).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let port =
        |path: &str, default| text(&[path]).and_then(|text| address::port(&text, default).ok()).unwrap_or(default);
    let cidrs = at(&["ipvs", "excludeCIDRs"]).and_then(Json::as_array).into_iter().flatten();
    let gates = at(&["featureGates"]).and_then(Json::as_object).into_iter().flatten();
    Ok(ProxyConfig {
        mode: text(&["mode"]).unwrap_or_default(),
        ports: ProxyPorts {
            metrics: port("metricsBindAddress", METRICS_PORT),
            healthz: port("healthzBindAddress", HEALTHZ_PORT),
        },
        strict_arp: at(&["ipvs", "strictARP"]).and_then(Json::as_bool).unwrap_or_default(),
        written_scheduler: text(&["ipvs", "scheduler"]),
        exclude_cidrs: cidrs.filter_map(|cidr| cidr.as_str().map(ToOwned::to_owned)).collect(),
        tcp_timeout: text(&["ipvs", "tcpTimeout"])
            .filter(|timeout| values::duration(timeout).is_ok_and(|nanoseconds| nanoseconds > 0)),
        gates: gates.map(|(gate, on)| (gate.clone(), on.as_bool().unwrap_or_default())).collect(),
        unknown,
        json,
    })
}

/// Every field of a `KubeProxyConfiguration` that kube-proxy 1.`minor` refuses when it starts in `mode`.
pub fn refused(json: &Json, minor: u32, mode: ProxyMode) -> Vec<RefusedField> {
    let refused = fields::check(json, minor);
    // kube-proxy validates the values after it has decoded all of them.
    if refused.is_empty() { values::check(json, minor, mode) } else { refused }
}

/// The text with these settings; every other byte is kept, settings with the right value are not changed.
///
/// # Errors
/// Which setting cannot be changed, and why.
pub fn edit(text: &str, settings: &[(Vec<&str>, Value)]) -> Result<String, String> {
    read(text)?;
    settings.iter().try_fold(text.to_owned(), |text, (path, value)| {
        set(&text, 0, path, value).map_err(|error| format!("{}: {error}", path.join(".")))
    })
}

fn first(documents: &[Document]) -> Result<&Document, String> {
    documents.first().ok_or_else(|| "it is empty".to_owned())
}

/// The mode that kube-proxy 1.`minor` runs for a configured mode: an empty mode means iptables, from 1.40 on nftables
/// (KEP-5343).
///
/// # Errors
/// If kube-proxy does not start with it.
pub fn target(mode: &str, minor: u32) -> Result<ProxyMode, String> {
    match mode {
        "" if minor >= 40 => Ok(ProxyMode::Nftables),
        "" => Ok(ProxyMode::Iptables),
        mode => mode.parse().map_err(|error| format!("mode {mode:?}: {error}")),
    }
}
