//! From kubeconfig and options to a client of the API server.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

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
    /// How long a watch lasts, in seconds, so that it ends before the server counts as silent.
    pub watch_seconds: u32,
}

impl Access {
    /// Reads the kubeconfig and makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// Wrong usage if there is no usable kubeconfig; it says which file was read.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        // A port-forward that waits for its answer is not silence of the server.
        config.reset_reader_on_write = true;
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config)
            .map_err(|error| Refusal::usage(format!("the kubeconfig for {server} cannot be used: {error}")))?;
        let silence = if self.request_timeout.is_zero() { 300 } else { self.request_timeout.as_secs() };
        let watch_seconds = u32::try_from(silence * 2 / 3).unwrap_or(u32::MAX).clamp(1, 290);
        Ok(Connection { client, server, watch_seconds })
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

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
