//! Findings about the configuration.

use crate::cluster::kube_proxy::config_map::HashAnnotation;
use crate::cluster::kube_proxy::daemon_set::ConfigSource;
use crate::cluster::observe::facts::ClusterFacts;
use crate::mode::{IPVS_TIMELINE, ProxyMode, policy};
use crate::proxy_config::ProxyConfig;
use crate::report::{Finding, Level, few, finding};

pub(super) fn check(facts: &ClusterFacts, findings: &mut Vec<Finding>) {
    let Some(kube_proxy) = &facts.kube_proxy else { return };
    match &kube_proxy.config {
        ConfigSource::Flags => {
            let message =
                format!("DaemonSet {}/{} configures kube-proxy only with flags", kube_proxy.namespace, kube_proxy.name);
            let hint = "kpx-prep only edits the ConfigMap of --config; change --proxy-mode in the DaemonSet, or migrate to --config; https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/";
            findings.push(finding(Level::Error, "flag-only-config", message, hint));
            return;
        }
        ConfigSource::Elsewhere(why) => {
            findings.push(finding(
                Level::Error,
                "config-unreadable",
                why.clone(),
                "kpx-prep only edits ConfigMaps; https://kubernetes.io/docs/concepts/configuration/configmap/",
            ));
            return;
        }
        ConfigSource::ConfigMap { .. } => {}
    }
    let Some(config) = &facts.config else {
        let ConfigSource::ConfigMap { name, key } = &kube_proxy.config else { return };
        let message =
            format!("ConfigMap {}/{name} with key {key}, which kube-proxy reads, does not exist", kube_proxy.namespace);
        findings.push(finding(
            Level::Error,
            "config-unreadable",
            message,
            "create it with: kubeadm init phase addon kube-proxy; https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-init-phase/",
        ));
        return;
    };
    let place = format!("ConfigMap {}/{}, key {}", kube_proxy.namespace, config.name, config.key);
    let parsed = match &config.parsed {
        Err(why) => {
            let hint = "fix it manually (kubectl edit configmap); kube-proxy may fail to start with this configuration; https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/";
            findings.push(finding(Level::Error, "config-unreadable", format!("{place}: {why}"), hint));
            return;
        }
        Ok(parsed) => parsed,
    };
    if let Err(why) = facts.target() {
        let hint = "kube-proxy will exit at its next start; set a valid mode with: kpx-prep remediate --mode MODE";
        findings.push(finding(Level::Error, "mode-invalid", format!("{place}: {why}"), hint));
    }
    findings.extend(refused_fields(
        &place,
        parsed,
        facts.minor(),
        facts.target().unwrap_or(ProxyMode::Iptables),
        Level::Error,
    ));
    if !parsed.unknown.is_empty() {
        let message = format!("{place}: unknown fields, ignored by kube-proxy: {}", few(&parsed.unknown));
        let hint = "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/";
        findings.push(finding(Level::Info, "config-unknown-field", message, hint));
    }
    if parsed.mode.is_empty() {
        let message = format!("{place}: mode is empty, which means iptables up to 1.39 and nftables from 1.40 on");
        findings.push(finding(
            Level::Info,
            "mode-empty",
            message,
            format!("set an explicit mode, which does not change with upgrades: {}", facts.remediate()),
        ));
    }
    version_policy(facts, parsed, &place, findings);
    match config.hash {
        HashAnnotation::Matches => {}
        HashAnnotation::Differs => {
            let message = format!("{place}: changed since kubeadm generated it; kubeadm upgrade keeps the changes");
            findings.push(finding(Level::Info, "config-hash", message, ""));
        }
        HashAnnotation::Absent => {
            let message = format!("{place}: no kubeadm hash; kubeadm treats it as user-supplied and keeps it");
            findings.push(finding(Level::Info, "config-hash", message, ""));
        }
    }
}

/// Fields that kube-proxy refuses when it starts in a mode.
pub fn refused_fields(place: &str, config: &ProxyConfig, minor: u32, mode: ProxyMode, level: Level) -> Option<Finding> {
    let refused: Vec<_> = config.refused(minor, mode).iter().map(ToString::to_string).collect();
    let message = format!("{place}: kube-proxy will exit at its next start because of: {}", few(&refused));
    let hint = "fix it manually (kubectl edit configmap); https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/";
    (!refused.is_empty()).then(|| finding(level, "config-field", message, hint))
}

/// Whether this version runs the configured mode, and for how long.
fn version_policy(facts: &ClusterFacts, parsed: &ProxyConfig, place: &str, findings: &mut Vec<Finding>) {
    if let Ok(target) = facts.target() {
        let minor = facts.minor();
        match policy(target, minor) {
            Err(refused) => {
                findings.push(finding(
                    Level::Error,
                    "version-policy",
                    refused.to_string(),
                    format!("switch with: kpx-prep remediate --mode {}", refused.instead),
                ));
            }
            Ok(policy) => {
                if let Some(gate) = policy.gate.filter(|gate| !parsed.has_gate(gate)) {
                    let message =
                        format!("{place}: Kubernetes 1.{minor} runs {target} only with featureGates: {{{gate}: true}}");
                    let hint = format!("set the gate with: {}", facts.remediate());
                    findings.push(finding(Level::Error, "version-policy", message, hint));
                } else if let Some(successor) = policy.successor {
                    findings.push(finding(
                        Level::Info,
                        "version-policy",
                        IPVS_TIMELINE,
                        format!(
                            "to see the steps of a migration, run: kpx-prep remediate --mode {successor} --dry-run"
                        ),
                    ));
                }
            }
        }
    }
}
