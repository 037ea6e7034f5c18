//! What a scenario looks at, from outside of the program under test.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::stand_in::StandIn;
use super::world::World;

/// A scenario's cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) nodes: Arc<StandIn>,
    /// Of an administrator, straight to the API server.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) namespace: String,
    pub(crate) daemon_set: String,
    pub(crate) config_map: String,
}

impl Cluster {
    pub(crate) fn new(world: &World, namespace: &str, daemon_set: &str, config_map: &str) -> Self {
        Self {
            client: world.client.clone(),
            nodes: Arc::clone(&world.nodes),
            kubeconfig: world.kubeconfig.clone(),
            folder: world.folder.clone(),
            namespace: namespace.to_owned(),
            daemon_set: daemon_set.to_owned(),
            config_map: config_map.to_owned(),
        }
    }

    /// The ConfigMap as it is.
    pub(crate) async fn map(&self) -> ConfigMap {
        self.maps().get(&self.config_map).await.expect("the ConfigMap")
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All that the ConfigMap holds.
    pub(crate) async fn data(&self) -> BTreeMap<String, String> {
        self.map().await.data.unwrap_or_default()
    }

    /// What `config.conf` holds.
    pub(crate) async fn config(&self) -> String {
        self.data().await.remove("config.conf").expect("config.conf")
    }

    /// Someone else changes the ConfigMap.
    pub(crate) async fn edit_map(&self, patch: Value) {
        // By another hand than the one that made it: only then does an API server of 1.20 renew the time of the change.
        let merge = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.maps().patch(&self.config_map, &merge, &Patch::Merge(patch)).await.expect("an edit");
    }

    /// Someone else changes the DaemonSet.
    pub(crate) async fn edit_daemon_set(&self, patch: Value) {
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), &self.namespace);
        sets.patch(&self.daemon_set, &PatchParams::default(), &Patch::Strategic(patch)).await.expect("an edit");
    }

    /// kube-proxy's pods by node, with what tells one from its successor.
    pub(crate) async fn pods(&self) -> BTreeMap<String, String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pods = pods.list(&ListParams::default().labels("k8s-app=kube-proxy")).await.expect("a list");
        let by_node = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        by_node.filter_map(|pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod.uid()?))).collect()
    }

    /// The nodes whose pod is another than before.
    pub(crate) async fn replaced(&self, before: &BTreeMap<String, String>) -> Vec<String> {
        let after = self.pods().await;
        let other = before.iter().filter(|(node, uid)| after.get(*node) != Some(uid));
        other.map(|(node, _)| node.clone()).collect()
    }

    /// The backups' data, by name.
    pub(crate) async fn backups(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let of_kpx_prep = ListParams::default().labels("app.kubernetes.io/managed-by=kpx-prep");
        let maps = self.maps().list(&of_kpx_prep).await.expect("a list").items.into_iter();
        let backups = maps.filter(|map| map.name_any().starts_with("kpx-prep-backup-"));
        backups.map(|map| (map.name_any(), map.data.unwrap_or_default())).collect()
    }

    /// The reasons of kpx-prep's events, oldest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let mut events = events.list(&ListParams::default()).await.expect("a list").items;
        events.retain(|event| event.reporting_controller.as_deref() == Some("kpx-prep"));
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        events.into_iter().filter_map(|event| event.reason).collect()
    }

    /// Who holds the lock.
    pub(crate) async fn lock_holder(&self) -> Option<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let lease = leases.get_opt("kpx-prep").await.expect("a lease or none")?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// Someone else takes the lock.
    pub(crate) async fn write_lock(&self, holder: &str, renewed: &str) {
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": 3, "acquireTime": renewed, "renewTime": renewed});
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kpx-prep"}, "spec": spec,
        });
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let by_force = PatchParams::apply("someone-else").force();
        leases.patch("kpx-prep", &by_force, &Patch::Apply(lease)).await.expect("a lease");
    }

    /// Someone else deletes kube-proxy's pods, all at once.
    pub(crate) async fn delete_pods(&self) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels("k8s-app=kube-proxy");
        pods.delete_collection(&DeleteParams::default(), &labels).await.expect("deleted");
        self.wait_for("all ended", BTreeMap::is_empty).await;
    }

    /// kube-proxy for Windows nodes, as sig-windows-tools installs it: a DaemonSet of its own.
    pub(crate) async fn add_windows_kube_proxy(&self) {
        let labels = json!({"k8s-app": "kube-proxy-windows"});
        let container = json!({
            "name": "kube-proxy", "image": "sigwindowstools/kube-proxy:v1.20.2-nanoserver", "args": ["-file", "start.ps1"],
        });
        let template = json!({
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {"kubernetes.io/os": "windows"}, "containers": [container],
                "tolerations": [{"operator": "Exists"}],
            },
        });
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "kube-proxy-windows", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }))
        .expect("a DaemonSet");
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), &self.namespace);
        sets.create(&PostParams::default(), &set).await.expect("a DaemonSet");
    }

    /// A kube-proxy of somebody else on a node, such as a static pod.
    pub(crate) async fn add_other_kube_proxy(&self, node: &str) {
        let container = json!({"name": "kube-proxy", "image": "example.org/kube-proxy:v1.20.2"});
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("kube-proxy-of-{node}")},
            "spec": {"hostNetwork": true, "nodeName": node, "containers": [container]},
        }))
        .expect("a pod");
        let pods = Api::<Pod>::namespaced(self.client.clone(), "net-system");
        pods.create(&PostParams::default(), &pod).await.expect("a pod");
    }

    /// A Service with an address from outside.
    pub(crate) async fn add_load_balancer(&self, address: &str) {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "balanced", "labels": {"kpx-prep-test": "1"}},
            "spec": {"type": "LoadBalancer", "selector": {"app": "balanced"}, "ports": [{"port": 80}]},
        }))
        .expect("a Service");
        let services = Api::<Service>::namespaced(self.client.clone(), &self.namespace);
        services.create(&PostParams::default(), &service).await.expect("a Service");
        let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
        let merge = PatchParams::default();
        services.patch_status("balanced", &merge, &Patch::Merge(status)).await.expect("a status");
    }

    /// The modes that really run, a node and its mode a line.
    pub(crate) fn modes(&self) -> String {
        self.nodes.modes().iter().map(|(node, mode)| format!("{node} {mode}\n")).collect()
    }

    /// Waits until so many of kube-proxy's pods are ready, and none is on its way out.
    pub(crate) async fn all_ready(&self, count: usize) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels("k8s-app=kube-proxy");
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let all = pods.list(&labels).await.expect("a list").items;
            let ready = |pod: &&Pod| {
                let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
                pod.metadata.deletion_timestamp.is_none()
                    && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            };
            if all.len() == count && all.iter().filter(ready).count() == count {
                return;
            }
            assert!(Instant::now() < deadline, "of {count} pods {} are ready", all.iter().filter(ready).count());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until all of these nodes run that mode.
    pub(crate) async fn wait_for(&self, what: &str, mut done: impl FnMut(&BTreeMap<String, String>) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done(&self.nodes.modes()) {
            assert!(Instant::now() < deadline, "still not {what}:\n{}", self.modes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
