//! From kubeconfig and options to a client of the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::api::{chain, is_transient, is_unreachable, plain, retried};
use crate::exit_code::Refusal;

/// Which cluster, and as whom; as given.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--kubeconfig`; else `KUBECONFIG`, `~/.kube/config`, or the service account of a pod.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; else the current one.
    pub context: Option<String>,
    /// `--as`
    pub impersonate: Option<String>,
    /// `--request-timeout`: how long the API server may stay silent; without end if zero.
    pub request_timeout: Duration,
}

/// A client and whom it speaks to.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The API server's address.
    pub server: String,
    /// The API server's version, as it says it.
    pub version: String,
    /// How long a watch lasts, in seconds, so that it ends before the server counts as silent.
    pub watch_seconds: u32,
    /// How often a command on a node says that it is at work, so that a long one does not count as silent.
    pub heartbeat: Duration,
}

impl Access {
    /// Reads the kubeconfig, makes a client and asks the API server for its version.
    ///
    /// # Errors
    /// Wrong usage if there is no usable kubeconfig; it says which file was read. That the API server does not answer:
    /// soon, if nothing is there at all.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        // A port-forward that waits for its answer is not silence of the server.
        config.reset_reader_on_write = true;
        // One way to wait for a busy server, and one that an operator sees the end of: `api::retried`.
        config.default_retry = false;
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config)
            .map_err(|error| Refusal::usage(format!("the kubeconfig for {server} cannot be used: {error}")))?;
        let silence = if self.request_timeout.is_zero() { Duration::from_secs(300) } else { self.request_timeout };
        let watch_seconds = u32::try_from(silence.as_secs() * 2 / 3).unwrap_or(u32::MAX).clamp(1, 290);
        // Load balancers end what is silent too: after 20 s in the example for kubeadm's users
        // (https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md).
        let heartbeat = (silence / 4).min(Duration::from_secs(7));
        let version = first_answer(&client).await;
        let version = version.map_err(|error| {
            anyhow::anyhow!("asking {server} for its version: {}; nothing was changed", plain(&error))
        })?;
        Ok(Connection { client, server, version, watch_seconds, heartbeat })
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let kubeconfig = Kubeconfig::read_from(path)
                .map_err(|error| Refusal::usage(format!("--kubeconfig {}: {}", path.display(), chain(&error))))?;
            return Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| Refusal::usage(format!("--kubeconfig {}: {}", path.display(), chain(&error))));
        }
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            // In a pod, its service account will do; a wrong --context will not.
            Err(error) if self.context.is_some() => Err(Refusal::usage(format!(
                "--context {}: {}",
                self.context.as_deref().unwrap_or_default(),
                chain(&error)
            ))),
            Err(error) => Config::incluster().map_err(|_| {
                Refusal::usage(format!(
                    "there is no cluster to speak to: {}; name a kubeconfig by --kubeconfig or KUBECONFIG \
                     (on a control-plane node: /etc/kubernetes/admin.conf)",
                    chain(&error)
                ))
            }),
        }
    }
}

async fn first_answer(client: &Client) -> kube::Result<String> {
    let ask = || client.apiserver_version();
    let version = match ask().await {
        Err(error) if is_transient(&error) && !is_unreachable(&error) => retried(ask).await,
        result => result,
    };
    version.map(|version| version.git_version)
}
