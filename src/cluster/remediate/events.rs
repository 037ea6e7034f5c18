//! Kubernetes Events on kube-proxy's `DaemonSet`, so that `kubectl describe` shows what was done. Best effort.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::cluster::api::lock::Lock;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::report::foreign::shortened;

/// Publishes events.
#[derive(Clone)]
pub struct Events {
    client: kube::Client,
    reference: ObjectReference,
    lock: Lock,
}

impl Events {
    /// Publishes on this `DaemonSet` as long as this lock is held.
    pub fn new(client: kube::Client, kube_proxy: &KubeProxy, lock: &Lock) -> Self {
        let reference = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("DaemonSet".to_owned()),
            name: Some(kube_proxy.name.clone()),
            namespace: Some(kube_proxy.namespace.clone()),
            uid: Some(kube_proxy.uid.clone()),
            ..ObjectReference::default()
        };
        Self { client, reference, lock: lock.clone() }
    }

    /// Publishes an event of type Normal.
    pub async fn normal(&self, reason: &str, note: String) {
        self.publish(EventType::Normal, reason, note).await;
    }

    /// Publishes an event of type Warning.
    pub async fn warning(&self, reason: &str, note: String) {
        self.publish(EventType::Warning, reason, note).await;
    }

    async fn publish(&self, type_: EventType, reason: &str, note: String) {
        let mut note = shortened(&note, 1000);
        // The API server accepts 1024 bytes.
        while note.len() > 1000 {
            note.pop();
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "SwitchProxyMode".to_owned(),
            secondary: None,
        };
        // A separate recorder for each: one recorder merges events of a kind into a series and loses their notes.
        let recorder =
            Recorder::new(self.client.clone(), Reporter { controller: "kpx-prep".to_owned(), instance: None });
        if self.lock.ask().await.is_err() {
            return;
        }
        if let Err(error) = recorder.publish(&event, &self.reference).await {
            tracing::warn!("publishing the event {reason}: {error}");
        }
    }
}
