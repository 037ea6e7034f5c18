//! kube-proxy's pods, kept up to date by a watch.

use kube::api::Api;
use kube::runtime::watcher;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::objects::{self, Pod};
use crate::cluster::api::watched::{OnNode, Watched};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::pod_facts;

/// The current pods. The watches end when it is dropped.
pub struct PodWatch(Watched<PodFacts>);

impl PodWatch {
    /// Starts to watch.
    pub fn start(connection: &Connection, kube_proxy: &KubeProxy) -> Self {
        let source = |set: &KubeProxy| {
            let api = Api::namespaced_with(connection.client.clone(), &set.namespace, &objects::pods());
            let config = watcher::Config::default().labels(&set.selector).timeout(connection.watch_seconds);
            let set = set.clone();
            let convert = move |pod: &Pod| {
                let facts = pod_facts(pod, &set)?;
                Some(OnNode { node: facts.node.clone(), value: facts })
            };
            (api, config, convert)
        };
        Self(Watched::start(kube_proxy.sets().map(source).collect()))
    }

    /// kube-proxy's pod on a node, other than the one with this uid, and not being deleted.
    pub fn successor(&self, node: &str, old: Option<&str>) -> Option<PodFacts> {
        successor(&mut self.0.on(node).iter(), old).cloned()
    }

    /// Waits until that pod is not `known` any more.
    pub async fn succeeded(&self, node: &str, old: Option<&str>, known: Option<&PodFacts>) {
        self.0.until(node, |pods| successor(pods, old) != known).await;
    }
}

fn successor<'p>(pods: &mut dyn Iterator<Item = &'p PodFacts>, old: Option<&str>) -> Option<&'p PodFacts> {
    pods.filter(|pod| !pod.deleting && old != Some(&pod.uid)).max_by_key(|pod| pod.created)
}
