//! The node helper: temporary `DaemonSet`s that run the node commands on every node, so that a cluster command can inspect,
//! prepare and clean hosts.
//!
//! [`groups`] decides what runs where, [`manifest`] builds it, [`lifecycle`] creates and removes it (`config_maps` what it runs from), [`pods`] waits for its
//! pods, [`exec`] runs a command in one, [`work`] defines the commands. [`programs`] are what it runs.

mod config_maps;
pub mod exec;
pub mod groups;
pub mod lifecycle;
pub mod manifest;
pub mod pods;
pub mod programs;
pub mod removal;
pub mod work;

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::api::connection::client::Connection;
use super::api::errors::plain;
use super::api::lock::Lock;
use super::api::lock::guard::Guard;
use super::api::objects;
use super::api::patience::patiently;
use super::api::streams::Streams;
use crate::kubernetes_version::OLDEST_MINOR;
use crate::mode::ProxyMode;
use crate::report::foreign::foreign;
use crate::report::say::say;
use groups::{Groups, NAME, NAMES, ProxyOnNode, divide};
use lifecycle::{Objects, remove_set, sets};
use manifest::{MANAGED_BY, Setup, Source};

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
    setup: Setup,
    /// Nodes that it does not run on, and why.
    groups: Groups,
    objects: Objects,
    lock: Lock,
    watch: pods::Watch,
    /// Why it does not run on nodes that were waited for.
    missing: Mutex<BTreeMap<String, String>>,
    streams: Streams,
    /// How long an API server that refuses them is waited for.
    refusals: Duration,
    /// kube-proxy's minor version for `--kubernetes-version`, for which nodes are prepared.
    kube_proxy: OnceLock<String>,
    /// The mode for which nodes are inspected and prepared.
    mode: Mutex<ProxyMode>,
}

/// What runs where, for these nodes.
pub fn groups_of(setup: &Setup, nodes: &[ProxyOnNode]) -> Groups {
    match &setup.source {
        Source::Image(_) => Groups::default(),
        Source::Programs(programs) => divide(nodes, programs),
    }
}

impl Helper {
    /// Creates it for these nodes or takes over an existing one, without waiting for its pods: see [`Helper::wait`].
    ///
    /// # Errors
    /// If an object cannot be created; only the helper was changed then.
    pub async fn start(
        connection: &Connection,
        namespace: &str,
        setup: &Setup,
        nodes: &[ProxyOnNode],
        lock: &Lock,
    ) -> anyhow::Result<Self> {
        let groups = groups_of(setup, nodes);
        let objects = lifecycle::ensure(connection, namespace, setup, &groups, lock).await?;
        let uids = objects.sets.iter().map(|set| set.uid.clone()).collect();
        Ok(Self {
            watch: pods::watch(connection, namespace, uids),
            client: connection.client.clone(),
            heartbeat: connection.heartbeat,
            namespace: namespace.to_owned(),
            setup: setup.clone(),
            groups,
            objects,
            lock: lock.clone(),
            missing: Mutex::default(),
            streams: connection.streams.clone(),
            refusals: connection.refusals,
            kube_proxy: OnceLock::new(),
            mode: Mutex::new(ProxyMode::Ipvs),
        })
    }

    /// Sets the mode and kube-proxy's minor version for inspecting and preparing nodes; 0 if unknown. A mode that needs no
    /// preparation has nothing to inspect: then it is ipvs, as without.
    pub fn serve(&self, mode: ProxyMode, minor: u32) {
        let prepared = if mode.traits().is_prepared { mode } else { ProxyMode::Ipvs };
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = prepared;
        if minor >= OLDEST_MINOR {
            self.kube_proxy.get_or_init(|| format!("1.{minor}"));
        }
    }

    /// The options of `node survey`, `install` and `helper --prepare` that select the required modules.
    fn needs<'a>(&'a self, scheduler: &'a str) -> Vec<&'a str> {
        let version = self.kube_proxy.get().map(|version| ["--kubernetes-version", version.as_str()]);
        let mode = match self.mode() {
            ProxyMode::Ipvs | ProxyMode::Iptables => ["--scheduler", scheduler],
            ProxyMode::Nftables => ["--mode", ProxyMode::Nftables.name()],
        };
        mode.into_iter().chain(version.into_iter().flatten()).collect()
    }

    fn mode(&self) -> ProxyMode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it runs on these nodes, or cannot start.
    ///
    /// # Errors
    /// If required nodes do not have the image, or the API server fails; only the helper was changed then.
    pub async fn wait(&self, nodes: &[String], must: Coverage) -> anyhow::Result<()> {
        let what = format!("the node helper's pods on {} node(s)", nodes.len());
        let (without, nodes): (Vec<_>, Vec<_>) =
            nodes.iter().cloned().partition(|node| self.groups.without.contains_key(node));
        let uids: Vec<&str> = self.objects.sets.iter().map(|set| set.uid.as_str()).collect();
        let waited = pods::wait(&self.watch, &self.client, &self.namespace, &uids, &nodes);
        let mut found = patiently(&what, None, waited).await.map_err(|why| {
            anyhow::anyhow!("waiting for DaemonSet {}/{NAME}: {why}; nothing else was changed", self.namespace)
        })?;
        if let Source::Image(image) = &self.setup.source {
            let without = pods::without_image(&found.missing);
            let refused = match must {
                Coverage::EveryNode => !without.is_empty(),
                Coverage::AnyNode => !without.is_empty() && without.len() == nodes.len(),
            };
            if refused {
                return Err(pods::refusal(&without, image));
            }
            found.missing.values_mut().for_each(|why| *why = pods::reason(why, image));
        } else if found.ready > 0 {
            config_maps::verify(&self.client, &self.namespace, &self.objects.programs).await?;
        }
        found.missing.extend(without.into_iter().map(|node| {
            let why = self.groups.without[&node].clone();
            (node, why)
        }));
        let mut missing = self.missing();
        for node in &nodes {
            missing.remove(node);
        }
        missing.extend(found.missing);
        Ok(())
    }

    fn missing(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The name of its pod on a node.
    ///
    /// # Errors
    /// Why it does not run there.
    fn pod_on(&self, node: &str) -> Result<String, String> {
        if let Some(pod) = pods::on(&self.watch, node).filter(|pod| pod.state.is_ok()) {
            return Ok(pod.name);
        }
        let why = self.missing().get(node).cloned();
        Err(why.unwrap_or_else(|| "the node helper is not running on this node".to_owned()))
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
        let params = PatchParams::default();
        let lost = |kind: &str, name: &str, error: &dyn std::fmt::Display| {
            anyhow::anyhow!(
                "marking {kind} {}/{name} to be kept: {error}; it will be removed together with the lock, and nodes that join later are not prepared",
                self.namespace
            )
        };
        for (config_map, _) in &self.objects.programs {
            let api = config_maps::api(&self.client, &self.namespace);
            let patch = Patch::Merge(json!({"metadata": {"uid": config_map.uid, "ownerReferences": null}}));
            let patched = Guard::Lock(&self.lock).write(async || api.patch(&config_map.name, &params, &patch).await);
            patched.await.map_err(|error| lost("ConfigMap", &config_map.name, &error))?;
        }
        for set in &self.objects.sets {
            let needs = scheduler.map(|scheduler| self.needs(scheduler));
            let patch = Patch::Strategic(manifest::kept(&self.setup, &set.uid, needs.as_deref()));
            let api = sets(&self.client, &self.namespace);
            let patched = Guard::Lock(&self.lock).write(async || api.patch(&set.name, &params, &patch).await).await;
            patched.map_err(|error| lost("DaemonSet", &set.name, &error))?;
        }
        Ok(())
    }

    /// Removes it, unless it is to be kept, or another run has taken over the lock and the helper. A failure is only printed,
    /// because the run itself is complete.
    pub async fn end(&self) {
        if self.objects.kept || self.lock.ask().await.is_err() {
            return;
        }
        for set in &self.objects.sets {
            if let Err(error) = remove_set(&self.client, &self.namespace, &set.name, Some(&set.uid), &self.lock).await {
                say(&format!("warning: {error:#}"));
            }
        }
        for (config_map, _) in &self.objects.programs {
            if let Err(error) = config_maps::remove(&self.client, &self.namespace, config_map, &self.lock).await {
                say(&format!("warning: {error:#}"));
            }
        }
    }
}

/// The `ConfigMap`s with a program of the helper among these, as namespace/name.
pub fn programs_among(all: &[ConfigMap]) -> Vec<String> {
    let name = |map: &ConfigMap| foreign(&format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any()));
    all.iter().filter(|map| config_maps::is_program(map)).map(name).collect()
}

/// The namespaces with objects of the helper.
///
/// # Errors
/// Errors of the API server.
pub async fn namespaces(client: &kube::Client) -> anyhow::Result<Vec<String>> {
    let api = Api::all_with(client.clone(), &objects::daemon_sets());
    let params = ListParams::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
    let found = super::api::calls::list(&api, &params, |set: objects::DaemonSet| {
        NAMES.contains(&set.name_any().as_str()).then(|| set.namespace().unwrap_or_default())
    });
    let found = found.await.map_err(|error| anyhow::anyhow!("listing the DaemonSets: {}", plain(&error)))?;
    let mut namespaces: Vec<String> = found.into_iter().flatten().collect();
    // The DaemonSet alone may have been removed. Without the permission to list them in all namespaces, those of the
    // DaemonSets have to do.
    let programs = config_maps::left(&Api::all(client.clone())).await.unwrap_or_default();
    namespaces.extend(programs.into_iter().map(|(namespace, _)| namespace));
    namespaces.sort();
    namespaces.dedup();
    Ok(namespaces)
}
