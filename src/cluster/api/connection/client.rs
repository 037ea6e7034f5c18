//! From kubeconfig and options to a client of the API server.

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
use crate::exit_code::Refusal;
use crate::report::foreign::foreign;
use crate::report::say::patiently;

/// A client and whom it speaks to.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The API server's address.
    pub server: String,
    /// The kubeconfig's context; nothing for a pod's service account.
    pub context: Option<String>,
    /// The API server's version, as it says it.
    pub version: String,
    /// How long a watch lasts, in seconds, so that it ends before the server counts as silent.
    pub watch_seconds: u32,
    /// How often a command on a node says that it is at work, so that a long one does not count as silent.
    pub heartbeat: Duration,
}

impl Connection {
    /// The cluster in words: the API server's address, and the context that led to it.
    pub fn place(&self) -> String {
        place(&self.server, self.context.as_deref())
    }
}

impl Access {
    /// Reads the kubeconfig, makes a client and asks the API server for its version.
    ///
    /// # Errors
    /// Wrong usage if there is no usable kubeconfig; it says which file was read. That the API server does not answer:
    /// soon, if nothing is there at all.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let kubeconfig::Loaded { mut config, context, credentials } = kubeconfig::load(self)?;
        config.connect_timeout = Some(Duration::from_secs(10));
        let time = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        // For watches and what was switched to another protocol; all else has its own deadline, which is said better.
        config.read_timeout = time.map(|time| time + Duration::from_secs(1));
        // A port-forward that waits for its answer is not silence of the server.
        config.reset_reader_on_write = true;
        // One way to wait for a busy server, and one that an operator sees the end of: `api::retried`.
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
        // Load balancers end what is silent too: after 20 s in the example for kubeadm's users
        // (https://github.com/kubernetes/kubeadm/blob/main/docs/ha-considerations.md).
        let heartbeat = (silence / 4).min(Duration::from_secs(7));
        let version = patiently(&format!("an answer from {server}"), time, first_answer(&client)).await;
        let version = version.map_err(|error| {
            anyhow::anyhow!("asking {server} for its version: {}; nothing was changed", plain(&error))
        })?;
        Ok(Connection { client, server, context, version, watch_seconds, heartbeat })
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

/// A cluster in words: the API server's address, and the context that led to it.
pub fn place(server: &str, context: Option<&str>) -> String {
    match context {
        Some(context) => format!("{server} (context {})", foreign(context)),
        None => server.to_owned(),
    }
}
