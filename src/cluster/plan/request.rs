//! What the operator asked `remediate` for; validated.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::kube_proxy::backup::Backup;
use crate::cluster::observe::facts::ClusterFacts;
use crate::kubeadm::problem::Findings;
use crate::kubeadm::proxy::RawSettings;
use crate::mode::ProxyMode;
use crate::proxy_config::{self, DEFAULT_SCHEDULER, METRICS_PORT, ProxyConfig, target};
use crate::report::Finding;
use crate::yaml::Value;

/// A setting: its path in the `KubeProxyConfiguration`, and its value.
pub type Setting = (Vec<&'static str>, Value);

/// Which configuration is wanted.
#[derive(Clone, Debug)]
pub enum Goal {
    /// This mode, and these settings besides.
    Settings(Box<RawSettings>),
    /// What stood before the last change, or the backup of this name. `force`: even if the configuration was edited
    /// since.
    Restore {
        /// The backup's name, or the last change's.
        backup: Option<String>,
        /// Whether edits since then may be lost.
        force: bool,
    },
}

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which configuration.
    pub goal: Goal,
    /// Which node goes first.
    pub canary: Option<String>,
    /// How many nodes at a time, if not as many as the `DaemonSet` says.
    pub max_unavailable: Option<IntOrString>,
    /// How long a new pod may take to be proved.
    pub timeout: Duration,
    /// How long the canary must keep its mode.
    pub settle: Duration,
    /// Checks that shall not stop the run, by id, in lower case; `all` for every one.
    pub ignored_checks: Vec<String>,
    /// The operator vouches for the kernel modules of every node: none is prepared.
    pub nodes_are_prepared: bool,
    /// Nodes that are not switched.
    pub exclude_nodes: Vec<String>,
    /// Whether a dry run looks at the nodes' hosts too.
    pub look_at_nodes: bool,
    /// Whether what other modes left on the nodes is removed.
    pub clean: bool,
    /// How long connections may keep a virtual server that goes.
    pub drain: Duration,
    /// Stop after the canary.
    pub pause_after_canary: bool,
    /// Leave a failure as it is.
    pub no_rollback: bool,
}

/// The configuration that a wish amounts to in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The mode; where it is unfit, the one that is configured now.
    pub mode: ProxyMode,
    /// The text under the `ConfigMap`'s key.
    pub text: String,
    /// What the text says; none if kube-proxy cannot read it, which only a restored one may be.
    pub config: Option<ProxyConfig>,
    /// Whether it restores exactly what stood before the last change.
    pub undoes_last: bool,
    /// Why no kube-proxy can start with it, though it is the original: it is put back, and no pod is replaced.
    pub unfit: Option<String>,
    /// What the operator should know about it.
    pub warnings: Vec<Finding>,
}

/// Why a wish cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The check's id.
    pub id: &'static str,
    /// Why.
    pub message: String,
    /// The way out.
    pub hint: &'static str,
}

impl Target {
    /// The IPVS scheduler that it amounts to.
    pub fn scheduler(&self) -> &str {
        self.config.as_ref().map_or(DEFAULT_SCHEDULER, ProxyConfig::scheduler)
    }

    /// The port that kube-proxy tells its mode at.
    pub fn metrics_port(&self) -> u16 {
        self.config.as_ref().map_or(METRICS_PORT, |config| config.metrics_port)
    }
}

impl Request {
    /// Whether a check is to be ignored.
    pub fn ignores(&self, id: &str) -> bool {
        self.ignored_checks.iter().any(|ignored| ignored == id || ignored == "all")
    }

    /// Whether this goes back.
    pub fn is_restore(&self) -> bool {
        matches!(self.goal, Goal::Restore { .. })
    }

    /// The configuration that this wish amounts to.
    ///
    /// # Errors
    /// Everything that is in the way.
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
        let hint = "choose a mode and settings that this version of kube-proxy runs: https://kubernetes.io/docs/reference/networking/virtual-ips/";
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
            hint: "kpx-prep changes only what it can change exactly; fix it by kubectl edit configmap; https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
        }]
    })?;
    let config = proxy_config::read(&text).ok();
    Ok(Target { mode: mode.mode, text, config, undoes_last: false, unfit: None, warnings: findings.remarks })
}

fn restored(name: Option<&str>, force: bool, facts: &ClusterFacts) -> Result<Target, Refused> {
    let refuse = |id, message: String, hint| Refused { id, message, hint };
    let Some(config) = &facts.config else {
        return Err(refuse("config-unreadable", "there is no kube-proxy ConfigMap to restore".to_owned(), ""));
    };
    let replaced = |backup: &&Backup| backup.written.as_ref() == Some(&config.text);
    let backup = if let Some(name) = name {
        facts.backups.iter().find(|backup| backup.name == name || backup.hash() == name)
    } else {
        // Where the newest original is in place, its change was undone or never made: only pods may be left to put back.
        let newest = facts.backups.first();
        newest.filter(|newest| newest.text == config.text).or(facts.backups.iter().find(replaced)).or(newest)
    };
    let Some(backup) = backup else {
        let message = match name {
            Some(name) => format!("there is no backup {name} of ConfigMap {}", config.name),
            None => format!("there is no backup of ConfigMap {}: kpx-prep has not changed it", config.name),
        };
        return Err(refuse("no-backup", message, "kpx-prep status lists the backups"));
    };
    let ours = facts.backups.iter().any(|backup| backup.written.as_ref() == Some(&config.text));
    if config.text != backup.text && !ours && !force {
        let since = match backup.written.as_deref() {
            Some(written) => format!(":\n{}", super::diff::diff(&config.key, written, &config.text)),
            None => String::new(),
        };
        return Err(refuse(
            "edited-since",
            format!("ConfigMap {} was edited since kpx-prep changed it{since}", config.name),
            "--force restores the original all the same; the present text is kept as a backup too",
        ));
    }
    // Whatever the original says, it is the operator's: it goes back byte for byte.
    let read = proxy_config::read(&backup.text);
    let mode = read.as_ref().map_err(Clone::clone).and_then(|config| target(&config.mode, facts.minor()));
    Ok(Target {
        mode: mode.as_ref().copied().unwrap_or_else(|_| facts.target().unwrap_or(ProxyMode::Iptables)),
        text: backup.text.clone(),
        config: read.ok(),
        undoes_last: backup.written.as_ref() == Some(&config.text),
        unfit: mode.err(),
        warnings: Vec::new(),
    })
}
