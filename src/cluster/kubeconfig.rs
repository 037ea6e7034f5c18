//! From kubeconfig files, options and environment to a client's configuration, as kubectl reads them; and what of them this
//! client cannot do is refused by name.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Uri};
use kube::Config;
use kube::config::{AuthInfo, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError};

use secrecy::ExposeSecret as _;

use super::api::chain;
use super::client::Access;
use super::proxy_env;
use crate::exit_code::Refusal;
use crate::kubeadm::secret::VARIABLES;
use crate::report::foreign::foreign;
use crate::report::say::say;

/// Which cluster, and how it is reached.
pub(super) struct Loaded {
    /// For the client.
    pub(super) config: Config,
    /// The context that was used; nothing for a pod's service account.
    pub(super) context: Option<String>,
    /// A file with a bearer token, which may change.
    pub(super) token_file: Option<PathBuf>,
}

/// Where kubeconfigs are.
enum Source {
    /// Named by an option or the environment: these, or an error. A list's missing files are passed over, as kubectl does.
    Named(String, Vec<PathBuf>),
    /// `~/.kube/config`, which is there.
    Home(PathBuf),
    /// Only the service account of a pod.
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

/// Reads it all.
///
/// # Errors
/// Wrong usage, and which file it is about. A kubeconfig that was named and cannot be used is never passed over in favour of
/// another cluster's.
pub(super) async fn load(access: &Access) -> anyhow::Result<Loaded> {
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
        return Err(refusal(&place, "it has no current-context; name one with --context"));
    };
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let proxy = proxy_of(&kubeconfig, &context);
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| refusal(&format!("{place}, context {context}"), &chain(&error)))?;
    config.proxy_url = proxy_env::proxy(&config.cluster_url, proxy.as_deref())
        .map_err(|why| refusal(&format!("{place}, context {context}"), &why))?;
    let token_file = credentials(&mut config.auth_info, &config.cluster_url)
        .map_err(|why| refusal(&format!("{place}, context {context}"), &why))?;
    Ok(Loaded { config, context: Some(context), token_file })
}

fn refusal(place: &str, why: &str) -> anyhow::Error {
    Refusal::usage(format!("{place}: {why}; nothing was changed"))
}

fn in_pod(access: &Access) -> anyhow::Result<Loaded> {
    if let Some(context) = &access.context {
        return Err(refusal(
            &format!("--context {context}"),
            "there is no kubeconfig; name one with --kubeconfig or KUBECONFIG",
        ));
    }
    let mut config = Config::incluster().map_err(|error| {
        Refusal::usage(format!(
            "no cluster configured: there is no kubeconfig, and no pod's service account ({}); set --kubeconfig or KUBECONFIG (on a control-plane node: /etc/kubernetes/admin.conf); nothing was changed",
            chain(&error)
        ))
    })?;
    // As client-go's rest.InClusterConfig: the environment's proxy counts there too.
    config.proxy_url = proxy_env::proxy(&config.cluster_url, None).map_err(|why| refusal("the environment", &why))?;
    let token_file = credentials(&mut config.auth_info, &config.cluster_url)
        .map_err(|why| refusal("the pod's service account", &why))?;
    Ok(Loaded { config, context: None, token_file })
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
    merged.ok_or_else(|| "there is no such file".to_owned())
}

/// `proxy-url` of the context's cluster.
fn proxy_of(kubeconfig: &Kubeconfig, context: &str) -> Option<String> {
    let context = kubeconfig.contexts.iter().find(|named| named.name == context)?.context.as_ref()?;
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster)?.cluster.as_ref()?;
    cluster.proxy_url.clone().filter(|url| !url.is_empty())
}

/// Refuses what is not supported, settles what is left to the terminal, and takes the token's file for itself. In the order of
/// client-go (`transport/round_trippers.go`, `rest/transport.go`): a token's file counts before a token, and both before a plugin;
/// what is empty is not there.
fn credentials(auth: &mut AuthInfo, server: &Uri) -> Result<Option<PathBuf>, String> {
    let is_there = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if let Some(provider) = &auth.auth_provider {
        return Err(format!(
            "auth-provider {:?} is not supported: use an exec credential plugin instead \
             (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins)",
            foreign(&provider.name)
        ));
    }
    if is_there(&auth.username) || auth.password.as_ref().is_some_and(|password| !password.expose_secret().is_empty()) {
        return Err("username and password are not supported: Kubernetes has had no basic authentication since 1.19; \
                    use a token, a client certificate or an exec credential plugin"
            .to_owned());
    }
    auth.username = None;
    auth.password = None;
    // kubectl sends no credentials where nothing protects them (clientcmd's ClientConfig, rest.IsConfigTransportTLS).
    if server.scheme_str() != Some("https") {
        let impersonate = auth.impersonate.take();
        if auth.token.is_some() || auth.token_file.is_some() || auth.exec.is_some() {
            say(&format!("warning: {server} is reached without TLS: no credentials are sent"));
        }
        *auth = AuthInfo { impersonate, ..AuthInfo::default() };
        return Ok(None);
    }
    auth.token = auth.token.take().filter(|token| !token.expose_secret().is_empty());
    let file = auth.token_file.take().filter(|file| !file.is_empty()).map(|file| Path::new(&file).to_owned());
    if file.is_some() {
        auth.token = None;
    }
    if let Some(token) = &auth.token
        && HeaderValue::try_from(token.expose_secret()).is_err()
    {
        return Err("the token is not one line of printable characters".to_owned());
    }
    if file.is_some() || auth.token.is_some() {
        auth.exec = None;
    }
    let Some(exec) = &mut auth.exec else { return Ok(file) };
    let command = foreign(exec.command.as_deref().unwrap_or_default());
    let interactive = match exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !std::io::stdin().is_terminal() => {
            return Err(format!(
                "the credential plugin {command} has interactiveMode Always, and standard input is no terminal"
            ));
        }
        Some(ExecInteractiveMode::Always) => true,
        None if exec.api_version.as_deref().is_some_and(|version| version.ends_with("/v1")) => {
            return Err(format!(
                "the credential plugin {command} has no interactiveMode, which its apiVersion v1 requires"
            ));
        }
        // IfAvailable is v1beta1's default (client-go, plugin/pkg/client/auth/exec).
        Some(ExecInteractiveMode::IfAvailable) | None => std::io::stdin().is_terminal(),
    };
    exec.interactive_mode = Some(if interactive { ExecInteractiveMode::Always } else { ExecInteractiveMode::Never });
    exec.drop_env.get_or_insert_default().extend(VARIABLES.map(str::to_owned));
    Ok(None)
}
