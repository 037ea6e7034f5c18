//! A kubeconfig's exec credential plugin, run as client-go runs it (`plugin/pkg/client/auth/exec`), but with a timeout and
//! an output limit. Its output is a secret and never shown; its standard error is shown escaped.
//!
//! It runs once at the start, and again when its credentials have expired or the API server does not accept them any more.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use kube::{Client, Config};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::boot_clock::BootInstant;
use crate::bounded_command;
use crate::bounded_command::limits::Limits;
use crate::cluster::api::errors::plain;
use crate::cluster::api::patience::patiently;
use crate::kubeadm::secret::VARIABLES;
use crate::report::foreign::{foreign, visible};
use crate::report::say::{say, say_part};

/// For a non-interactive plugin, which calls a cloud's API or waits for a login elsewhere.
const ALONE: Limits = Limits { time: Duration::from_secs(180), bytes: 1 << 20 };
/// For a plugin that prompts the user at the terminal.
const WITH_PERSON: Limits = Limits { time: Duration::from_secs(600), bytes: 1 << 20 };
/// How long before its expiry a credential is renewed.
const BEFORE: Duration = Duration::from_secs(10);
/// Minimum interval between runs of a plugin whose credentials have already expired.
const NOT_SOONER: Duration = Duration::from_secs(10);

/// The plugin's credentials, of one kind or both.
struct Credential {
    header: Option<HeaderValue>,
    certificate: Option<(String, SecretString)>,
    expires: Option<Timestamp>,
}

/// A plugin and its latest credentials.
pub(super) struct Plugin {
    exec: ExecConfig,
    /// The configuration of new clients for new certificates.
    config: Config,
    given: Mutex<Given>,
}

struct Given {
    client: Client,
    header: Option<HeaderValue>,
    expires: Option<Timestamp>,
    refused: bool,
    ran: BootInstant,
}

/// The plugin's output. Without `Debug`, which would print it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    kind: Option<String>,
    api_version: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// The content of `KUBERNETES_EXEC_INFO`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecInfo<'a> {
    kind: &'static str,
    api_version: Option<&'a str>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a ExecAuthCluster>,
    interactive: bool,
}

impl Plugin {
    /// Runs the plugin and creates a client with its credentials. `exec`: with `interactiveMode` resolved to `Always`
    /// or `Never`.
    ///
    /// # Errors
    /// If the plugin fails; the message contains its name but never its output.
    pub(super) async fn start(exec: ExecConfig, config: Config) -> Result<Self, String> {
        let credential = run(&exec).await?;
        let client = client_with(&config, credential.certificate.as_ref())?;
        let (header, expires) = (credential.header, credential.expires);
        let given = Given { client, header, expires, refused: false, ran: BootInstant::now() };
        Ok(Self { exec, config, given: Mutex::new(given) })
    }

    /// The client and the header to use; runs the plugin again if they have expired or were refused.
    ///
    /// # Errors
    /// As [`Plugin::start`].
    pub(super) async fn current(&self) -> Result<(Client, Option<HeaderValue>), String> {
        let mut given = self.given.lock().await;
        let soon = Timestamp::now() + BEFORE;
        let is_over = given.refused || given.expires.is_some_and(|expires| expires <= soon);
        if is_over && given.ran.elapsed() >= NOT_SOONER {
            let credential = run(&self.exec).await?;
            if credential.certificate.is_some() {
                given.client = client_with(&self.config, credential.certificate.as_ref())?;
            }
            given.header = credential.header;
            given.expires = credential.expires;
            (given.refused, given.ran) = (false, BootInstant::now());
        }
        Ok((given.client.clone(), given.header.clone()))
    }

    /// The API server answered 401: the next request gets new credentials.
    pub(super) async fn refused(&self) {
        self.given.lock().await.refused = true;
    }
}

/// A client with the plugin's certificate, if there is one.
fn client_with(config: &Config, certificate: Option<&(String, SecretString)>) -> Result<Client, String> {
    let mut config = config.clone();
    if let Some((certificate, key)) = certificate {
        let auth = &mut config.auth_info;
        (auth.client_certificate, auth.client_key) = (None, None);
        auth.client_certificate_data = Some(base64(certificate));
        auth.client_key_data = Some(base64(secrecy::ExposeSecret::expose_secret(key)).into());
    }
    Client::try_from(config).map_err(|error| plain(&error))
}

/// The encoding in which kube expects certificates.
fn base64(text: &str) -> String {
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_value(bytes).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

async fn run(exec: &ExecConfig) -> Result<Credential, String> {
    let name = foreign(exec.command.as_deref().unwrap_or_default());
    let failed = |why: String| format!("the credential plugin {name} {why}");
    let (exec, asks) = (exec.clone(), exec.interactive_mode != Some(ExecInteractiveMode::Never));
    let limits = if asks { WITH_PERSON } else { ALONE };
    let again = exec.clone();
    let running = tokio::task::spawn_blocking(move || printed(&exec, asks, limits));
    let ended = patiently("the credential plugin", Some(limits.time), running).await;
    let text = ended.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    credential(&text, again.api_version.as_deref()).map_err(failed)
}

/// Runs it and returns its standard output.
fn printed(exec: &ExecConfig, asks: bool, limits: Limits) -> Result<SecretString, String> {
    let program = exec.command.as_deref().filter(|command| !command.is_empty()).ok_or("has no command")?;
    let mut command = Command::new(program);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    let cluster = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info);
    let spec = Spec { cluster, interactive: asks };
    let told = ExecInfo { kind: "ExecCredential", api_version: exec.api_version.as_deref(), spec };
    let told =
        serde_json::to_string(&told).map_err(|error| format!("could not get the cluster information: {error}"))?;
    command.env("KUBERNETES_EXEC_INFO", told);
    for name in VARIABLES {
        command.env_remove(name);
    }
    let mut text = String::new();
    let mut heard = Heard { asks, rest: Vec::new() };
    let mut each = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    let ended = bounded_command::run_for_operator(command, asks, limits, &mut each, &mut |bytes| heard.add(bytes));
    heard.end();
    let ended = ended.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let hint = exec.install_hint.as_deref().map(|hint| format!(": {}", foreign(hint))).unwrap_or_default();
            format!("was not found{hint}")
        }
        _ => format!("failed: {error}"),
    })?;
    if ended.status.success() {
        return Ok(text.into());
    }
    let last = ended.stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let why = if last.is_empty() { String::new() } else { format!(": {}", foreign(last)) };
    Err(format!("failed ({}){why}", ended.status))
}

/// Forwards its standard error escaped and without partial characters. For an interactive plugin each part as it arrives, as
/// a prompt has no line end; otherwise whole lines with a prefix.
struct Heard {
    asks: bool,
    rest: Vec<u8>,
}

impl Heard {
    fn add(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let whole = if self.asks {
            // A character has at most four bytes; the rest of an incomplete one is still to come.
            match std::str::from_utf8(&self.rest) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.rest.len(),
            }
        } else {
            self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
        };
        let rest = self.rest.split_off(whole);
        let text = std::mem::replace(&mut self.rest, rest);
        self.say(&String::from_utf8_lossy(&text));
    }

    fn end(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.say(&String::from_utf8_lossy(&rest));
    }

    fn say(&self, text: &str) {
        if text.is_empty() {
        } else if self.asks {
            say_part(&visible(text));
        } else {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                say(&format!("credential plugin: {}", foreign(line)));
            }
        }
    }
}

/// Parses its output: JSON, or YAML, which client-go accepts too.
fn credential(text: &SecretString, api_version: Option<&str>) -> Result<Credential, String> {
    let text = secrecy::ExposeSecret::expose_secret(text);
    // The parsers' messages contain their input.
    let printed = serde_json::from_str(text)
        .ok()
        .or_else(|| serde_yaml::from_str(text).ok())
        .filter(|printed: &Printed| printed.kind.as_deref() == Some("ExecCredential"))
        .ok_or("did not print an ExecCredential")?;
    if printed.api_version.as_deref() != api_version {
        return Err(format!(
            "printed an ExecCredential of {1} instead of {0}",
            foreign(api_version.unwrap_or("no version")),
            foreign(printed.api_version.as_deref().unwrap_or("no version"))
        ));
    }
    let status = printed.status.ok_or("printed no status")?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let certificate = match (filled(status.client_certificate_data), filled(status.client_key_data)) {
        (Some(certificate), Some(key)) => Some((certificate, key.into())),
        (None, None) => None,
        _ => return Err("printed only one of certificate and key".to_owned()),
    };
    let token = filled(status.token);
    if token.is_none() && certificate.is_none() {
        return Err("printed neither a token nor a certificate".to_owned());
    }
    let header = token.map(|token| {
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        header.map(|mut header| {
            header.set_sensitive(true);
            header
        })
    });
    let header = header.transpose().map_err(|_| "printed a token that is not one line of printable characters")?;
    let expires = filled(status.expiration_timestamp).map(|at| at.parse::<Timestamp>()).transpose();
    let expires = expires.map_err(|_| "printed an expirationTimestamp that is not an RFC 3339 time")?;
    Ok(Credential { header, certificate, expires })
}

#[cfg(test)]
mod tests;
