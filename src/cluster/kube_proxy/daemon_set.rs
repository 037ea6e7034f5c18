//! Finds kube-proxy's `DaemonSet` and, from its arguments and volumes, the `ConfigMap` and key that it reads.
//! No name is assumed. Pure: works on a given list.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::core::Selector;

use super::command::{Sign, flag, ignored, metrics_port, own_words, sign};
use super::parking::{self, Parked};
use super::scheduling::wants;
use crate::cluster::api::objects::{DaemonSet, Node, Pod};
use crate::cluster::api::pod_objects::{ConfigMapVolume, Container, PodSpec};
use crate::report::foreign::foreign;

/// The source of kube-proxy's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A key of a `ConfigMap` in the `DaemonSet`'s namespace.
    ConfigMap {
        /// The `ConfigMap`.
        name: String,
        /// The key.
        key: String,
    },
    /// No `--config`, only flags.
    Flags,
    /// `--config`, but not from a `ConfigMap`; with the reason.
    Elsewhere(String),
}

/// kube-proxy's `DaemonSet`.
#[derive(Clone, Debug)]
pub struct KubeProxy {
    /// The `DaemonSet`'s namespace.
    pub namespace: String,
    /// The `DaemonSet`'s name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// The generation observed by the controller.
    pub observed_generation: i64,
    /// The container that runs kube-proxy.
    pub container: String,
    /// Its image.
    pub image: String,
    /// The pods' labels, as a selector.
    pub selector: String,
    /// The requirements for a node to get a pod.
    pub template: PodSpec,
    /// Whether the update strategy is `OnDelete`.
    pub on_delete: bool,
    /// `maxUnavailable`: how many pods may be replaced at a time.
    pub max_unavailable: Option<IntOrString>,
    /// The source of the configuration.
    pub config: ConfigSource,
    /// `--proxy-mode`, which kube-proxy ignores with `--config`.
    pub mode_flag: Option<String>,
    /// The port of `--metrics-bind-address` or `--metrics-port`, which apply only without `--config`.
    pub metrics_port_flag: Option<u16>,
    /// Other flags that kube-proxy ignores with `--config`.
    pub ignored_flags: Vec<String>,
    /// Whether kpx-prep parked it; `template` is without the selector that does so.
    pub parked: Option<Parked>,
    /// Other `DaemonSet`s that read the same `ConfigMap` and key: one per architecture or node pool.
    pub siblings: Vec<KubeProxy>,
}

impl KubeProxy {
    /// Whether both read the same key of the same `ConfigMap`.
    fn shares_config_with(&self, other: &Self) -> bool {
        self.uid == other.uid
            || self.namespace == other.namespace
                && self.config == other.config
                && matches!(self.config, ConfigSource::ConfigMap { .. })
    }

    /// All `DaemonSet`s that read the configuration and are switched together.
    pub fn sets(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.siblings)
    }

    /// Whether one of them wants a pod on a node.
    pub fn wants(&self, node: &Node) -> bool {
        self.sets().any(|set| wants(&set.template, node))
    }

    /// The `DaemonSet` of a pod.
    pub fn set_of(&self, pod: &Pod) -> Option<&Self> {
        self.sets().find(|set| pod.owner_references().iter().any(|owner| owner.uid == set.uid))
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.sets().map(|set| set.name.clone()).collect()
    }
}

/// The result of the search.
#[derive(Clone, Debug)]
pub struct Found {
    /// kube-proxy on Linux nodes, if it runs as a `DaemonSet`.
    pub kube_proxy: Option<KubeProxy>,
    /// kube-proxies of Windows nodes, as namespace/name; never changed.
    pub windows: Vec<String>,
    /// kube-proxies with another configuration, as namespace/name.
    pub elsewhere: Vec<String>,
}

/// Finds kube-proxy among all `DaemonSet`s.
///
/// # Errors
/// If several candidates exist, or the named one is not among them.
pub fn find(all: &[DaemonSet], namespace: Option<&str>, name: Option<&str>) -> Result<Found, String> {
    let mut candidates = Vec::new();
    let mut windows = Vec::new();
    for daemon_set in all {
        let Some(container) = proxy_container(&daemon_set.spec.template.spec) else { continue };
        if is_windows(&daemon_set.spec.template.spec) {
            windows.push(full_name(daemon_set));
        } else {
            candidates.push((daemon_set, container));
        }
    }
    let known: Vec<_> = candidates.iter().map(|(daemon_set, _)| full_name(daemon_set)).collect();
    let asked = |daemon_set: &DaemonSet| {
        namespace.is_none_or(|namespace| daemon_set.namespace().as_deref() == Some(namespace))
            && name.is_none_or(|name| daemon_set.name_any() == name)
    };
    let mut all_of_them: Vec<_> = candidates.iter().map(|(set, container)| describe(set, container)).collect();
    candidates.retain(|(daemon_set, _)| asked(daemon_set));
    if candidates.is_empty() && (namespace.is_some() || name.is_some()) {
        // The operator's choice overrides the detection by image.
        let named = all.iter().find(|daemon_set| name.is_some() && asked(daemon_set));
        let Some((daemon_set, container)) =
            named.and_then(|daemon_set| Some((daemon_set, daemon_set.spec.template.spec.containers.first()?)))
        else {
            let there = if known.is_empty() { "none in this cluster".to_owned() } else { known.join(", ") };
            return Err(format!(
                "kube-proxy DaemonSet {}/{} not found; found: {there}",
                namespace.unwrap_or("*"),
                name.unwrap_or("*")
            ));
        };
        candidates.push((daemon_set, container));
    }
    // An unused DaemonSet that matches no node is ignored.
    let desired = |daemon_set: &DaemonSet| daemon_set.status.as_ref().map_or(0, |s| s.desired_number_scheduled);
    if candidates.iter().any(|(daemon_set, _)| desired(daemon_set) > 0) {
        candidates.retain(|(daemon_set, _)| desired(daemon_set) > 0);
    }
    let mut chosen: Vec<_> = candidates.iter().map(|(set, container)| describe(set, container)).collect();
    if let Some(first) = chosen.first()
        && !chosen.iter().all(|other| first.shares_config_with(other))
    {
        let names: Vec<_> = candidates.iter().map(|(daemon_set, _)| full_name(daemon_set)).collect();
        return Err(format!(
            "several DaemonSets run kube-proxy: {}; choose one with --namespace and --daemonset",
            names.join(", ")
        ));
    }
    if chosen.is_empty() {
        return Ok(Found { kube_proxy: None, windows, elsewhere: Vec::new() });
    }
    let mut kube_proxy = chosen.remove(0);
    all_of_them.retain(|set| set.uid != kube_proxy.uid);
    let (siblings, others): (Vec<_>, Vec<_>) =
        all_of_them.into_iter().partition(|set| kube_proxy.shares_config_with(set));
    kube_proxy.siblings = siblings;
    let elsewhere = others.iter().map(|set| format!("{}/{}", set.namespace, set.name)).collect();
    Ok(Found { kube_proxy: Some(kube_proxy), windows, elsewhere })
}

fn full_name(daemon_set: &DaemonSet) -> String {
    format!("{}/{}", daemon_set.namespace().unwrap_or_default(), daemon_set.name_any())
}

/// The container with kube-proxy's command, or else its image.
fn proxy_container(spec: &PodSpec) -> Option<&Container> {
    let with = |least: Sign| spec.containers.iter().find(|container| sign(container) >= least);
    with(Sign::Command).or_else(|| with(Sign::Image))
}

fn is_windows(spec: &PodSpec) -> bool {
    let selected = |key: &str| spec.node_selector.get(key).is_some_and(|system| system == "windows");
    let terms = spec.affinity.node_affinity.required.as_ref().map(|required| required.node_selector_terms.as_slice());
    let demanded = terms.unwrap_or_default().iter().flat_map(|term| &term.match_expressions).any(|demand| {
        demand.key.ends_with("kubernetes.io/os") && demand.operator == "In" && demand.values == ["windows"]
    });
    selected("kubernetes.io/os") || selected("beta.kubernetes.io/os") || demanded
}

fn describe(daemon_set: &DaemonSet, container: &Container) -> KubeProxy {
    let words = own_words(container);
    let strategy = &daemon_set.spec.update_strategy;
    let template = &daemon_set.spec.template.spec;
    let mut node_selector = template.node_selector.clone();
    node_selector.remove(parking::LABEL);
    let selector = Selector::try_from(daemon_set.spec.selector.clone()).unwrap_or_default();
    KubeProxy {
        namespace: foreign(&daemon_set.namespace().unwrap_or_default()),
        name: foreign(&daemon_set.name_any()),
        uid: daemon_set.uid().unwrap_or_default(),
        generation: daemon_set.metadata.generation.unwrap_or_default(),
        observed_generation: daemon_set.status.as_ref().map_or(0, |status| status.observed_generation),
        container: container.name.clone(),
        image: foreign(&container.image),
        selector: selector.to_string(),
        on_delete: strategy.r#type == "OnDelete",
        max_unavailable: strategy.rolling_update.max_unavailable.clone(),
        config: flag(&words, "config").map_or(ConfigSource::Flags, |path| config_source(template, container, path)),
        siblings: Vec::new(),
        parked: parking::parked(daemon_set, container),
        mode_flag: flag(&words, "proxy-mode").map(ToOwned::to_owned),
        metrics_port_flag: metrics_port(&words),
        ignored_flags: if flag(&words, "config").is_some() { ignored(&words) } else { Vec::new() },
        template: PodSpec {
            node_selector,
            affinity: template.affinity.clone(),
            tolerations: template.tolerations.clone(),
            ..PodSpec::default()
        },
    }
}

/// The `ConfigMap` and key mounted at `path` in the container.
fn config_source(spec: &PodSpec, container: &Container, path: &str) -> ConfigSource {
    let inside = |mount: &str| {
        let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    };
    // The deepest mount applies.
    let mount = container
        .volume_mounts
        .iter()
        .filter_map(|mount| Some((mount, inside(&mount.mount_path)?)))
        .max_by_key(|(mount, _)| mount.mount_path.trim_end_matches('/').len());
    let Some((mount, rest)) = mount else {
        return ConfigSource::Elsewhere(format!("--config={path} is in the image, not on a volume"));
    };
    let file = match &mount.sub_path {
        Some(sub) if rest.is_empty() => sub.clone(),
        Some(sub) => format!("{}/{rest}", sub.trim_end_matches('/')),
        None => rest.to_owned(),
    };
    let volume = spec.volumes.iter().find(|volume| volume.name == mount.name);
    let sources = volume.into_iter().flat_map(|volume| {
        let projected = volume.projected.iter().flat_map(|projected| &projected.sources);
        volume.config_map.iter().chain(projected.filter_map(|source| source.config_map.as_ref()))
    });
    for source in sources {
        if let Some(key) = key_of(source, &file) {
            return ConfigSource::ConfigMap { name: source.name.clone(), key };
        }
    }
    ConfigSource::Elsewhere(format!("--config={path} is on volume {:?}, which has no ConfigMap there", mount.name))
}

fn key_of(source: &ConfigMapVolume, file: &str) -> Option<String> {
    if source.items.is_empty() {
        return (!file.is_empty() && !file.contains('/')).then(|| file.to_owned());
    }
    source.items.iter().find(|item| item.path == file).map(|item| item.key.clone())
}
