//! Builds a client's configuration from kubeconfig files, options and environment, by kubectl's rules; unsupported settings
//! are refused by name.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, Kubeconfig, KubeconfigError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::credentials::{self, credentials};
use super::proxy_env;
use crate::cluster::api::errors::chain;
use crate::exit_code::Refusal;
use crate::report::foreign::foreign;

/// The options that select cluster and user.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `--kubeconfig`; default: `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; default: the current one.
    pub context: Option<String>,
    /// `--as`
    pub impersonate: Option<String>,
    /// `--request-timeout`; no timeout if zero.
    pub request_timeout: Duration,
}

/// The loaded configuration.
pub(super) struct Loaded {
    /// The client's configuration.
    pub(super) config: Config,
    /// The context; `None` for a pod's service account.
    pub(super) context: Option<String>,
    /// The source of credentials.
    pub(super) credentials: credentials::Source,
}

/// The source of the kubeconfig.
enum Source {
    /// Set by an option or the environment. Missing files in a list are skipped, as in kubectl.
    Named(String, Vec<PathBuf>),
    /// `~/.kube/config`, which exists.
    Home(PathBuf),
    /// The service account of a pod.
    Pod,
}

impl Source {
    fn find(access: &Access) -> Self {
        if let Some(path) = &access.kubeconfig {
            return Self::Named("--kubeconfig".to_owned(), vec![path.clone()]);
        }
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            let paths = std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
            return Self::Named("KUBECONFIG".to_owned(), paths);
        }
        let home = std::env::home_dir().map(|home| home.join(".kube/config"));
        home.filter(|path| path.exists()).map_or(Self::Pod, Self::Home)
    }
}

/// Loads the configuration.
///
/// # Errors
/// Invalid usage, with the file. If a named kubeconfig cannot be used, no other one is tried, which could be another
/// cluster's.
pub(super) fn load(access: &Access) -> anyhow::Result<Loaded> {
    let (by, paths) = match Source::find(access) {
        Source::Named(by, paths) => (by, paths),
        Source::Home(path) => (String::new(), vec![path]),
        Source::Pod => return in_pod(access),
    };
    let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let place = format!("{by} {names}").trim_start().to_owned();
    let kubeconfig = read(&paths, by == "KUBECONFIG").map_err(|why| refusal(&place, &why))?;
    let context = access.context.clone().or_else(|| kubeconfig.current_context.clone()).filter(|name| !name.is_empty());
    let Some(context) = context else {
        return Err(refusal(&place, "it has no current-context; set --context"));
    };
    let place = format!("{place}, context {context}");
    let (config, credentials) = of_context(&kubeconfig, &context).map_err(|why| refusal(&place, &why))?;
    Ok(Loaded { config, context: Some(context), credentials })
}

fn refusal(place: &str, why: &str) -> anyhow::Error {
    Refusal::usage(format!("{place}: {why}; nothing was changed"))
}

fn in_pod(access: &Access) -> anyhow::Result<Loaded> {
    if let Some(context) = &access.context {
        return Err(refusal(&format!("--context {context}"), "no kubeconfig found; set --kubeconfig or KUBECONFIG"));
    }
    let mut config = Config::incluster().map_err(|error| {
        Refusal::usage(format!(
            "no cluster configured: no kubeconfig and no pod service account found ({}); nothing was changed. Set --kubeconfig or KUBECONFIG (on a control-plane node: /etc/kubernetes/admin.conf)",
            chain(&error)
        ))
    })?;
    // As client-go's rest.InClusterConfig: the environment's proxy applies there too.
    config.proxy_url = proxy_env::proxy(&config.cluster_url, None).map_err(|why| refusal("the environment", &why))?;
    let credentials = credentials(&mut config.auth_info, &config.cluster_url)
        .map_err(|why| refusal("the pod's service account", &why))?;
    Ok(Loaded { config, context: None, credentials })
}

fn read(paths: &[PathBuf], pass_over_missing: bool) -> Result<Kubeconfig, String> {
    let mut merged: Option<Kubeconfig> = None;
    for path in paths {
        let kubeconfig = match Kubeconfig::read_from(path) {
            Err(KubeconfigError::ReadConfig(error, _))
                if pass_over_missing && error.kind() == std::io::ErrorKind::NotFound =>
            {
                continue;
            }
            result => result.map_err(|error| format!("{}: {}", path.display(), chain(&error)))?,
        };
        merged = Some(match merged {
            Some(before) => before.merge(kubeconfig).map_err(|error| chain(&error))?,
            None => kubeconfig,
        });
    }
    merged.ok_or_else(|| "no such file".to_owned())
}

/// The configuration of a context. kube's own loader is not used, because it has different rules for the environment's proxy
/// and refuses a `NO_PROXY` that Go accepts, such as one that ends in a comma.
fn of_context(kubeconfig: &Kubeconfig, name: &str) -> Result<(Config, credentials::Source), String> {
    let contexts = &kubeconfig.contexts;
    let context: &Context = contexts
        .iter()
        .find(|named| named.name == name)
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| format!("context {:?} not found", foreign(name)))?;
    let cluster: &Cluster = kubeconfig
        .clusters
        .iter()
        .find(|named| named.name == context.cluster)
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(|| format!("cluster {:?} not found", foreign(&context.cluster)))?;
    // client-go treats a missing user as one without credentials.
    let user = context.user.as_ref().and_then(|user| kubeconfig.auth_infos.iter().find(|named| named.name == *user));
    let mut auth: AuthInfo = user.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    let told = ExecAuthCluster::try_from(cluster).map_err(|error| chain(&error))?;
    let server = cluster.server.as_deref().filter(|server| !server.is_empty()).ok_or("the cluster has no server")?;
    let server: Uri =
        server.parse().map_err(|error| format!("the server {:?} is not a URL: {error}", foreign(server)))?;
    let mut config = Config::new(server);
    if let Some(namespace) = context.namespace.as_ref().filter(|name| !name.is_empty()) {
        config.default_namespace.clone_from(namespace);
    }
    config.root_cert = told.certificate_authority_data.as_deref().map(certificates).transpose()?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    config.proxy_url =
        proxy_env::proxy(&config.cluster_url, cluster.proxy_url.as_deref().filter(|url| !url.is_empty()))?;
    if let Some(exec) = &mut auth.exec {
        exec.cluster = Some(told);
    }
    let source = credentials(&mut auth, &config.cluster_url)?;
    config.auth_info = auth;
    Ok((config, source))
}

/// The certificates of a PEM text; other parts are skipped, as by Go's `AppendCertsFromPEM`.
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("the certificate authority is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("the certificate authority data contains no certificate".to_owned());
    }
    Ok(certificates.into_iter().map(|certificate| certificate.to_vec()).collect())
}
