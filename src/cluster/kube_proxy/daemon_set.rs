//! Finding kube-proxy's `DaemonSet` and, from its arguments and volumes, the `ConfigMap` and key that it reads.
//! No name is assumed. Pure: works on a list that someone else fetched.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use kube::core::Selector;

use super::command::{Sign, flag, ignored, metrics_port, own_words, sign};
use super::scheduling::wants;
use crate::cluster::api::objects::{DaemonSet, Node, Pod};
use crate::cluster::api::pod_objects::{ConfigMapVolume, Container, PodSpec};
use crate::report::foreign::foreign;

/// Where kube-proxy's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// A key of a `ConfigMap` in the `DaemonSet`'s namespace.
    ConfigMap {
        /// The `ConfigMap`.
        name: String,
        /// The key.
        key: String,
    },
    /// There is no `--config`: flags only.
    Flags,
    /// There is a `--config`, but not from a `ConfigMap`; why.
    Elsewhere(String),
}

/// kube-proxy as its `DaemonSet` describes it.
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
    /// The generation that the controller has acted on.
    pub observed_generation: i64,
    /// The container that runs kube-proxy.
    pub container: String,
    /// Its image.
    pub image: String,
    /// The pods' labels, as a selector.
    pub selector: String,
    /// What a node must have to get a pod.
    pub template: PodSpec,
    /// Whether pods are replaced only when someone deletes them.
    pub on_delete: bool,
    /// How many pods may be replaced at a time.
    pub max_unavailable: Option<IntOrString>,
    /// Where the configuration comes from.
    pub config: ConfigSource,
    /// `--proxy-mode`, which kube-proxy ignores beside `--config`.
    pub mode_flag: Option<String>,
    /// The port of `--metrics-bind-address` or `--metrics-port`, which count without `--config` only.
    pub metrics_port_flag: Option<u16>,
    /// Flags beside `--config` that kube-proxy ignores there, without `--proxy-mode`.
    pub ignored_flags: Vec<String>,
    /// The other `DaemonSet`s whose kube-proxies read the same `ConfigMap` and key: one per architecture or pool.
    pub siblings: Vec<KubeProxy>,
}

impl KubeProxy {
    /// Whether both read one key of one `ConfigMap`.
    fn shares_config_with(&self, other: &Self) -> bool {
        self.uid == other.uid
            || self.namespace == other.namespace
                && self.config == other.config
                && matches!(self.config, ConfigSource::ConfigMap { .. })
    }

    /// All `DaemonSet`s that read the configuration; they are switched together.
    pub fn sets(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.siblings)
    }

    /// Whether one of them wants a pod on a node.
    pub fn wants(&self, node: &Node) -> bool {
        self.sets().any(|set| wants(&set.template, node))
    }

    /// The one that a pod is of.
    pub fn set_of(&self, pod: &Pod) -> Option<&Self> {
        self.sets().find(|set| pod.owner_references().iter().any(|owner| owner.uid == set.uid))
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        self.sets().map(|set| set.name.clone()).collect()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// kube-proxy on Linux nodes, if it runs as a `DaemonSet`.
    pub kube_proxy: Option<KubeProxy>,
    /// kube-proxies of Windows nodes, as namespace/name: left alone.
    pub windows: Vec<String>,
    /// kube-proxies with another configuration, as namespace/name.
    pub elsewhere: Vec<String>,
}

/// Finds kube-proxy among all `DaemonSet`s.
///
/// # Errors
/// If several could be it, their names; or that the one asked for is not among them.
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
        // An operator who names it knows better than the look of its image.
        let named = all.iter().find(|daemon_set| name.is_some() && asked(daemon_set));
        let Some((daemon_set, container)) =
            named.and_then(|daemon_set| Some((daemon_set, daemon_set.spec.template.spec.containers.first()?)))
        else {
            let there = if known.is_empty() { "there is none in this cluster".to_owned() } else { known.join(", ") };
            return Err(format!(
                "no kube-proxy DaemonSet {}/{}; known: {there}",
                namespace.unwrap_or("*"),
                name.unwrap_or("*")
            ));
        };
        candidates.push((daemon_set, container));
    }
    // A DaemonSet that was left behind and matches no node is not the one.
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
            "several DaemonSets run kube-proxy: {}; choose one by --namespace and --daemonset",
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

/// The container whose command is kube-proxy's, or else its image.
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
        mode_flag: flag(&words, "proxy-mode").map(ToOwned::to_owned),
        metrics_port_flag: metrics_port(&words),
        ignored_flags: if flag(&words, "config").is_some() { ignored(&words) } else { Vec::new() },
        template: PodSpec {
            node_selector: template.node_selector.clone(),
            affinity: template.affinity.clone(),
            tolerations: template.tolerations.clone(),
            ..PodSpec::default()
        },
    }
}

/// Which `ConfigMap` and key appear at `path` in the container.
fn config_source(spec: &PodSpec, container: &Container, path: &str) -> ConfigSource {
    let inside = |mount: &str| {
        let rest = path.strip_prefix(mount.trim_end_matches('/'))?;
        if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
    };
    // The deepest mount hides those above it.
    let mount = container
        .volume_mounts
        .iter()
        .filter_map(|mount| Some((mount, inside(&mount.mount_path)?)))
        .max_by_key(|(mount, _)| mount.mount_path.trim_end_matches('/').len());
    let Some((mount, rest)) = mount else {
        return ConfigSource::Elsewhere(format!("--config={path} is not on a volume but in the image"));
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
    ConfigSource::Elsewhere(format!("--config={path} is on volume {:?}, which shows no ConfigMap there", mount.name))
}

fn key_of(source: &ConfigMapVolume, file: &str) -> Option<String> {
    if source.items.is_empty() {
        return (!file.is_empty() && !file.contains('/')).then(|| file.to_owned());
    }
    source.items.iter().find(|item| item.path == file).map(|item| item.key.clone())
}
