//! Whether a rollout must stop: interrupted, the lock lost, or another writer changed what the run relies on.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::Api;

use super::roll::Roll;
use super::roll_end::RollEnd;
use super::tools::WrittenConfig;
use crate::cluster::api::calls::get;
use crate::cluster::api::errors::plain;
use crate::cluster::api::objects::{self, DaemonSet};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;

impl Roll<'_> {
    /// Whether to stop before the next node.
    pub(super) async fn stop(&self) -> Option<RollEnd> {
        if self.interrupt.is_asked() {
            return Some(RollEnd::Interrupted);
        }
        if let Err(lost) = self.tools.lock.ask().await {
            return Some(RollEnd::Stopped(lost.to_string()));
        }
        match self.interference().await {
            Ok(None) => None,
            Ok(Some(what)) => Some(RollEnd::Stopped(what)),
            Err(error) => Some(RollEnd::Stopped(plain(&error))),
        }
    }

    /// Changes by another writer during the rollout.
    async fn interference(&self) -> kube::Result<Option<String>> {
        let WrittenConfig { name, key, text, .. } = self.config;
        let namespace = &self.kube_proxy.namespace;
        let maps = Api::<ConfigMap>::namespaced(self.connection.client.clone(), namespace);
        let sets =
            Api::<DaemonSet>::namespaced_with(self.connection.client.clone(), namespace, &objects::daemon_sets());
        let present = try_join_all(self.kube_proxy.sets().map(|set| get(&sets, &set.name)));
        let (map, present) = futures::try_join!(get(&maps, name), present)?;
        let now = map.and_then(|map| map.data).and_then(|mut data| data.remove(key));
        if now.as_deref() != Some(text) {
            return Ok(Some(format!("ConfigMap {namespace}/{name} was changed by another writer during the rollout")));
        }
        let is_same = |known: &KubeProxy, set: &Option<DaemonSet>| {
            set.as_ref().is_some_and(|set| {
                set.uid().as_deref() == Some(&known.uid) && set.metadata.generation == Some(known.generation)
            })
        };
        let changed = self.kube_proxy.sets().zip(&present).find(|(known, set)| !is_same(known, set));
        Ok(changed.map(|(known, _)| {
            format!("DaemonSet {namespace}/{} was changed by another writer during the rollout", known.name)
        }))
    }
}
