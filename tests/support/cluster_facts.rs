//! A cluster as facts, for tests of what is decided from them.

use std::collections::BTreeMap;
use std::time::Duration;

use kpx_prep::cluster::api::pod_objects::PodSpec;
use kpx_prep::cluster::kube_proxy::config_map::{ConfigFacts, HashAnnotation};
use kpx_prep::cluster::kube_proxy::daemon_set::{ConfigSource, KubeProxy};
use kpx_prep::cluster::kube_proxy::pod::PodFacts;
use kpx_prep::cluster::kube_proxy::proof::{How, Proof};
use kpx_prep::cluster::observe::facts::{ClusterFacts, NodeFacts};
use kpx_prep::cluster::observe::flavour::Flavour;
use kpx_prep::cluster::plan::request::{Goal, Request};
use kpx_prep::kubeadm::given::Given;
use kpx_prep::kubeadm::proxy::RawSettings;
use kpx_prep::mode::ProxyMode;
use kpx_prep::proxy_config;
use kpx_prep::sync_health::{SyncHealth, SyncState};

/// When the configuration was last changed; pods with a smaller number are older.
pub(crate) const CHANGED: i64 = 1000;

/// A configuration with this mode.
pub(crate) fn text(mode: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: \"{mode}\"  # kept\nipvs:\n  strictARP: false\n"
    )
}

/// A node whose kube-proxy runs this mode.
pub(crate) fn node(name: &str, mode: Option<ProxyMode>) -> NodeFacts {
    NodeFacts {
        name: name.to_owned(),
        ready: true,
        control_plane: name.starts_with("control"),
        windows: false,
        architecture: "amd64".to_owned(),
        more_addresses: Vec::new(),
        wanted: true,
        pod: Some(PodFacts {
            name: format!("kube-proxy-{name}"),
            uid: format!("uid-{name}"),
            set: "uid".to_owned(),
            node: name.to_owned(),
            image: "kube-proxy:v1.30.1".to_owned(),
            created: CHANGED - 10,
            phase: "Running".to_owned(),
            ready: true,
            revision: "rev-1".to_owned(),
            ..PodFacts::default()
        }),
        proof: Proof { mode, how: mode.map(|_| How::ProxyMode), sync: mode.map(|_| SYNCED), ..Proof::default() },
        host: None,
    }
}

/// A cluster as kubeadm leaves it, with three workers and a control-plane node.
pub(crate) fn cluster(mode: &str, effective: ProxyMode) -> ClusterFacts {
    let config = text(mode);
    ClusterFacts {
        context: Some("admin@test".to_owned()),
        server: "https://example".to_owned(),
        version: "v1.30.1".to_owned(),
        flavour: Flavour::Kubeadm,
        kube_proxy: Some(KubeProxy {
            namespace: "kube-system".to_owned(),
            name: "kube-proxy".to_owned(),
            uid: "uid".to_owned(),
            generation: 1,
            observed_generation: 1,
            container: "kube-proxy".to_owned(),
            image: "kube-proxy:v1.30.1".to_owned(),
            selector: "k8s-app=kube-proxy".to_owned(),
            template: PodSpec::default(),
            on_delete: false,
            max_unavailable: None,
            config: ConfigSource::ConfigMap { name: "kube-proxy".to_owned(), key: "config.conf".to_owned() },
            mode_flag: None,
            metrics_port_flag: None,
            ignored_flags: Vec::new(),
            parked: None,
            siblings: Vec::new(),
        }),
        windows_sets: Vec::new(),
        elsewhere: Vec::new(),
        config: Some(ConfigFacts {
            name: "kube-proxy".to_owned(),
            key: "config.conf".to_owned(),
            data: BTreeMap::from([("config.conf".to_owned(), config.clone())]),
            binary_data: BTreeMap::new(),
            resource_version: "1".to_owned(),
            immutable: false,
            changed: Some(CHANGED),
            hash: HashAnnotation::Absent,
            owner: None,
            parsed: proxy_config::read(&config),
            text: config,
        }),
        nodes: ["control-1", "worker-1", "worker-2", "worker-3"].map(|name| node(name, Some(effective))).into(),
        backups: Vec::new(),
        other_run: None,
        helper_programs: Vec::new(),
        daemon_sets: Vec::new(),
    }
}

/// A kube-proxy that writes its rules.
pub(crate) const SYNCED: SyncHealth = SyncHealth {
    state: SyncState::Synced,
    age_seconds: Some(12),
    pending_seconds: None,
    failures: 0,
    full_sync_seconds: None,
    healthy: Some(true),
};

/// The wish for a mode, and nothing else.
pub(crate) fn request(mode: &str) -> Request {
    let mode = Some(Given { place: "--mode".to_owned(), text: mode.to_owned() });
    Request {
        goal: Goal::Settings(Box::new(RawSettings { mode, ..RawSettings::default() })),
        canary: None,
        max_unavailable: None,
        timeout: Some(Duration::from_secs(60)),
        settle: Duration::ZERO,
        ignored_checks: Vec::new(),
        nodes_are_prepared: true,
        exclude_nodes: Vec::new(),
        look_at_nodes: false,
        clean: true,
        drain: Duration::from_secs(1),
        pause_after_canary: false,
        batch_pause: Duration::ZERO,
        max_failures: 0,
        direct: false,
        no_rollback: false,
        on_the_way: None,
    }
}
