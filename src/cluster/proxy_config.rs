//! The `KubeProxyConfiguration` inside a `ConfigMap`: what it says, and changing it without touching another byte.

use crate::mode::ProxyMode;
use crate::yaml::{Document, Node, Value, parse, set};

/// kube-proxy's default metrics port (`ProxyStatusPort` in pkg/cluster/ports/ports.go).
pub const METRICS_PORT: u16 = 10249;

/// What a `KubeProxyConfiguration` says, as far as kpx-prep asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// `mode` as it is written; empty if it is missing, null or empty.
    pub mode: String,
    /// The port of `metricsBindAddress`.
    pub metrics_port: u16,
    /// `ipvs.strictARP`
    pub strict_arp: bool,
    /// `ipvs.scheduler`, if any.
    pub scheduler: Option<String>,
    /// `ipvs.excludeCIDRs`
    pub exclude_cidrs: Vec<String>,
    /// `ipvs.tcpTimeout`, if it is more than zero.
    pub tcp_timeout: Option<String>,
    /// Feature gates that are `true`.
    pub gates: Vec<String>,
}

/// Reads the `KubeProxyConfiguration` of a text.
///
/// # Errors
/// Why there is no one such document.
pub fn read(text: &str) -> Result<ProxyConfig, String> {
    let documents = parse(text).map_err(|error| error.to_string())?;
    let root = &documents[index(&documents)?].root;
    let text = |path: &[&str]| {
        let node = root.get(path)?;
        node.text().filter(|text| !text.is_empty() && !node.is_null()).map(ToOwned::to_owned)
    };
    let port = match text(&["metricsBindAddress"]) {
        None => METRICS_PORT,
        Some(address) => address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .ok_or_else(|| format!("metricsBindAddress {address:?} has no port"))?,
    };
    let items = root.get(&["ipvs", "excludeCIDRs"]).map(Node::items).unwrap_or_default();
    Ok(ProxyConfig {
        mode: text(&["mode"]).unwrap_or_default(),
        metrics_port: port,
        strict_arp: text(&["ipvs", "strictARP"]).as_deref() == Some("true"),
        scheduler: text(&["ipvs", "scheduler"]),
        exclude_cidrs: items.iter().filter_map(|item| item.text().map(ToOwned::to_owned)).collect(),
        tcp_timeout: text(&["ipvs", "tcpTimeout"]).filter(|timeout| !timeout.trim_start_matches(['0', 's']).is_empty()),
        gates: root
            .get(&["featureGates"])
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .filter(|(_, value)| value.text() == Some("true"))
            .filter_map(|(gate, _)| gate.text().map(ToOwned::to_owned))
            .collect(),
    })
}

/// The text with these settings; every other byte as before, settings that are right already untouched.
///
/// # Errors
/// Which setting cannot be changed, and why.
pub fn edit(text: &str, settings: &[(Vec<&str>, Value)]) -> Result<String, String> {
    let mut text = text.to_owned();
    for (path, value) in settings {
        let documents = parse(&text).map_err(|error| error.to_string())?;
        let document = index(&documents)?;
        text = set(&text, document, path, value).map_err(|error| format!("{}: {error}", path.join(".")))?;
    }
    Ok(text)
}

/// Which document is the `KubeProxyConfiguration`.
fn index(documents: &[Document]) -> Result<usize, String> {
    let kind = |document: &Document| document.root.get(&["kind"]).and_then(Node::text).map(ToOwned::to_owned);
    let found: Vec<_> = (0..documents.len())
        .filter(|&index| kind(&documents[index]).as_deref() == Some("KubeProxyConfiguration"))
        .collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err("it holds no document of kind KubeProxyConfiguration".to_owned()),
        [..] => Err(format!("it holds {} documents of kind KubeProxyConfiguration", found.len())),
    }
}

/// The mode that kube-proxy 1.`minor` makes of a configured one: an empty mode is iptables, from 1.40 on nftables
/// (KEP-5343).
///
/// # Errors
/// If no kube-proxy starts with it.
pub fn target(mode: &str, minor: u32) -> Result<ProxyMode, String> {
    match mode {
        "" if minor >= 40 => Ok(ProxyMode::Nftables),
        "" => Ok(ProxyMode::Iptables),
        mode => mode.parse().map_err(|error| format!("mode {mode:?}: {error}")),
    }
}
