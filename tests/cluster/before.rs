//! What a cluster was like before a run, and what became of it.

use std::collections::BTreeMap;

use super::cluster_state::Cluster;

/// A cluster before a run.
#[derive(Debug)]
pub(crate) struct Before {
    pub(crate) data: BTreeMap<String, String>,
    pub(crate) pods: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    resource_version: Option<String>,
}

/// kubeadm's `config.conf` with the mode set.
pub(crate) fn with_mode(config: &str, mode: &str) -> String {
    assert!(config.contains("mode: \"\""), "{config}");
    config.replace("mode: \"\"", &format!("mode: \"{mode}\""))
}

impl Cluster {
    /// Looks at it.
    pub(crate) async fn before(&self) -> Before {
        let map = self.map().await;
        Before {
            data: map.data.unwrap_or_default(),
            pods: self.pods().await,
            annotations: map.metadata.annotations.unwrap_or_default(),
            resource_version: map.metadata.resource_version,
        }
    }
}

impl Before {
    /// What `config.conf` held.
    pub(crate) fn config(&self) -> &str {
        &self.data["config.conf"]
    }

    /// Only the mode was changed, of everything that the ConfigMap held.
    pub(crate) async fn only_mode_changed(&self, cluster: &Cluster, mode: &str) {
        let mut expected = self.data.clone();
        expected.insert("config.conf".to_owned(), with_mode(self.config(), mode));
        let map = cluster.map().await;
        assert_eq!(map.data, Some(expected));
        assert_eq!(map.metadata.annotations.unwrap_or_default(), self.annotations);
    }

    /// Every node runs ipvs, in a new pod; the original is kept, and the lock is free.
    pub(crate) async fn switched(&self, cluster: &Cluster) {
        self.only_mode_changed(cluster, "ipvs").await;
        assert!(cluster.nodes.modes().values().all(|mode| mode == "ipvs"), "{}", cluster.modes());
        assert_eq!(cluster.replaced(&self.pods).await, self.pods.keys().cloned().collect::<Vec<_>>());
        self.backed_up(cluster).await;
        assert_eq!(cluster.lock_holder().await, None);
    }

    /// There is one backup, and it is what was there.
    pub(crate) async fn backed_up(&self, cluster: &Cluster) {
        let backups = cluster.backups().await;
        assert_eq!(backups.values().collect::<Vec<_>>(), [&self.data], "{:?}", backups.keys());
    }

    /// The configuration is as it was, byte for byte, and runs everywhere.
    pub(crate) async fn rolled_back(&self, cluster: &Cluster) {
        let map = cluster.map().await;
        assert_eq!(map.data.as_ref(), Some(&self.data));
        assert_eq!(map.metadata.annotations.unwrap_or_default(), self.annotations);
        assert_eq!(cluster.nodes.modes().keys().collect::<Vec<_>>(), self.pods.keys().collect::<Vec<_>>());
        assert!(cluster.nodes.modes().values().all(|mode| mode == "iptables"), "{}", cluster.modes());
        assert_eq!(cluster.lock_holder().await, None);
    }

    /// Nobody wrote the ConfigMap and no pod was replaced.
    pub(crate) async fn untouched(&self, cluster: &Cluster) {
        let map = cluster.map().await;
        assert_eq!(map.data.as_ref(), Some(&self.data));
        assert_eq!(map.metadata.resource_version, self.resource_version, "the ConfigMap was written");
        assert_eq!(cluster.replaced(&self.pods).await, Vec::<String>::new());
        assert_eq!(cluster.lock_holder().await, None);
    }
}
