//! The original configuration, kept byte for byte as a `ConfigMap` of its own beside kube-proxy's.
//!
//! One per distinct content, never overwritten; the last ten are kept.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::api::{code, retried};
use super::facts::ConfigFacts;

/// How many are kept.
pub const KEPT: usize = 10;
/// What all names begin with.
pub const PREFIX: &str = "kpx-prep-backup-";
/// Marks what kpx-prep made.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kpx-prep");

const OF: &str = "kpx-prep/configmap";
const KEY: &str = "kpx-prep/key";
const REPLACED_AT: &str = "kpx-prep/replaced-at";
const WRITTEN: &str = "kpx-prep/written";
/// Annotations may have 256 KiB altogether.
const LONGEST_WRITTEN: usize = 128 * 1024;

/// A kept original.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The `ConfigMap` that keeps it.
    pub name: String,
    /// Whose original it is.
    pub of: String,
    /// When it was last replaced, as RFC 3339 with fractions: sorts by time.
    pub replaced_at: String,
    /// The configuration.
    pub text: String,
    /// What it was replaced by, if that is known.
    pub written: Option<String>,
}

impl Backup {
    /// The part of the name that stands for the content.
    pub fn hash(&self) -> &str {
        self.name.strip_prefix(PREFIX).unwrap_or(&self.name)
    }
}

/// The name of the backup of this content.
pub fn name_of(
    config_map: &str,
    data: &BTreeMap<String, String>,
    binary_data: &BTreeMap<String, ByteString>,
) -> String {
    let mut hash = Sha256::new();
    let texts = data.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    let others = binary_data.iter().flat_map(|(key, value)| [key.as_bytes(), &value.0]);
    for part in std::iter::once(config_map.as_bytes()).chain(texts).chain(others) {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}")
}

/// All backups of a `ConfigMap`, newest first.
///
/// # Errors
/// What the API server says.
pub async fn list(api: &Api<ConfigMap>, of: &str, key: &str) -> kube::Result<Vec<Backup>> {
    let params = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let all = retried(|| api.list(&params)).await?;
    let mut backups: Vec<_> = all.items.iter().filter_map(|config_map| read(config_map, of, key)).collect();
    backups.sort_by(|a, b| b.replaced_at.cmp(&a.replaced_at));
    Ok(backups)
}

fn read(config_map: &ConfigMap, of: &str, key: &str) -> Option<Backup> {
    let annotation = |name: &str| config_map.annotations().get(name).cloned();
    let name = config_map.name_any();
    if !name.starts_with(PREFIX) || annotation(OF)? != of || annotation(KEY)? != key {
        return None;
    }
    Some(Backup {
        name,
        of: of.to_owned(),
        replaced_at: annotation(REPLACED_AT)?,
        text: config_map.data.as_ref()?.get(key)?.clone(),
        written: annotation(WRITTEN),
    })
}

/// The backup that a change of `config` to `written` needs.
fn object(config: &ConfigFacts, written: &str) -> ConfigMap {
    let mut annotations = BTreeMap::from([
        (OF.to_owned(), config.name.clone()),
        (KEY.to_owned(), config.key.clone()),
        (REPLACED_AT.to_owned(), now()),
    ]);
    if written.len() <= LONGEST_WRITTEN {
        annotations.insert(WRITTEN.to_owned(), written.to_owned());
    }
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name_of(&config.name, &config.data, &config.binary_data)),
            labels: Some(BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())])),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        data: Some(config.data.clone()),
        binary_data: Some(config.binary_data.clone()).filter(|data| !data.is_empty()),
        immutable: Some(true),
    }
}

fn now() -> String {
    // All the same width, so that texts sort as times do.
    format!("{:.6}", jiff::Timestamp::now())
}

/// Keeps the original before it is replaced by `written`. One write; an original that is kept already only gets
/// the new time and the new replacement.
///
/// # Errors
/// What the API server says, or that something else has this name.
pub async fn keep(api: &Api<ConfigMap>, config: &ConfigFacts, written: &str, dry_run: bool) -> anyhow::Result<String> {
    let backup = object(config, written);
    let name = backup.name_any();
    let doing = || format!("keeping the original of ConfigMap {} as ConfigMap {name}", config.name);
    let create = PostParams { dry_run, ..PostParams::default() };
    match retried(|| api.create(&create, &backup)).await {
        Ok(_) => return Ok(name),
        Err(error) if code(&error) == Some(409) => {}
        Err(error) => return Err(error).with_context(doing),
    }
    let there = retried(|| api.get(&name)).await.with_context(doing)?;
    anyhow::ensure!(
        there.data.as_ref() == Some(&config.data) && there.binary_data.unwrap_or_default() == config.binary_data,
        "{}: a ConfigMap of that name holds something else; nothing was changed; rename or delete it",
        doing()
    );
    let patch = Patch::Merge(json!({"metadata": {"annotations": backup.metadata.annotations}}));
    let params = PatchParams { dry_run, ..PatchParams::default() };
    retried(|| api.patch(&name, &params, &patch)).await.with_context(doing)?;
    Ok(name)
}

/// Deletes all but the newest [`KEPT`]. A failure is no reason to stop: the next run deletes them.
pub async fn prune(api: &Api<ConfigMap>, of: &str, key: &str) {
    let Ok(backups) = list(api, of, key).await else { return };
    for old in backups.iter().skip(KEPT) {
        if let Err(error) = api.delete(&old.name, &DeleteParams::default()).await {
            tracing::warn!("deleting the old backup {}: {error}", old.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_per_content() {
        let data = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name_of = |of, data, binary: &[(&str, &[u8])]| {
            let binary = binary.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
            super::name_of(of, &data, &binary.collect())
        };
        let one = name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[]);
        assert_eq!(one, name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[]));
        for other in [
            name_of("kube-proxy", data(&[("config.conf", "mode: \"\"")]), &[]),
            name_of("kube-proxy", data(&[("config.con", "fmode: \"\"\n")]), &[]),
            name_of("kube-proxy", data(&[("config.conf", "mode: \"\"\n")]), &[("x", &[255])]),
            name_of("other", data(&[("config.conf", "mode: \"\"\n")]), &[]),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one.len(), PREFIX.len() + 10);
    }

    #[test]
    fn times_sort_as_texts() {
        let (first, second) = (now(), now());
        assert_eq!(first.len(), "2026-11-23T00:00:00.000000Z".len());
        assert!(first <= second);
    }
}
