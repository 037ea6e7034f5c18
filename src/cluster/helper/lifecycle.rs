//! Creating, taking over and removing the helper's `DaemonSet`s, with the `ConfigMap`s that they need.

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use serde_json::json;

use super::config_maps::{self, Made};
use super::groups::Groups;
use super::groups::NAMES;
use super::manifest::{KEPT, MANAGED_BY, Runs, SPEC_HASH, Setup, Source, daemon_set};
use super::pods;
use super::programs::NodeProgram;
use crate::cluster::api::calls::get;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::{code, plain};
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::api::objects;
use crate::kubernetes_version::minor_of;
use crate::report::say::say;

/// Number of tries to remove an object while its status changes.
const CHANGES: usize = 20;
/// The annotation with the run that uses it: once it is set, a run that lost the lock cannot remove it any more.
const USED_BY: &str = "kpx-prep/used-by";
/// How long to wait for an object that is being deleted before a new one can be created.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// What a run has created or taken over.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// The `DaemonSet`s.
    pub(super) sets: Vec<Made>,
    /// The `ConfigMap`s, each with the SHA-256 of its program.
    pub(super) programs: Vec<(Made, String)>,
    /// Whether an earlier run marked the `DaemonSet`s to be kept.
    pub(super) kept: bool,
}

pub(super) fn sets(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &objects::daemon_sets())
}

fn is_ours(set: &DynamicObject) -> bool {
    set.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

fn minor(connection: &Connection) -> u32 {
    minor_of(&connection.version).unwrap_or(0)
}

/// What every `DaemonSet` runs, with the programs that their `ConfigMap`s hold.
fn wanted<'a>(setup: &'a Setup, groups: &'a Groups, names: &'a [String]) -> Vec<Runs<'a>> {
    match &setup.source {
        Source::Image(image) => vec![Runs::Image(image)],
        Source::Programs(_) => {
            let of_group = |group: &'a super::groups::Group| Runs::Program(group, &names[group.program]);
            groups.groups.iter().map(of_group).collect()
        }
    }
}

fn programs(setup: &Setup) -> &[NodeProgram] {
    match &setup.source {
        Source::Image(_) => &[],
        Source::Programs(programs) => programs,
    }
}

/// Creates or takes over what a run needs; removes `DaemonSet`s of earlier runs that it does not need.
pub(super) async fn ensure(
    connection: &Connection,
    namespace: &str,
    setup: &Setup,
    groups: &Groups,
    lock: &Lock,
) -> anyhow::Result<Objects> {
    let mut made = Objects::default();
    let names: Vec<String> = programs(setup).iter().map(config_maps::name_of).collect();
    for (number, program) in programs(setup).iter().enumerate() {
        if groups.groups.iter().any(|group| group.program == number) {
            let config_map = config_maps::ensure(&connection.client, namespace, program, lock).await?;
            made.programs.push((config_map, program.sha256.clone()));
        }
    }
    let runs = wanted(setup, groups, &names);
    for runs in &runs {
        let (set, kept) = ensure_set(connection, namespace, setup, *runs, lock).await?;
        made.kept |= kept;
        made.sets.push(set);
    }
    for name in NAMES.into_iter().filter(|name| runs.iter().all(|runs| runs.name() != *name)) {
        if let Ok(Some(left)) = get(&sets(&connection.client, namespace), name).await
            && is_ours(&left)
        {
            remove_set(&connection.client, namespace, name, left.metadata.uid.as_deref(), lock).await?;
        }
    }
    config_maps::remove_others(&connection.client, namespace, &made.programs, lock).await?;
    config_maps::are_there(&connection.client, namespace, &made.programs).await?;
    Ok(made)
}

/// Creates or takes over a `DaemonSet`; returns it, and whether it is marked to be kept.
async fn ensure_set(
    connection: &Connection,
    namespace: &str,
    setup: &Setup,
    runs: Runs<'_>,
    lock: &Lock,
) -> anyhow::Result<(Made, bool)> {
    let client = &connection.client;
    let api = sets(client, namespace);
    let name = runs.name();
    let wanted = daemon_set(namespace, setup, runs, minor(connection), Some(&lock.owner()));
    let place = format!("DaemonSet {namespace}/{name}");
    let deadline = tokio::time::Instant::now() + GONE_WITHIN;
    loop {
        let there = get(&api, name)
            .await
            .map_err(|error| anyhow::anyhow!("reading {place}: {}; nothing was changed", plain(&error)))?;
        let Some(there) = there else {
            say(&format!("starting the node helper, {place}, from {}", setup.describe()));
            match Guard::Lock(lock).write(async || api.create(&PostParams::default(), &wanted).await).await {
                Ok(made) => return Ok((Made { name: name.to_owned(), uid: made.uid().unwrap_or_default() }, false)),
                // It was created by a request whose answer was lost.
                Err(error) if error.code() == Some(409) => continue,
                Err(error) => anyhow::bail!("creating {place}: {error}; nothing was changed"),
            }
        };
        anyhow::ensure!(
            is_ours(&there),
            "{place} was not created by kpx-prep; nothing was changed. Rename or remove it"
        );
        let same = there.annotations().get(SPEC_HASH) == wanted.annotations().get(SPEC_HASH);
        // It belongs to a deleted Lease and is being garbage-collected.
        let stays = there.owner_references().iter().all(|owner| owner.uid == lock.owner().uid);
        if there.metadata.deletion_timestamp.is_none() {
            if same && stays {
                let uid = there.uid().unwrap_or_default();
                let annotations = json!({USED_BY: lock.holder()});
                let patch = Patch::Merge(json!({"metadata": {"uid": uid, "annotations": annotations}}));
                let params = PatchParams::default();
                let taken = Guard::Lock(lock).write(async || api.patch(name, &params, &patch).await).await;
                taken.map_err(|error| anyhow::anyhow!("taking over {place}: {error}; nothing was changed"))?;
                pods::try_again(client, namespace, &uid, lock).await;
                return Ok((Made { name: name.to_owned(), uid }, there.annotations().contains_key(KEPT)));
            }
            if stays {
                let was_kept = there.annotations().contains_key(KEPT);
                let again = if was_kept { ". To keep the new one too, use remediate --keep-helper again" } else { "" };
                say(&format!("{place} differs from what this run needs; replacing it{again}"));
            }
            remove_set(client, namespace, name, Some(&there.uid().unwrap_or_default()), lock).await?;
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{place} is still being deleted; nothing was changed. Run again later"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Removes a `DaemonSet`, with this UID if one is given; returns whether there was one.
pub(super) async fn remove_set(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
    lock: &Lock,
) -> anyhow::Result<bool> {
    let api = sets(client, namespace);
    let place = format!("DaemonSet {namespace}/{name}");
    for _ in 0..CHANGES {
        let there = get(&api, name).await.map_err(|error| anyhow::anyhow!("reading {place}: {}", plain(&error)))?;
        let Some(set) = there.filter(|set| uid.is_none() || set.metadata.uid.as_deref() == uid) else {
            return Ok(false);
        };
        anyhow::ensure!(is_ours(&set), "{place} was not created by kpx-prep; it was not changed");
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            // The resourceVersion changes when another run takes it over, and with the status of its pods.
            preconditions: Some(Preconditions { uid: set.uid(), resource_version: set.resource_version() }),
            ..DeleteParams::default()
        };
        match Guard::Lock(lock).write(async || api.delete(name, &params).await).await {
            Ok(_) => return Ok(true),
            // Already gone.
            Err(error) if error.code() == Some(404) => return Ok(true),
            Err(error) if error.code() == Some(409) => {}
            Err(error) => anyhow::bail!(
                "deleting {place}: {error}; it is still running. Retry with: kpx-prep remediate --remove-helper"
            ),
        }
    }
    anyhow::bail!(
        "deleting {place}: it keeps changing; it is still running. Retry with: kpx-prep remediate --remove-helper"
    )
}

/// Removes all of the helper's objects from a namespace, whichever run made them; returns whether there were any.
///
/// # Errors
/// If an object was not created by kpx-prep, the lock was lost, or the API server refuses.
pub async fn remove(client: &kube::Client, namespace: &str, lock: &Lock) -> anyhow::Result<bool> {
    let mut removed = false;
    for name in NAMES {
        removed |= remove_set(client, namespace, name, None, lock).await?;
    }
    removed |= config_maps::remove_others(client, namespace, &[], lock).await?;
    Ok(removed)
}

/// Validates the objects with a server-side dry run.
///
/// # Errors
/// Errors of the API server.
pub async fn rehearse(connection: &Connection, namespace: &str, setup: &Setup, groups: &Groups) -> anyhow::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let names: Vec<String> = programs(setup).iter().map(config_maps::name_of).collect();
    for program in programs(setup) {
        let config_map = config_maps::manifest(program, None);
        match config_maps::api(&connection.client, namespace).create(&params, &config_map).await {
            Err(error) if code(&error) != Some(409) => {
                anyhow::bail!("dry run: creating ConfigMap {namespace}/{}: {}", config_map.name_any(), plain(&error))
            }
            _ => {}
        }
    }
    for runs in wanted(setup, groups, &names) {
        let set = daemon_set(namespace, setup, runs, minor(connection), None);
        match sets(&connection.client, namespace).create(&params, &set).await {
            Err(error) if code(&error) != Some(409) => {
                anyhow::bail!("dry run: creating DaemonSet {namespace}/{}: {}", runs.name(), plain(&error))
            }
            _ => {}
        }
    }
    Ok(())
}
