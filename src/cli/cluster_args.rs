//! Options of every command that connects to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::cluster::api::connection::kubeconfig::Access;
use crate::cluster::observe::Scope;
use crate::report::Format;

#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// Path to the kubeconfig file [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    context: Option<String>,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    impersonate: Option<String>,
    /// Timeout for API server requests; 0 disables it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = "Cluster")]
    request_timeout: Duration,
    /// Namespace of kube-proxy's DaemonSet [default: detected]
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    namespace: Option<String>,
    /// Name of kube-proxy's DaemonSet [default: detected]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    daemonset: Option<String>,
}

impl ClusterArgs {
    pub(super) fn access(&self) -> Access {
        Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            impersonate: self.impersonate.clone(),
            request_timeout: self.request_timeout,
        }
    }

    pub(super) fn scope(&self, nodes: Vec<String>) -> Scope {
        Scope { namespace: self.namespace.clone(), daemon_set: self.daemonset.clone(), nodes }
    }
}

/// Output format of a cluster command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ClusterFormat {
    /// Human-readable; the wording may change between releases.
    #[default]
    Text,
    /// Like text, with images and reasons.
    Wide,
    /// JSON for programs; versioned by `apiVersion`.
    Json,
    /// The same document as YAML.
    Yaml,
    /// Metrics in Prometheus' text format.
    Prometheus,
}

impl ClusterFormat {
    pub(super) fn format(self) -> Format {
        match self {
            Self::Text | Self::Wide | Self::Prometheus => Format::Text,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
        }
    }
}

/// Durations as Kubernetes writes them: `30s`, `1m30s`, `500ms`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = crate::go_duration::duration(if text == "0" { "0s" } else { text })?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| "a duration cannot be negative".to_owned())
}
