//! Watches kube-proxy's pods; the watch survives broken connections and expired resourceVersions.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::objects::{self, Pod};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::pod_facts;

type Pods = BTreeMap<String, PodFacts>;

/// The current pods. The watches end when it is dropped.
pub struct PodWatch {
    pods: watch::Receiver<Pods>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl PodWatch {
    /// Starts to watch.
    pub fn start(connection: &Connection, kube_proxy: &KubeProxy) -> Self {
        let (sender, pods) = watch::channel(Pods::new());
        let sender = Arc::new(sender);
        let watch_set = |set: &KubeProxy| {
            let api = Api::namespaced_with(connection.client.clone(), &set.namespace, &objects::pods());
            let config = watcher::Config::default().labels(&set.selector).timeout(connection.watch_seconds);
            let (set, sender) = (set.clone(), Arc::clone(&sender));
            tokio::spawn(async move {
                let mut stream = std::pin::pin!(watcher::<Pod>(api, config).default_backoff());
                let mut listed = Pods::new();
                loop {
                    match stream.try_next().await {
                        Ok(Some(event)) => apply(event, &set, &sender, &mut listed),
                        Ok(None) => return,
                        // The stream itself waits and restarts; after an expired version it lists again.
                        Err(error) => tracing::debug!("watching the pods: {error}"),
                    }
                }
            })
        };
        Self { pods, tasks: kube_proxy.sets().map(watch_set).collect() }
    }

    /// kube-proxy's pod on a node, other than the one with this uid, and not being deleted.
    pub fn successor(&self, node: &str, old: Option<&str>) -> Option<PodFacts> {
        let pods = self.pods.borrow();
        let new = |pod: &&PodFacts| pod.node == node && !pod.deleting && old != Some(&pod.uid);
        pods.values().filter(new).max_by_key(|pod| pod.created).cloned()
    }

    /// Waits until something changes.
    pub async fn changed(&self) {
        let mut pods = self.pods.clone();
        pods.mark_unchanged();
        // After the end of the watch there are no changes; the caller has its own timeout.
        if pods.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn apply(event: Event<Pod>, set: &KubeProxy, sender: &watch::Sender<Pods>, listed: &mut Pods) {
    let key = |pod: &Pod| pod.uid().unwrap_or_default();
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => {
            if let Some(facts) = pod_facts(&pod, set) {
                listed.insert(key(&pod), facts);
            }
        }
        Event::InitDone => {
            let listed = std::mem::take(listed);
            sender.send_modify(|pods| {
                pods.retain(|_, pod| pod.set != set.uid);
                pods.extend(listed);
            });
        }
        Event::Apply(pod) => {
            if let Some(facts) = pod_facts(&pod, set) {
                sender.send_modify(|pods| {
                    pods.insert(key(&pod), facts);
                });
            }
        }
        Event::Delete(pod) => sender.send_modify(|pods| {
            pods.remove(&key(&pod));
        }),
    }
}
