//! The node helper: a `DaemonSet` of our own that runs kpx-prep itself on every node, so that a run at the cluster can
//! look at hosts, prepare them and clean them.
//!
//! [`manifest`] says what it looks like, [`pods`] waits for its pods, [`exec`] runs a command in one, [`work`] says which.

pub mod exec;
pub mod manifest;
pub mod pods;
pub mod work;

use std::sync::Mutex;
use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use tokio::sync::Semaphore;

use super::api::{code, get, plain, retried};
use super::client::Connection;
use super::objects;
use super::progress::say;
use manifest::{Image, KEPT, MANAGED_BY, NAME, SPEC_HASH, daemon_set};
use pods::There;

/// How many nodes are spoken to at a time.
pub const AT_A_TIME: usize = 64;
/// How long a `DaemonSet` that is being deleted may take until a new one can have its name.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Where the helper has to run for the rest to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// On every node: for a change.
    RunOnAll,
    /// On one at least: to tell what can be told.
    RunOnOne,
}

/// The helper, running on nodes.
pub struct Helper {
    client: kube::Client,
    heartbeat: Duration,
    namespace: String,
    uid: String,
    image: Image,
    there: Mutex<There>,
    /// Whether an earlier run left it to stay.
    kept: bool,
    turns: Semaphore,
}

fn sets(client: &kube::Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &objects::daemon_sets())
}

fn is_ours(set: &DynamicObject) -> bool {
    set.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

impl Helper {
    /// Makes it, or takes over one that is there. It runs nowhere yet as far as this side knows: [`Helper::wait`].
    ///
    /// # Errors
    /// If the `DaemonSet` cannot be made; nothing was changed then.
    pub async fn start(connection: &Connection, namespace: &str, image: &Image) -> anyhow::Result<Self> {
        let (uid, kept) = ensure(&connection.client, namespace, image).await?;
        Ok(Self {
            client: connection.client.clone(),
            heartbeat: connection.heartbeat,
            namespace: namespace.to_owned(),
            uid,
            image: image.clone(),
            there: Mutex::default(),
            kept,
            turns: Semaphore::new(AT_A_TIME),
        })
    }

    /// Waits until it runs on these nodes, or cannot.
    ///
    /// # Errors
    /// If nodes that must have it do not have the image, or the API server fails; nothing but the helper was changed then.
    pub async fn wait(&self, nodes: &[String], must: Must) -> anyhow::Result<()> {
        let mut found = pods::wait(&self.client, &self.namespace, &self.uid, nodes).await.map_err(|error| {
            anyhow::anyhow!(
                "waiting for DaemonSet {}/{NAME}: {}; nothing else was changed",
                self.namespace,
                plain(&error)
            )
        })?;
        let without = pods::without_image(&found.missing);
        let refused = match must {
            Must::RunOnAll => !without.is_empty(),
            Must::RunOnOne => !without.is_empty() && without.len() == nodes.len(),
        };
        if refused {
            return Err(pods::refusal(&without, &self.image));
        }
        found.missing.values_mut().for_each(|why| *why = pods::reason(why, &self.image));
        self.there().add(found);
        Ok(())
    }

    fn there(&self) -> std::sync::MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Lets it stay after this run and those that come; nodes that join it prepares for ipvs with this scheduler, if one is
    /// given. Pods that are there stay as they are.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn keep(&self, scheduler: Option<&str>) -> anyhow::Result<()> {
        let patch = Patch::Strategic(manifest::kept(scheduler));
        let api = sets(&self.client, &self.namespace);
        let params = PatchParams::default();
        let patched = retried(|| api.patch(NAME, &params, &patch)).await;
        patched.map(|_| ()).map_err(|error| {
            anyhow::anyhow!(
                "marking DaemonSet {}/{NAME} to be kept: {}; the next run takes it away, and nodes that join are not prepared",
                self.namespace,
                plain(&error)
            )
        })
    }

    /// Takes it away, unless it is to be kept or another run is at work with it. A failure is said, not
    /// returned: what the run was about is done by then.
    pub async fn end(&self) {
        if self.kept {
            return;
        }
        match super::lock::at_work(&self.client, &self.namespace).await {
            Ok(None) => {}
            Ok(Some(other)) => {
                tracing::info!("DaemonSet {}/{NAME} stays for {other}", self.namespace);
                return;
            }
            Err(error) => tracing::debug!("reading the lock: {error}"),
        }
        self.remove().await;
    }

    /// Takes it away whoever made it.
    pub async fn remove(&self) {
        if let Err(error) = remove(&self.client, &self.namespace).await {
            say(&format!("warning: {error:#}"));
        }
    }
}

/// The namespaces that have a helper.
///
/// # Errors
/// What the API server says.
pub async fn namespaces(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let api = Api::all_with(client.clone(), &objects::daemon_sets());
    let params = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let found = super::api::list(&api, &params, |set: objects::DaemonSet| {
        (set.name_any() == NAME).then(|| set.namespace().unwrap_or_default())
    });
    let found = found.await.map_err(|error| anyhow::anyhow!("listing the DaemonSets: {}", plain(&error)))?;
    Ok(found.into_iter().flatten().collect())
}

/// Takes the helper away; whether there was one.
///
/// # Errors
/// If it is not ours, or the API server refuses.
pub async fn remove(client: &kube::Client, namespace: &str) -> anyhow::Result<bool> {
    let api = sets(client, namespace);
    let place = format!("DaemonSet {namespace}/{NAME}");
    let there = get(&api, NAME).await.map_err(|error| anyhow::anyhow!("reading {place}: {}", plain(&error)))?;
    let Some(set) = there else { return Ok(false) };
    anyhow::ensure!(is_ours(&set), "{place} was not made by kpx-prep; it was left alone");
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    match retried(|| api.delete(NAME, &params)).await {
        Ok(_) => Ok(true),
        Err(error) if code(&error) == Some(404) => Ok(true),
        Err(error) => anyhow::bail!(
            "deleting {place}: {}; it runs still: kpx-prep remediate --remove-helper tries again",
            plain(&error)
        ),
    }
}

/// Would the API server take it?
///
/// # Errors
/// What the API server says.
pub async fn rehearse(client: &kube::Client, namespace: &str, image: &Image) -> anyhow::Result<()> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match sets(client, namespace).create(&params, &daemon_set(namespace, image)).await {
        Err(error) if code(&error) != Some(409) => {
            anyhow::bail!("dry run: creating DaemonSet {namespace}/{NAME}: {}", plain(&error))
        }
        _ => Ok(()),
    }
}

/// The `DaemonSet`'s uid, and whether it is one that is to stay.
async fn ensure(client: &kube::Client, namespace: &str, image: &Image) -> anyhow::Result<(String, bool)> {
    let api = sets(client, namespace);
    let wanted = daemon_set(namespace, image);
    let place = format!("DaemonSet {namespace}/{NAME}");
    let (post, deadline) = (PostParams::default(), tokio::time::Instant::now() + GONE_WITHIN);
    loop {
        let there = get(&api, NAME)
            .await
            .map_err(|error| anyhow::anyhow!("reading {place}: {}; nothing was changed", plain(&error)))?;
        let Some(there) = there else {
            say(&format!("starting the node helper, {place}, from image {}", image.reference));
            match retried(|| api.create(&post, &wanted)).await {
                Ok(made) => return Ok((made.uid().unwrap_or_default(), false)),
                // Another run was quicker, or a broken connection hid that we were.
                Err(error) if code(&error) == Some(409) => continue,
                Err(error) => anyhow::bail!("creating {place}: {}; nothing was changed", plain(&error)),
            }
        };
        anyhow::ensure!(is_ours(&there), "{place} was not made by kpx-prep; rename or remove it; nothing was changed");
        let same = there.annotations().get(SPEC_HASH) == wanted.annotations().get(SPEC_HASH);
        if there.metadata.deletion_timestamp.is_none() {
            if same {
                let uid = there.uid().unwrap_or_default();
                pods::try_again(client, namespace, &uid).await;
                return Ok((uid, there.annotations().contains_key(KEPT)));
            }
            say(&format!("{place} is another version's: replacing it"));
            remove(client, namespace).await?;
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < deadline,
            "{place} is being deleted and does not go; nothing was changed"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
