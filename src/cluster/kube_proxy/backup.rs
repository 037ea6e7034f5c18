//! Backups of the original configuration, byte for byte, as separate `ConfigMap`s in kube-proxy's namespace.
//!
//! There is one per distinct content; it is never overwritten. The last ten are kept.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::config_map::ConfigFacts;
use crate::cluster::api::calls::retried;
use crate::cluster::api::lock::guard::Guard;
use crate::report::foreign::foreign;

/// Number of backups to keep.
pub const KEPT: usize = 10;
/// Prefix of all names.
pub const PREFIX: &str = "kpx-prep-backup-";
/// Label of objects created by kpx-prep.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kpx-prep");

const OF: &str = "kpx-prep/configmap";
const KEY: &str = "kpx-prep/key";
const REPLACED_AT: &str = "kpx-prep/replaced-at";
const WRITTEN: &str = "kpx-prep/written";
const ON_THE_WAY: &str = "kpx-prep/written-on-the-way";
const RESTORES: &str = "kpx-prep/restores";
/// The resourceVersion of the original `ConfigMap` when it was last replaced.
const SAVED_VERSION: &str = "kpx-prep/saved-resource-version";
/// Number of tries to save a backup while another program changes it.
const CONFLICTS: usize = 5;
/// Limit for an annotation with a text, of which there are up to two; all annotations together may have 256 KiB.
const LONGEST_WRITTEN: usize = 120 * 1024;

/// A backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The backup's `ConfigMap`.
    pub name: String,
    /// The `ConfigMap` that it is a backup of.
    pub of: String,
    /// When the original was last replaced, as RFC 3339 by the clock of the machine that did it; only for display.
    pub replaced_at: String,
    /// Its UID.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// The configuration.
    pub text: String,
    /// The text that replaced it, if known; the last one, if the change had two legs.
    pub written: Option<String>,
    /// The text of the first of two legs (`crate::cluster::plan::legs`).
    pub on_the_way: Option<String>,
    /// If it was replaced by a rollback: the backup that this restores.
    pub restores: Option<String>,
}

/// What replaces a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Replacement<'a> {
    /// The new text.
    pub text: &'a str,
    /// The part of a change.
    pub leg: Leg<'a>,
    /// The backup that the change restores, if it is a rollback.
    pub restores: Option<&'a str>,
}

/// The part of a change that replaces a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg<'a> {
    /// The whole change.
    Only,
    /// The first of two legs.
    First,
    /// The first leg once more, for nodes that were left out, from the text of the second one: this backup has the original.
    Again(&'a str),
    /// The second of two legs: this backup has the original, so the text between is not saved.
    Second(&'a str),
}

impl Backup {
    /// The backup that a leg will make of `text`.
    pub fn planned(of: &str, text: String, new: Replacement<'_>) -> Self {
        Self {
            name: PREFIX.to_owned(),
            of: of.to_owned(),
            replaced_at: String::new(),
            uid: String::new(),
            resource_version: String::new(),
            text,
            written: Some(new.text.to_owned()),
            on_the_way: (new.leg == Leg::First).then(|| new.text.to_owned()),
            restores: new.restores.map(str::to_owned),
        }
    }

    /// The content hash in the name.
    pub fn hash(&self) -> &str {
        self.name.strip_prefix(PREFIX).unwrap_or(&self.name)
    }

    /// Whether this is the text between the two legs of the change that replaced it.
    pub fn is_between(&self, text: &str) -> bool {
        self.on_the_way.as_deref() == Some(text)
    }

    /// Whether this text replaced it, in the only leg of a change or in either of two.
    pub fn was_replaced_by(&self, text: &str) -> bool {
        [&self.written, &self.on_the_way].into_iter().flatten().any(|replacement| replacement == text)
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

/// A sort key for the order in which the API server stored objects: the resourceVersion, a decimal number that grows with
/// each write (kubernetes/enhancements KEP-5504; etcd's revision before). Clocks of operators' machines are not reliable.
fn stored(resource_version: &str) -> (usize, &str) {
    let digits = resource_version.trim_start_matches('0');
    (digits.len(), digits)
}

/// All `ConfigMap`s of kpx-prep: the backups, and the programs of the node helper.
///
/// # Errors
/// The error of the API request.
pub async fn list_all(api: &Api<ConfigMap>) -> kube::Result<Vec<ConfigMap>> {
    let params = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    Ok(retried(|| api.list(&params)).await?.items)
}

/// All backups of a `ConfigMap`, newest first, by the API server's order.
///
/// # Errors
/// The error of the API request.
async fn list(api: &Api<ConfigMap>, of: &str, key: &str) -> kube::Result<Vec<Backup>> {
    Ok(newest_first(&list_all(api).await?, of, key))
}

/// The backups of a `ConfigMap` among these, newest first.
///
/// Sorted by the resourceVersion that the `ConfigMap` had when it was replaced, because the backup's own changes when a label
/// or annotation is added to it. A backup without this record comes after those with one. So does a backup whose record is
/// newer than its own resourceVersion: it is from another cluster.
pub fn newest_first(all: &[ConfigMap], of: &str, key: &str) -> Vec<Backup> {
    let saved = |config_map: &ConfigMap, backup: &Backup| {
        let version = config_map.annotations().get(SAVED_VERSION)?;
        let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        (digits && stored(version) < stored(&backup.resource_version)).then(|| version.clone())
    };
    let backups = all.iter().filter_map(|map| read(map, of, key).map(|backup| (saved(map, &backup), backup)));
    let mut backups: Vec<_> = backups.collect();
    backups.sort_by(|(a_saved, a), (b_saved, b)| {
        let versions = (b_saved.as_deref().map(stored), a_saved.as_deref().map(stored));
        versions.0.cmp(&versions.1).then_with(|| stored(&b.resource_version).cmp(&stored(&a.resource_version)))
    });
    backups.into_iter().map(|(_, backup)| backup).collect()
}

/// The backups to delete from a list with the newest first. Never the one that this run created.
fn superfluous<'a>(backups: &'a [Backup], own: Option<&str>) -> Vec<&'a Backup> {
    backups.iter().skip(KEPT).filter(|backup| Some(backup.name.as_str()) != own).collect()
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
        replaced_at: foreign(&annotation(REPLACED_AT).unwrap_or_default()),
        uid: config_map.uid()?,
        resource_version: config_map.resource_version()?,
        text: config_map.data.as_ref()?.get(key)?.clone(),
        written: annotation(WRITTEN),
        on_the_way: annotation(ON_THE_WAY),
        restores: annotation(RESTORES),
    })
}

/// The annotations of the backup for a change of `config`; those without a value are removed from one that exists.
fn annotations(config: &ConfigFacts, new: Replacement<'_>) -> BTreeMap<&'static str, Option<String>> {
    let text = (new.text.len() <= LONGEST_WRITTEN).then(|| new.text.to_owned());
    let mut annotations = BTreeMap::from([
        (REPLACED_AT, Some(now())),
        (SAVED_VERSION, Some(config.resource_version.clone())),
        (WRITTEN, text.clone()),
    ]);
    // The text of the first leg stays, and so does what it leads to.
    if !matches!(new.leg, Leg::Second(_)) {
        annotations.extend([(OF, Some(config.name.clone())), (KEY, Some(config.key.clone()))]);
        annotations.insert(ON_THE_WAY, text.filter(|_| new.leg == Leg::First));
        annotations.insert(RESTORES, new.restores.map(str::to_owned));
    }
    annotations
}

/// The backup for a change of `config`.
fn object(config: &ConfigFacts, new: Replacement<'_>) -> ConfigMap {
    let annotations = annotations(config, new).into_iter();
    let annotations = annotations.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
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
    format!("{:.6}", jiff::Timestamp::now())
}

/// Saves the original before it is replaced, in one write. If a backup of it exists already, only its time and replacement
/// are updated.
///
/// # Errors
/// If the lock was lost, the API server refuses, or the name is used by another object.
pub async fn keep(
    api: &Api<ConfigMap>,
    config: &ConfigFacts,
    new: Replacement<'_>,
    guard: Guard<'_>,
) -> anyhow::Result<String> {
    if let Leg::Again(name) = new.leg {
        return Ok(name.to_owned());
    }
    if let Leg::Second(name) = new.leg {
        let doing = format!("recording the second leg of the change in ConfigMap {name}");
        update(api, config, new, guard, (name, None)).await.with_context(|| doing)?;
        return Ok(name.to_owned());
    }
    let backup = object(config, new);
    let name = backup.name_any();
    let doing = || format!("saving ConfigMap {} as ConfigMap {name}", config.name);
    let create = PostParams { dry_run: guard.is_dry_run(), ..PostParams::default() };
    match guard.write(async || api.create(&create, &backup).await).await {
        Ok(_) => return Ok(name),
        Err(error) if error.code() == Some(409) => {}
        Err(error) => return Err(error).with_context(doing),
    }
    update(api, config, new, guard, (&name, Some(config))).await.with_context(doing)?;
    Ok(name)
}

/// Updates the annotations of a backup that exists, if it has the content of `same`.
async fn update(
    api: &Api<ConfigMap>,
    config: &ConfigFacts,
    new: Replacement<'_>,
    guard: Guard<'_>,
    (name, same): (&str, Option<&ConfigFacts>),
) -> anyhow::Result<()> {
    let annotations = annotations(config, new);
    let params = PatchParams { dry_run: guard.is_dry_run(), ..PatchParams::default() };
    for _ in 0..CONFLICTS {
        let there = retried(|| api.get(name)).await?;
        let is_same = same.is_none_or(|same| {
            there.data.as_ref() == Some(&same.data) && there.binary_data.clone().unwrap_or_default() == same.binary_data
        });
        anyhow::ensure!(
            is_same,
            "a ConfigMap of that name has other content; nothing was changed. Rename or delete it"
        );
        let metadata = json!({"resourceVersion": there.metadata.resource_version, "annotations": annotations});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match guard.write(async || api.patch(name, &params, &patch).await).await {
            Ok(_) => return Ok(()),
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("another program keeps changing it; nothing else was changed")
}

/// Deletes all but the newest [`KEPT`] backups, and never `own`, the one that this run created. Failures are only logged:
/// the next run deletes them.
pub async fn prune(api: &Api<ConfigMap>, of: &str, key: &str, own: Option<&str>, guard: Guard<'_>) {
    let Ok(backups) = list(api, of, key).await else { return };
    for old in superfluous(&backups, own) {
        let preconditions =
            Preconditions { uid: Some(old.uid.clone()), resource_version: Some(old.resource_version.clone()) };
        let params = DeleteParams::default().preconditions(preconditions);
        if let Err(error) = guard.once(async || api.delete(&old.name, &params).await).await {
            tracing::warn!("deleting the old backup {}: {error}", old.name);
        }
    }
}

#[cfg(test)]
mod tests;
