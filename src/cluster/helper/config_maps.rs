//! The `ConfigMap`s with a node program, from which the helper's pods run it.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};

use super::groups::NAME;
use super::manifest::{MANAGED_BY, NODE_PROGRAM, POD_LABEL};
use super::programs::{NodeProgram, hash};
use crate::cluster::api::calls::{get, retried};
use crate::cluster::api::errors::plain;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;

/// Number of tries while somebody changes it.
const CHANGES: usize = 20;
/// The label of `ConfigMap`s with a node program. Not that of the other objects: a list of backups must not include them.
const PROGRAM_LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "kpx-prep");

/// An object of this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) uid: String,
}

pub(super) fn api(client: &kube::Client, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), namespace)
}

/// The name of the `ConfigMap` with a program: another program has another one.
pub(super) fn name_of(program: &NodeProgram) -> String {
    format!("{NAME}-{}-{}", program.architecture, program.sha256.get(..12).unwrap_or_default())
}

/// The `ConfigMap` with a program. Immutable: nobody can change it, only replace it, which its UID shows.
pub(super) fn manifest(program: &NodeProgram, owner: Option<&OwnerReference>) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name_of(program)),
            labels: Some(
                [PROGRAM_LABEL, POD_LABEL, MANAGED_BY].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ),
            owner_references: Some(owner.into_iter().cloned().collect()),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        binary_data: Some([(NODE_PROGRAM.to_owned(), ByteString(program.content.to_vec()))].into()),
        ..ConfigMap::default()
    }
}

/// Creates or takes over the `ConfigMap` with a program.
pub(super) async fn ensure(
    client: &kube::Client,
    namespace: &str,
    program: &NodeProgram,
    lock: &Lock,
) -> anyhow::Result<Made> {
    let config_maps = api(client, namespace);
    let wanted = manifest(program, Some(&lock.owner()));
    let name = name_of(program);
    let place = format!("ConfigMap {namespace}/{name}");
    let made = |config_map: &ConfigMap| Made { name: name.clone(), uid: config_map.uid().unwrap_or_default() };
    for _ in 0..CHANGES {
        let there = get(&config_maps, &name)
            .await
            .map_err(|error| anyhow::anyhow!("reading {place}: {}; nothing was changed", plain(&error)))?;
        let Some(there) = there else {
            match Guard::Lock(lock).write(async || config_maps.create(&PostParams::default(), &wanted).await).await {
                Ok(there) => return Ok(made(&there)),
                // It was created by a request whose answer was lost.
                Err(error) if error.code() == Some(409) => continue,
                Err(error) => anyhow::bail!(
                    "creating {place} with the node program ({} bytes): {error}; nothing was changed. Where a quota or a policy forbids it, use --node-image",
                    program.content.len()
                ),
            }
        };
        anyhow::ensure!(
            is_ours(&there),
            "{place} was not created by kpx-prep; nothing was changed. Rename or remove it"
        );
        let stays = there.owner_references().iter().all(|owner| owner.uid == lock.owner().uid);
        if stays && there.metadata.deletion_timestamp.is_none() && holds(&there, &program.sha256) {
            return Ok(made(&there));
        }
        // Its Lease does not exist any more, or it was changed.
        remove(client, namespace, &made(&there), lock).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("{place} keeps changing; nothing was changed. Run again later")
}

/// Whether it holds a program of the helper, by its labels and its name.
pub(super) fn is_program(config_map: &ConfigMap) -> bool {
    is_ours(config_map) && config_map.name_any().starts_with(&format!("{NAME}-"))
}

fn is_ours(config_map: &ConfigMap) -> bool {
    config_map.labels().get(PROGRAM_LABEL.0).is_some_and(|value| value == PROGRAM_LABEL.1)
}

/// Whether it holds the program with this SHA-256, and cannot be changed.
fn holds(config_map: &ConfigMap, sha256: &str) -> bool {
    let content = config_map.binary_data.as_ref().and_then(|data| data.get(NODE_PROGRAM));
    config_map.immutable == Some(true) && content.is_some_and(|content| hash(&content.0) == sha256)
}

/// Reads the `ConfigMap`s again: the program that the pods run must be the one that this run has created or seen.
pub(super) async fn verify(client: &kube::Client, namespace: &str, programs: &[(Made, String)]) -> anyhow::Result<()> {
    for (config_map, sha256) in programs {
        let place = format!("ConfigMap {namespace}/{}", config_map.name);
        let there = get(&api(client, namespace), &config_map.name)
            .await
            .map_err(|error| anyhow::anyhow!("verifying {place}: {}; nothing else was changed", plain(&error)))?;
        let same = there.is_some_and(|there| there.uid().as_ref() == Some(&config_map.uid) && holds(&there, sha256));
        anyhow::ensure!(same, replaced(&place));
    }
    Ok(())
}

fn replaced(place: &str) -> String {
    format!(
        "{place} was replaced while the node helper was started; its program was not run. Find out who may write ConfigMaps in this namespace, then run again"
    )
}

/// Whether they are still the ones of this run, without reading their content: pods would wait in vain for one that is gone.
pub(super) async fn are_there(
    client: &kube::Client,
    namespace: &str,
    programs: &[(Made, String)],
) -> anyhow::Result<()> {
    for (config_map, _) in programs {
        let place = format!("ConfigMap {namespace}/{}", config_map.name);
        let config_maps = api(client, namespace);
        let there = retried(|| config_maps.get_metadata_opt(&config_map.name)).await.map_err(|error| {
            anyhow::anyhow!("reading {place}: {}; nothing but the node helper was changed", plain(&error))
        })?;
        anyhow::ensure!(there.is_some_and(|there| there.uid().as_ref() == Some(&config_map.uid)), replaced(&place));
    }
    Ok(())
}

/// Deletes the `ConfigMap` with a program.
pub(super) async fn remove(
    client: &kube::Client,
    namespace: &str,
    config_map: &Made,
    lock: &Lock,
) -> anyhow::Result<()> {
    let (config_maps, name) = (api(client, namespace), config_map.name.as_str());
    let preconditions = Preconditions { uid: Some(config_map.uid.clone()), resource_version: None };
    let params = DeleteParams::default().preconditions(preconditions);
    match Guard::Lock(lock).write(async || config_maps.delete(name, &params).await).await {
        Ok(_) => Ok(()),
        // Already gone, or another one.
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
        Err(error) => anyhow::bail!(
            "deleting ConfigMap {namespace}/{name}: {error}. Retry with: kpx-prep remediate --remove-helper"
        ),
    }
}

/// The namespaces and the `ConfigMap`s with a program in a namespace, or in all.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn left(api: &Api<ConfigMap>) -> kube::Result<Vec<(String, Made)>> {
    let label = |(name, value): (&str, &str)| format!("{name}={value}");
    let params = ListParams::default().labels(&[PROGRAM_LABEL, POD_LABEL].map(label).join(","));
    // Without their content.
    let found = retried(|| api.list_metadata(&params)).await?;
    // An object of somebody who uses the same labels is not removed.
    let ours = found.items.iter().filter(|object| object.name_any().starts_with(&format!("{NAME}-")));
    let made = |object: &kube::core::PartialObjectMeta<ConfigMap>| Made {
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
    };
    Ok(ours.map(|object| (object.namespace().unwrap_or_default(), made(object))).collect())
}

/// Removes those that no `DaemonSet` of this run uses: of other programs, left by a helper that was kept.
///
/// # Errors
/// If the lock was lost, or the API server refuses.
pub(super) async fn remove_others(
    client: &kube::Client,
    namespace: &str,
    used: &[(Made, String)],
    lock: &Lock,
) -> anyhow::Result<bool> {
    let found = left(&api(client, namespace))
        .await
        .map_err(|error| anyhow::anyhow!("listing ConfigMaps in {namespace}: {}", plain(&error)))?;
    let mut removed = false;
    for (_, config_map) in found.into_iter().filter(|(_, left)| used.iter().all(|(used, _)| used != left)) {
        remove(client, namespace, &config_map, lock).await?;
        removed = true;
    }
    Ok(removed)
}
