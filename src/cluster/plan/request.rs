//! The request for `remediate`, validated.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::kube_proxy::backup::Backup;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::kubeadm::findings::Findings;
use crate::kubeadm::proxy::RawSettings;
use crate::mode::DEFAULT_SCHEDULER;
use crate::mode::ProxyMode;
use crate::proxy_config::{self, ProxyConfig, target};
use crate::proxy_ports::ProxyPorts;
use crate::report::Finding;
use crate::yaml::Value;

/// A setting: its path in the `KubeProxyConfiguration`, and its value.
pub type Setting = (Vec<&'static str>, Value);

/// The requested configuration.
#[derive(Clone, Debug)]
pub enum Goal {
    /// This mode with these settings.
    Settings(Box<RawSettings>),
    /// The original of the last change, or the backup of this name. `force`: even if the configuration was edited since.
    Restore {
        /// The name of the backup; `None` for that of the last change.
        backup: Option<String>,
        /// Whether later edits may be overwritten.
        force: bool,
    },
}

/// The request of the operator.
#[derive(Clone, Debug)]
pub struct Request {
    /// The requested configuration.
    pub goal: Goal,
    /// The node to switch first.
    pub canary: Option<String>,
    /// Number of nodes at a time, if not the `DaemonSet`'s `maxUnavailable`.
    pub max_unavailable: Option<IntOrString>,
    /// How long to wait until a new pod is verified, if not [`super::patience::default_timeout`].
    pub timeout: Option<Duration>,
    /// How long to watch the canary.
    pub settle: Duration,
    /// IDs of checks downgraded to warnings, in lower case; `all` for every one.
    pub ignored_checks: Vec<String>,
    /// Whether node preparation is skipped.
    pub nodes_are_prepared: bool,
    /// Nodes that are not switched.
    pub exclude_nodes: Vec<String>,
    /// Whether a dry run inspects the nodes' hosts too.
    pub look_at_nodes: bool,
    /// Whether leftovers of other modes are removed from the nodes.
    pub clean: bool,
    /// How long existing connections may drain.
    pub drain: Duration,
    /// Stop after the canary.
    pub pause_after_canary: bool,
    /// How long to wait after each node, in its place, before the next.
    pub batch_pause: Duration,
    /// Number of failed nodes with which the rollout continues; not the canary.
    pub max_failures: usize,
    /// Do not roll back on failure.
    pub no_rollback: bool,
    /// Into or out of nftables mode without a bridge, and from or to ipvs without iptables mode between.
    pub direct: bool,
    /// Set for the first of two legs: where the change leads.
    pub on_the_way: Option<OnTheWay>,
}

/// Where the first of two legs leads, see [`super::legs`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnTheWay {
    /// The mode after the second leg.
    pub to: ProxyMode,
    /// The name of the backup that the second leg restores, if it does.
    pub restores: Option<String>,
}

/// The target configuration of a request in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The mode; if it is unfit, the currently configured one.
    pub mode: ProxyMode,
    /// The text for the `ConfigMap`'s key.
    pub text: String,
    /// The parsed text; `None` if kube-proxy cannot read it, which is allowed only for a restored configuration.
    pub config: Option<ProxyConfig>,
    /// Whether it restores the original that the present configuration replaced.
    pub undoes_last: bool,
    /// The backup that is restored; `None` for a configuration of this run.
    pub backup: Option<String>,
    /// Why kube-proxy cannot start with this original: it is restored, but no pod is replaced.
    pub unfit: Option<String>,
    /// A warning for the operator.
    pub warnings: Vec<Finding>,
}

/// Why a request cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The check's id.
    pub id: &'static str,
    /// The reason.
    pub message: String,
    /// The hint.
    pub hint: &'static str,
}

impl Target {
    /// The IPVS scheduler that it amounts to.
    pub fn scheduler(&self) -> &str {
        self.config.as_ref().map_or(DEFAULT_SCHEDULER, ProxyConfig::scheduler)
    }

    /// kube-proxy's ports.
    pub fn ports(&self) -> ProxyPorts {
        self.config.as_ref().map_or_else(ProxyPorts::default, |config| config.ports)
    }
}

impl Request {
    /// Whether a check is to be ignored.
    pub fn ignores(&self, id: &str) -> bool {
        self.ignored_checks.iter().any(|ignored| ignored == id || ignored == "all")
    }

    /// Whether kpx-prep runs on the nodes, to prepare or to clean them.
    pub fn runs_on_nodes(&self) -> bool {
        self.clean || !self.nodes_are_prepared
    }

    /// Whether this is a rollback, or the first leg of one.
    pub fn is_restore(&self) -> bool {
        let on_the_way = self.on_the_way.as_ref().is_some_and(|way| way.restores.is_some());
        on_the_way || matches!(self.goal, Goal::Restore { .. })
    }

    /// Whether a node is one of those to switch.
    pub fn includes(&self, node: &NodeFacts) -> bool {
        node.ready && node.wanted && !node.windows && !self.exclude_nodes.contains(&node.name)
    }

    /// The target configuration of this request.
    ///
    /// # Errors
    /// All reasons why it is not possible.
    pub fn target(&self, facts: &ClusterFacts) -> Result<Target, Vec<Refused>> {
        match &self.goal {
            Goal::Settings(settings) => edited(settings, facts),
            Goal::Restore { backup, force } => {
                restored(backup.as_deref(), *force, facts).map_err(|refused| vec![refused])
            }
        }
    }
}

fn edited(settings: &RawSettings, facts: &ClusterFacts) -> Result<Target, Vec<Refused>> {
    let Some(config) = &facts.config else { return Err(Vec::new()) };
    let mut findings = Findings::default();
    let mode = settings.check(facts.minor(), &mut findings);
    if let Some(mode) = &mode {
        settings.refuse_ipvs_only(mode, &mut findings);
    }
    let (Some(mode), []) = (mode, &findings.problems[..]) else {
        let hint = "choose a mode and settings that this version of kube-proxy supports; https://kubernetes.io/docs/reference/networking/virtual-ips/";
        let refused = findings.problems.iter().map(|problem| Refused {
            id: if problem.place == "--mode" { "version-policy" } else { "settings" },
            message: problem.to_string(),
            hint,
        });
        return Err(refused.collect());
    };
    let text = proxy_config::edit(&config.text, &settings.to_write(&mode)).map_err(|why| {
        vec![Refused {
            id: "config-unreadable",
            message: format!("ConfigMap {}, key {}: {why}", config.name, config.key),
            hint: "kpx-prep edits only what it can edit without side effects; fix it manually (kubectl edit configmap); https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
        }]
    })?;
    let config = proxy_config::read(&text).ok();
    Ok(Target {
        mode: mode.mode,
        text,
        config,
        undoes_last: false,
        backup: None,
        unfit: None,
        warnings: findings.remarks,
    })
}

fn restored(name: Option<&str>, force: bool, facts: &ClusterFacts) -> Result<Target, Refused> {
    let refuse = |id, message: String, hint| Refused { id, message, hint };
    let Some(config) = &facts.config else {
        return Err(refuse("config-unreadable", "no kube-proxy ConfigMap to restore".to_owned(), ""));
    };
    let replaced = |backup: &&Backup| backup.was_replaced_by(&config.text);
    // A rollback that is repeated goes on to its own end, and does not go back itself; also after it failed and was undone.
    let last = facts.backups.first().filter(|newest| newest.text == config.text);
    let last = last.filter(|newest| newest.restores.is_some()).or_else(|| facts.backups.iter().find(replaced));
    let restored = last.and_then(|last| last.restores.as_deref());
    let name = name.or_else(|| restored.filter(|name| facts.backups.iter().any(|backup| backup.name == *name)));
    let backup = if let Some(name) = name {
        facts.backups.iter().find(|backup| backup.name == name || backup.hash() == name)
    } else {
        // If the newest original is already restored, only pods may remain to be switched back.
        let newest = facts.backups.first();
        newest.filter(|newest| newest.text == config.text).or(facts.backups.iter().find(replaced)).or(newest)
    };
    let Some(backup) = backup else {
        let message = match name {
            Some(name) => format!("no backup {name} of ConfigMap {}", config.name),
            None => format!("no backup of ConfigMap {}: kpx-prep has not changed it", config.name),
        };
        return Err(refuse("no-backup", message, "list the backups with: kpx-prep status"));
    };
    let ours = facts.backups.iter().any(|backup| backup.was_replaced_by(&config.text));
    if config.text != backup.text && !ours && !force {
        let since = match backup.written.as_deref() {
            Some(written) => format!(":\n{}", super::diff::diff(&config.key, written, &config.text)),
            None => String::new(),
        };
        return Err(refuse(
            "edited-since",
            format!("ConfigMap {} was edited since kpx-prep changed it{since}", config.name),
            "to restore the original anyway, add --force; the current text is also saved as a backup",
        ));
    }
    // The original belongs to the operator: it is restored byte for byte, whatever it contains.
    let read = proxy_config::read(&backup.text);
    let mode = read.as_ref().map_err(Clone::clone).and_then(|config| target(&config.mode, facts.minor()));
    Ok(Target {
        mode: mode.as_ref().copied().unwrap_or_else(|_| facts.target().unwrap_or(ProxyMode::Iptables)),
        text: backup.text.clone(),
        config: read.ok(),
        undoes_last: backup.was_replaced_by(&config.text),
        backup: Some(backup.name.clone()),
        unfit: mode.err(),
        warnings: Vec::new(),
    })
}
