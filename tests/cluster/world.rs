//! What all scenarios share: the control plane, the nodes, and a way back to the beginning.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::control_plane::ControlPlane;
use super::kubelet;
use super::stand_in::{StandIn, locked};

/// Where kubeadm puts kube-proxy, and a namespace of someone who does not.
pub(crate) const NAMESPACES: [&str; 2] = ["kube-system", "net-system"];

/// Marks what a scenario adds to the cluster beside kube-proxy.
pub(crate) const MARK: &str = "kpx-prep-test=1";

/// Everything that runs.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) nodes: Arc<StandIn>,
    pub(crate) kubeconfig: PathBuf,
    /// As kubeadm made them, without what the server added.
    pub(crate) daemon_set: Value,
    pub(crate) config_map: Value,
    /// For scratch files; kept if a scenario fails.
    pub(crate) folder: PathBuf,
    runtime: Runtime,
    pub(crate) plane: ControlPlane,
    keep: Mutex<Option<TempDir>>,
}

/// Those that no scenario uses right now.
static WORLDS: Mutex<Vec<World>> = Mutex::new(Vec::new());

/// A test named `name`.
pub(crate) fn trial<F: AsyncFn(&World) + Send + 'static>(name: &str, scenario: F) -> Trial {
    Trial::test(name, move || {
        let idle = locked(&WORLDS).pop();
        let world = idle.unwrap_or_else(World::start);
        let result = catch_unwind(AssertUnwindSafe(|| world.runtime.block_on(scenario(&world))));
        locked(&WORLDS).push(world);
        result.map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Failed::from(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
        })
    })
}

/// Ends everything; what the control planes logged stays if something failed.
pub(crate) fn stop(failed: bool) {
    for world in locked(&WORLDS).drain(..) {
        if let Some(folder) = locked(&world.keep).take().filter(|_| failed) {
            eprintln!("logs of a control plane: {}", folder.keep().display());
        }
    }
}

/// An object without what only the server knows.
fn plain<K: Resource + serde::Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).expect("JSON");
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"] {
        value["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    value.as_object_mut().expect("an object").remove("status");
    value
}

impl World {
    fn start() -> Self {
        (0..3).find_map(|_| Self::try_to_start()).expect("a control plane whose parts stay")
    }

    fn try_to_start() -> Option<Self> {
        let folder = TempDir::with_prefix_in("cluster-", env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let runtime = Runtime::new().expect("a runtime");
        let mut plane = ControlPlane::start(folder.path().to_owned());
        let (client, nodes, daemon_set, config_map) = runtime.block_on(async {
            let client = plane.client().await?;
            let (certificate, key) = plane.kubelet_certificate();
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("a port").port();
            let nodes = StandIn::start(client.clone(), port);
            tokio::spawn(kubelet::serve(listener, kubelet::acceptor(&certificate, &key), Arc::clone(&nodes)));
            plane.install_kube_proxy();
            let system = NAMESPACES[0];
            let daemon_set = Api::<DaemonSet>::namespaced(client.clone(), system).get("kube-proxy").await;
            let config_map = Api::<ConfigMap>::namespaced(client.clone(), system).get("kube-proxy").await;
            let other = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACES[1]}});
            let other: Namespace = serde_json::from_value(other).expect("a namespace");
            Api::all(client.clone()).create(&PostParams::default(), &other).await.expect("a namespace");
            Some((client, nodes, plain(&daemon_set.expect("kubeadm's")), plain(&config_map.expect("kubeadm's"))))
        })?;
        Some(Self {
            client,
            nodes,
            kubeconfig: plane.kubeconfig(),
            daemon_set,
            config_map,
            folder: folder.path().to_owned(),
            runtime,
            plane,
            keep: Mutex::new(Some(folder)),
        })
    }

    /// As after the start: no nodes, no kube-proxy, nothing of kpx-prep.
    pub(crate) async fn reset(&self) {
        self.nodes.clear();
        let (now, all) = (DeleteParams::default().grace_period(0), ListParams::default());
        let marked = ListParams::default().labels(MARK);
        // Without nodes the DaemonSet controller makes no more pods.
        Api::<Node>::all(self.client.clone()).delete_collection(&now, &all).await.expect("no nodes");
        let _ = Api::<ClusterRole>::all(self.client.clone()).delete_collection(&now, &marked).await;
        let _ = Api::<ClusterRoleBinding>::all(self.client.clone()).delete_collection(&now, &marked).await;
        for namespace in NAMESPACES {
            self.empty::<DaemonSet>(namespace, &all).await;
            self.empty::<Lease>(namespace, &all).await;
            self.empty::<Event>(namespace, &all).await;
            self.empty::<ConfigMap>(namespace, &ListParams::default().labels("app.kubernetes.io/managed-by=kpx-prep"))
                .await;
            let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
            let _ = maps.delete("kube-proxy", &now).await;
            self.empty::<ConfigMap>(namespace, &marked).await;
            let services = Api::<Service>::namespaced(self.client.clone(), namespace);
            for service in services.list(&marked).await.expect("a list") {
                let _ = services.delete(&service.name_any(), &now).await;
            }
        }
        let pods = Api::<Pod>::all(self.client.clone());
        while !pods.list(&all).await.expect("a list").items.is_empty() {
            for namespace in NAMESPACES {
                self.empty::<Pod>(namespace, &all).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn empty<K>(&self, namespace: &str, which: &ListParams)
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        api.delete_collection(&DeleteParams::default().grace_period(0), which).await.expect("deleted");
    }
}
