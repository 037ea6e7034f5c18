//! The node helper: a temporary `DaemonSet` that runs kpx-prep itself on every node, so that a cluster command can inspect,
//! prepare and clean hosts.
//!
//! [`manifest`] builds it, [`pods`] waits for its pods, [`exec`] runs a command in one, [`work`] defines the commands.

pub mod exec;
pub mod manifest;
pub mod pods;
pub mod work;

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::api::calls::get;
use super::api::connection::client::Connection;
use super::api::errors::{code, plain};
use super::api::lock::Lock;
use super::api::lock::guard::Guard;
use super::api::objects;
use crate::cluster::api::patience::patiently;
use crate::kubernetes_version::{OLDEST_MINOR, minor_of};
use crate::report::say::say;
use manifest::{KEPT, MANAGED_BY, NAME, SPEC_HASH, Setup, daemon_set};
use pods::HelperPods;

/// Number of nodes contacted in parallel.
pub const AT_A_TIME: usize = 64;
/// Number of tries to remove it while its status changes.
const CHANGES: usize = 20;
/// The annotation with the run that uses it: once it is set, a run that lost the lock cannot remove it any more.
const USED_BY: &str = "kpx-prep/used-by";
/// How long to wait for a `DaemonSet` that is being deleted before a new one can be created.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// On which nodes the helper must run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// On every node: required for a change.
    EveryNode,
    /// On at least one: sufficient for a report.
    AnyNode,
}

/// The helper on the nodes.
pub struct Helper {
    client: kube::Client,
    heartbeat: Duration,
    namespace: String,
    uid: String,
    setup: Setup,
    lock: Lock,
    pods: Mutex<HelperPods>,
    /// Whether an earlier run marked it to be kept.
    kept: bool,
    turns: Semaphore,
    /// kube-proxy's minor version for `--kubernetes-version`, for which nodes are prepared.
    kube_proxy: OnceLock<String>,
}

fn sets(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &objects::daemon_sets())
}

fn is_ours(set: &DynamicObject) -> bool {
    set.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

impl Helper {
    /// Creates it or takes over an existing one, without waiting for its pods: see [`Helper::wait`].
    ///
    /// # Errors
    /// If the `DaemonSet` cannot be created; nothing was changed then.
    pub async fn start(connection: &Connection, namespace: &str, setup: &Setup, lock: &Lock) -> anyhow::Result<Self> {
        let (uid, kept) = ensure(connection, namespace, setup, lock).await?;
        Ok(Self {
            client: connection.client.clone(),
            heartbeat: connection.heartbeat,
            namespace: namespace.to_owned(),
            uid,
            setup: setup.clone(),
            lock: lock.clone(),
            pods: Mutex::default(),
            kept,
            turns: Semaphore::new(AT_A_TIME),
            kube_proxy: OnceLock::new(),
        })
    }

    /// Sets kube-proxy's minor version for inspecting and preparing nodes; 0 if unknown.
    pub fn serve(&self, minor: u32) {
        if minor >= OLDEST_MINOR {
            self.kube_proxy.get_or_init(|| format!("1.{minor}"));
        }
    }

    /// The options of `node survey`, `install` and `helper --prepare` that select the required modules.
    fn needs<'a>(&'a self, scheduler: &'a str) -> Vec<&'a str> {
        let version = self.kube_proxy.get().map(|version| ["--kubernetes-version", version.as_str()]);
        ["--scheduler", scheduler].into_iter().chain(version.into_iter().flatten()).collect()
    }

    /// Waits until it runs on these nodes, or cannot start.
    ///
    /// # Errors
    /// If required nodes do not have the image, or the API server fails; only the helper was changed then.
    pub async fn wait(&self, nodes: &[String], must: Coverage) -> anyhow::Result<()> {
        let what = format!("the node helper's pods on {} node(s)", nodes.len());
        let waited = pods::wait(&self.client, &self.namespace, &self.uid, nodes);
        let mut found = patiently(&what, Some(pods::PATIENCE), waited).await.map_err(|error| {
            anyhow::anyhow!(
                "waiting for DaemonSet {}/{NAME}: {}; nothing else was changed",
                self.namespace,
                plain(&error)
            )
        })?;
        let without = pods::without_image(&found.missing);
        let refused = match must {
            Coverage::EveryNode => !without.is_empty(),
            Coverage::AnyNode => !without.is_empty() && without.len() == nodes.len(),
        };
        if refused {
            return Err(pods::refusal(&without, &self.setup.image));
        }
        found.missing.values_mut().for_each(|why| *why = pods::reason(why, &self.setup.image));
        self.pods().add(found);
        Ok(())
    }

    fn pods(&self) -> std::sync::MutexGuard<'_, HelperPods> {
        self.pods.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Keeps it after this and later runs. With a scheduler, it prepares nodes that join later for ipvs. Existing pods
    /// are not changed.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn keep(&self, scheduler: Option<&str>) -> anyhow::Result<()> {
        let patch =
            Patch::Strategic(manifest::kept(&self.uid, scheduler.map(|scheduler| self.needs(scheduler)).as_deref()));
        let api = sets(&self.client, &self.namespace);
        let params = PatchParams::default();
        let patched = Guard::Lock(&self.lock).write(async || api.patch(NAME, &params, &patch).await).await;
        patched.map(|_| ()).map_err(|error| {
            anyhow::anyhow!(
                "marking DaemonSet {}/{NAME} to be kept: {error}; it will be removed together with the lock, and nodes that join later are not prepared",
                self.namespace
            )
        })
    }

    /// Removes it, unless it is to be kept, or another run has taken over the lock and the helper. A failure is only printed,
    /// because the run itself is complete.
    pub async fn end(&self) {
        if self.kept || self.lock.ask().await.is_err() {
            return;
        }
        if let Err(error) = remove(&self.client, &self.namespace, Some(&self.uid), &self.lock).await {
            say(&format!("warning: {error:#}"));
        }
    }
}

/// The namespaces with a helper.
///
/// # Errors
/// Errors of the API server.
pub async fn namespaces(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let api = Api::all_with(client.clone(), &objects::daemon_sets());
    let params = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let found = super::api::calls::list(&api, &params, |set: objects::DaemonSet| {
        (set.name_any() == NAME).then(|| set.namespace().unwrap_or_default())
    });
    let found = found.await.map_err(|error| anyhow::anyhow!("listing the DaemonSets: {}", plain(&error)))?;
    Ok(found.into_iter().flatten().collect())
}

/// Removes the helper, or only the one with this UID; returns whether there was one.
///
/// # Errors
/// If it was not created by kpx-prep, the lock was lost, or the API server refuses.
pub async fn remove(client: &kube::Client, namespace: &str, uid: Option<&str>, lock: &Lock) -> anyhow::Result<bool> {
    let api = sets(client, namespace);
    let place = format!("DaemonSet {namespace}/{NAME}");
    for _ in 0..CHANGES {
        let there = get(&api, NAME).await.map_err(|error| anyhow::anyhow!("reading {place}: {}", plain(&error)))?;
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
        match Guard::Lock(lock).write(async || api.delete(NAME, &params).await).await {
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

/// Validates the `DaemonSet` with a server-side dry run.
///
/// # Errors
/// Errors of the API server.
pub async fn rehearse(connection: &Connection, namespace: &str, setup: &Setup) -> anyhow::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let set = daemon_set(namespace, setup, minor(connection), None);
    match sets(&connection.client, namespace).create(&params, &set).await {
        Err(error) if code(&error) != Some(409) => {
            anyhow::bail!("dry run: creating DaemonSet {namespace}/{NAME}: {}", plain(&error))
        }
        _ => Ok(()),
    }
}

fn minor(connection: &Connection) -> u32 {
    minor_of(&connection.version).unwrap_or(0)
}

/// Creates or takes over the `DaemonSet`; returns its uid and whether it is marked to be kept.
async fn ensure(
    connection: &Connection,
    namespace: &str,
    setup: &Setup,
    lock: &Lock,
) -> anyhow::Result<(String, bool)> {
    let client = &connection.client;
    let api = sets(client, namespace);
    let wanted = daemon_set(namespace, setup, minor(connection), Some(&lock.owner()));
    let place = format!("DaemonSet {namespace}/{NAME}");
    let (post, deadline) = (PostParams::default(), tokio::time::Instant::now() + GONE_WITHIN);
    loop {
        let there = get(&api, NAME)
            .await
            .map_err(|error| anyhow::anyhow!("reading {place}: {}; nothing was changed", plain(&error)))?;
        let Some(there) = there else {
            say(&format!("starting the node helper, {place}, from image {}", setup.image.reference));
            match Guard::Lock(lock).write(async || api.create(&post, &wanted).await).await {
                Ok(made) => return Ok((made.uid().unwrap_or_default(), false)),
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
                let taken = Guard::Lock(lock).write(async || api.patch(NAME, &params, &patch).await).await;
                taken.map_err(|error| anyhow::anyhow!("taking over {place}: {error}; nothing was changed"))?;
                pods::try_again(client, namespace, &uid, lock).await;
                return Ok((uid, there.annotations().contains_key(KEPT)));
            }
            if stays {
                say(&format!("{place} was created by another version; replacing it"));
            }
            remove(client, namespace, Some(&there.uid().unwrap_or_default()), lock).await?;
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{place} is still being deleted; nothing was changed. Run again later"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
