//! Creates a client of the API server from kubeconfig and options.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;

use super::bounded_client::{Bounds, Credentials, bounded};
use super::credential_plugin::Plugin;
use super::credentials::Source;
use super::kubeconfig::{self, Access};
use super::token_file::TokenFile;
use crate::cluster::api::calls::retried;
use crate::cluster::api::errors::{is_transient, is_unreachable, plain};
use crate::cluster::api::patience::patiently;
use crate::cluster::api::streams::Streams;
use crate::exit_code::Refusal;
use crate::report::foreign::foreign;

/// A client and its server.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context; `None` for a pod's service account.
    pub context: Option<String>,
    /// The API server's version, as reported.
    pub version: String,
    /// Duration of a watch in seconds, shorter than the request timeout.
    pub watch_seconds: u32,
    /// Heartbeat interval of commands on nodes, so that a long one is not considered dead.
    pub heartbeat: Duration,
    /// The streams to nodes, a bounded number at a time.
    pub streams: Streams,
    /// How long an API server that refuses streams is waited for: 20 request timeouts, at most ten minutes.
    pub refusals: Duration,
}

impl Connection {
    /// The cluster for messages: the API server's address and the context.
    pub fn place(&self) -> String {
        place(&self.server, self.context.as_deref())
    }
}

impl Access {
    /// Reads the kubeconfig, creates a client and gets the API server's version.
    ///
    /// # Errors
    /// Invalid usage if there is no usable kubeconfig; the message names the file. If the API server does not answer;
    /// without retries if nothing listens there.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let kubeconfig::Loaded { mut config, context, credentials } = kubeconfig::load(self)?;
        config.connect_timeout = Some(Duration::from_secs(10));
        let time = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        // For watches and upgraded connections; everything else has its own deadline with a better message.
        config.read_timeout = time.map(|time| time + Duration::from_secs(1));
        // A port-forward that waits for its answer must not time out.
        config.reset_reader_on_write = true;
        // Only `api::retried` retries, with progress messages and a limit.
        config.default_retry = false;
        if self.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&self.impersonate);
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let unusable = |why: String| Refusal::usage(format!("the kubeconfig for {server} cannot be used: {why}"));
        let (client, credentials) = match credentials {
            Source::Config => (Client::try_from(config), Credentials::Fixed),
            Source::TokenFile(path) => {
                let file = TokenFile::new(path);
                file.header().map_err(unusable)?;
                (Client::try_from(config), Credentials::TokenFile(Arc::new(file)))
            }
            Source::Plugin(exec) => {
                let plugin = Plugin::start(*exec, config).await.map_err(unusable)?;
                let (client, _) = plugin.current().await.map_err(unusable)?;
                (Ok(client), Credentials::Plugin(Arc::new(plugin)))
            }
        };
        let client = client.map_err(|error| unusable(plain(&error)))?;
        let client = bounded(client, Bounds { server: server.clone(), time, credentials });
        let silence = if self.request_timeout.is_zero() { Duration::from_secs(300) } else { self.request_timeout };
        let watch_seconds = u32::try_from(silence.as_secs() * 2 / 3).unwrap_or(u32::MAX).clamp(1, 290);
        // Load balancers also close idle connections: after 20 s in kubeadm's example
        // (https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md).
        let heartbeat = (silence / 4).min(Duration::from_secs(7));
        let refusals = (silence * 20).min(Duration::from_secs(600));
        let version = patiently(&format!("an answer from {server}"), time, first_answer(&client)).await;
        let version = version.map_err(|error| {
            anyhow::anyhow!("getting the version of {server}: {}; nothing was changed", plain(&error))
        })?;
        Ok(Connection {
            client,
            server,
            context,
            version,
            watch_seconds,
            heartbeat,
            streams: Streams::default(),
            refusals,
        })
    }
}

async fn first_answer(client: &Client) -> kube::Result<String> {
    let ask = || client.apiserver_version();
    let version = match ask().await {
        Err(error) if is_transient(&error) && !is_unreachable(&error) => retried(ask).await,
        result => result,
    };
    version.map(|version| foreign(&version.git_version))
}

/// The cluster for messages: the API server's address and the context.
pub fn place(server: &str, context: Option<&str>) -> String {
    match context {
        Some(context) => format!("{server} (context {})", foreign(context)),
        None => server.to_owned(),
    }
}
