//! The credentials of a kubeconfig's user, by kubectl's rules; unsupported kinds are refused by name.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Uri};
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use secrecy::ExposeSecret as _;

use crate::report::foreign::foreign;
use crate::report::say::say;

/// The source of credentials.
pub(super) enum Source {
    /// The client's configuration, which does not change: a token, a certificate, or nothing.
    Config,
    /// A file with a bearer token.
    TokenFile(PathBuf),
    /// An exec credential plugin, with `interactiveMode` resolved to `Always` or `Never`.
    Plugin(Box<ExecConfig>),
}

/// Refuses unsupported kinds, resolves `interactiveMode`, and removes credentials that may change. Priorities as in client-go
/// (`transport/round_trippers.go`, `rest/transport.go`): a token file before a token, and both before a plugin; empty values
/// are ignored.
///
/// # Errors
/// If something is not supported, or missing.
pub(super) fn credentials(auth: &mut AuthInfo, server: &Uri) -> Result<Source, String> {
    let is_there = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if let Some(provider) = &auth.auth_provider {
        return Err(format!(
            "auth-provider {:?} is not supported; use an exec credential plugin instead \
             (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins)",
            foreign(&provider.name)
        ));
    }
    if is_there(&auth.username) || auth.password.as_ref().is_some_and(|password| !password.expose_secret().is_empty()) {
        return Err("username and password are not supported: basic authentication was removed in Kubernetes 1.19; \
                     use a token, a client certificate or an exec credential plugin"
            .to_owned());
    }
    auth.username = None;
    auth.password = None;
    // kubectl sends no credentials without TLS (clientcmd's ClientConfig, rest.IsConfigTransportTLS).
    if server.scheme_str() != Some("https") {
        let impersonate = auth.impersonate.take();
        if auth.token.is_some() || auth.token_file.is_some() || auth.exec.is_some() {
            say(&format!("warning: connecting to {server} without TLS; no credentials are sent"));
        }
        *auth = AuthInfo { impersonate, ..AuthInfo::default() };
        return Ok(Source::Config);
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
    let plugin = auth.exec.take();
    if let Some(file) = file {
        return Ok(Source::TokenFile(file));
    }
    let Some(mut exec) = plugin.filter(|_| auth.token.is_none()) else { return Ok(Source::Config) };
    let command = foreign(exec.command.as_deref().unwrap_or_default());
    let interactive = match exec.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !std::io::stdin().is_terminal() => {
            return Err(format!(
                "the credential plugin {command} has interactiveMode Always, but standard input is not a terminal"
            ));
        }
        Some(ExecInteractiveMode::Always) => true,
        None if exec.api_version.as_deref().is_some_and(|version| version.ends_with("/v1")) => {
            return Err(format!(
                "the credential plugin {command} does not set interactiveMode, which apiVersion v1 requires"
            ));
        }
        // IfAvailable is v1beta1's default (client-go, plugin/pkg/client/auth/exec).
        Some(ExecInteractiveMode::IfAvailable) | None => std::io::stdin().is_terminal(),
    };
    exec.interactive_mode = Some(if interactive { ExecInteractiveMode::Always } else { ExecInteractiveMode::Never });
    Ok(Source::Plugin(Box::new(exec)))
}
