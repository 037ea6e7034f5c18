//! kube-proxy's `ConfigMap`: reading it, and the only write that changes it.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

use crate::cluster::api::calls::retried;
use crate::cluster::api::errors::is_transient;
use crate::cluster::api::lock::guard::{Guard, Unwritten};
use crate::proxy_config::{self, ProxyConfig};

/// kube-proxy's configuration as read.
#[derive(Clone, Debug)]
pub struct ConfigFacts {
    /// The `ConfigMap`.
    pub name: String,
    /// The key with the configuration.
    pub key: String,
    /// The text of that key.
    pub text: String,
    /// All keys, for the backup.
    pub data: BTreeMap<String, String>,
    /// All binary keys, for the backup.
    pub binary_data: BTreeMap<String, ByteString>,
    /// `resourceVersion`; a write with it fails if the object was changed since.
    pub resource_version: String,
    /// Whether it is `immutable`.
    pub immutable: bool,
    /// When the key was last changed, in seconds since 1970.
    pub changed: Option<i64>,
    /// Whether kubeadm's hash annotation matches the data.
    pub hash: HashAnnotation,
    /// The tool that manages it, such as a GitOps tool.
    pub owner: Option<String>,
    /// The parsed text.
    ///
    /// The error says why it cannot be read.
    pub parsed: Result<ProxyConfig, String>,
}

/// kubeadm's annotation `kubeadm.kubernetes.io/component-config.hash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAnnotation {
    /// kubeadm generated the data, and it was not changed.
    Matches,
    /// The data was changed; kubeadm treats it as user-supplied and keeps it.
    Differs,
    /// There is no annotation: user-supplied.
    Absent,
}

/// kubeadm's annotation (cmd/kubeadm/app/constants, `ComponentConfigHashAnnotationKey`).
const HASH: &str = "kubeadm.kubernetes.io/component-config.hash";
/// A temporary annotation, set while a run takes over from another.
const TAKEN_OVER: &str = "kpx-prep/taken-over";
/// The name of kpx-prep.
const NAME: &str = "kpx-prep";

/// The needed parts of the `ConfigMap`; `None` if it does not have the key.
pub fn read(config_map: &ConfigMap, key: &str) -> Option<ConfigFacts> {
    let data = config_map.data.clone().unwrap_or_default();
    let text = data.get(key)?.clone();
    Some(ConfigFacts {
        name: config_map.name_any(),
        key: key.to_owned(),
        parsed: proxy_config::read(&text),
        text,
        resource_version: config_map.resource_version().unwrap_or_default(),
        immutable: config_map.immutable == Some(true),
        changed: changed(config_map, key),
        hash: hash_annotation(config_map),
        owner: owner(config_map),
        data,
        binary_data: config_map.binary_data.clone().unwrap_or_default(),
    })
}

/// When the key was last written, from managedFields.
fn changed(config_map: &ConfigMap, key: &str) -> Option<i64> {
    let field = format!("f:{key}");
    let entries = config_map.metadata.managed_fields.iter().flatten();
    let times = entries.filter_map(|entry| {
        let fields = &entry.fields_v1.as_ref()?.0;
        fields.get("f:data")?.get(&field)?;
        entry.time.as_ref().map(|time| time.0.as_second())
    });
    times.max()
}

/// kubeadm hashes the values in the order of their keys (`ChecksumForConfigMap` in
/// cmd/kubeadm/app/componentconfigs/checksums.go).
fn hash_annotation(config_map: &ConfigMap) -> HashAnnotation {
    let Some(annotation) = config_map.annotations().get(HASH) else { return HashAnnotation::Absent };
    let mut hash = Sha256::new();
    for value in config_map.data.iter().flatten().map(|(_, value)| value.as_bytes()) {
        hash.update(value);
    }
    for value in config_map.binary_data.iter().flatten().map(|(_, value)| &value.0) {
        hash.update(value);
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if *annotation == format!("sha256:{hex}") { HashAnnotation::Matches } else { HashAnnotation::Differs }
}

/// The tool that manages it and would revert a change, such as a GitOps tool or Helm, from labels, annotations and
/// managedFields.
fn owner(config_map: &ConfigMap) -> Option<String> {
    let marks = config_map.labels().iter().chain(config_map.annotations());
    for (key, value) in marks {
        let tool = match key.as_str() {
            "argocd.argoproj.io/instance" | "argocd.argoproj.io/tracking-id" => "Argo CD",
            "kustomize.toolkit.fluxcd.io/name" | "helm.toolkit.fluxcd.io/name" => "Flux",
            "meta.helm.sh/release-name" => "Helm",
            "app.kubernetes.io/managed-by" if value != NAME => {
                return Some(format!("{value} (label {key})"));
            }
            "objectset.rio.cattle.io/id" => "Fleet",
            "kapp.k14s.io/app" => "kapp",
            _ => continue,
        };
        return Some(format!("{tool} ({key}={value})"));
    }
    let managers = config_map.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.manager.as_deref());
    for manager in managers {
        let lower = manager.to_ascii_lowercase();
        if [
            "argocd",
            "flux",
            "kustomize-controller",
            "helm",
            "fleet",
            "kapp",
            "pulumi",
            "terraform",
            "addon-manager",
            "ansible",
        ]
        .iter()
        .any(|tool| lower.contains(tool))
        {
            return Some(format!("{manager} (managedFields)"));
        }
    }
    if let Some(reference) = config_map.owner_references().first() {
        return Some(format!("{} {} (ownerReferences)", reference.kind, reference.name));
    }
    None
}

/// Why a write failed.
#[derive(Debug)]
pub enum WriteError {
    /// It was changed since it was read.
    Conflict,
    /// The lock was lost, or the API server refused.
    Failed(Unwritten),
}

/// The field manager for this text. An API server updates the time of a managedFields entry only if the entry changes (seen
/// with 1.20), and that time shows which pods are older than the text, so every text has its own manager name.
fn field_manager(text: &str) -> String {
    let digest = Sha256::digest(text);
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{NAME}-{hex}")
}

/// Changes the resourceVersion of the `ConfigMap` by setting and removing an annotation. A run that lost the lock may have
/// read the previous resourceVersion, and its pending write would still be accepted.
///
/// # Errors
/// [`WriteError`]
pub async fn touch(api: &Api<ConfigMap>, config: &ConfigFacts, guard: Guard<'_>) -> Result<(), WriteError> {
    let mut version = config.resource_version.clone();
    for value in [json!("true"), json!(null)] {
        let annotations = json!({TAKEN_OVER: value});
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version, "annotations": annotations}}));
        let params = PatchParams { field_manager: Some(NAME.to_owned()), ..PatchParams::default() };
        match guard.once(async || api.patch(&config.name, &params, &patch).await).await {
            Ok(written) => version = written.resource_version().unwrap_or_default(),
            Err(error) if error.code() == Some(409) => return Err(WriteError::Conflict),
            Err(error) => return Err(WriteError::Failed(error)),
        }
    }
    Ok(())
}

/// Replaces only the text of the key, if the `ConfigMap` was not changed since it was read. Returns the time of the
/// change by the API server's clock, in seconds since 1970.
///
/// If the connection breaks, it may have been after the write: the `ConfigMap` is then read again.
///
/// # Errors
/// [`WriteError`]
pub async fn write(
    api: &Api<ConfigMap>,
    config: &ConfigFacts,
    text: &str,
    guard: Guard<'_>,
) -> Result<Option<i64>, WriteError> {
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": config.resource_version},
        "data": {config.key.as_str(): text},
    }));
    let params =
        PatchParams { dry_run: guard.is_dry_run(), field_manager: Some(field_manager(text)), ..PatchParams::default() };
    // After a broken connection, an apparent conflict may be caused by this run's own write.
    let mut maybe_ours = false;
    let send = async || api.patch(&config.name, &params, &patch).await;
    for wait in [200, 400, 800, 1600, 3200] {
        let error = match guard.once(send).await {
            Ok(written) => return Ok(changed(&written, &config.key)),
            Err(error) => error,
        };
        match &error {
            Unwritten::Refused(_) if error.code() == Some(409) && !maybe_ours => return Err(WriteError::Conflict),
            Unwritten::Refused(_) if error.code() == Some(409) => {}
            Unwritten::Refused(refused) if is_transient(refused) => maybe_ours = true,
            _ => return Err(WriteError::Failed(error)),
        }
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        let read = retried(|| api.get(&config.name)).await;
        let now = read.map_err(|error| WriteError::Failed(Unwritten::Refused(error)))?;
        if now.resource_version().as_deref() == Some(config.resource_version.as_str()) {
            continue;
        }
        return match now.data.as_ref().and_then(|data| data.get(&config.key)) {
            Some(there) if there == text => Ok(changed(&now, &config.key)),
            _ => Err(WriteError::Conflict),
        };
    }
    guard.once(send).await.map(|written| changed(&written, &config.key)).map_err(WriteError::Failed)
}
