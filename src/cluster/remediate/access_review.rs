//! Access checks at the start of a run: whether this user has all permissions, and whether kube-proxy's namespace admits the
//! node helper.

use kube::Client;
use kube::api::{Api, ListParams};

use super::permissions::{self, Names, Permission};
use crate::cluster::api::calls;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::errors::{code, plain};
use crate::cluster::api::objects::{self, DaemonSet};
use crate::cluster::kube_proxy::daemon_set::find;
use crate::cluster::observe::Scope;
use crate::cluster::plan::checks::soften;
use crate::cluster::plan::request::Request;
use crate::report::{Finding, Level, finding};

/// The names of kube-proxy's objects, as far as this user may read them.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn names(connection: &Connection, scope: &Scope) -> anyhow::Result<Names> {
    let sets = Api::all_with(connection.client.clone(), &objects::daemon_sets());
    let found = match calls::list(&sets, &ListParams::default(), |set: DaemonSet| set).await {
        Ok(sets) => {
            find(&sets, scope.namespace.as_deref(), scope.daemon_set.as_deref()).ok().and_then(|found| found.kube_proxy)
        }
        Err(error) if code(&error) == Some(403) => None,
        Err(error) => {
            anyhow::bail!("listing the DaemonSets of {}: {}; nothing was changed", connection.server, plain(&error))
        }
    };
    let or = |named: &Option<String>, usual: &str| named.clone().unwrap_or_else(|| usual.to_owned());
    Ok(found.map_or_else(
        || Names {
            namespace: or(&scope.namespace, "kube-system"),
            daemon_sets: vec![or(&scope.daemon_set, "kube-proxy")],
        },
        |found| Names { daemon_sets: found.names(), namespace: found.namespace },
    ))
}

/// Missing permissions of this user, and restrictions of the namespace.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn rights(
    client: &Client,
    names: &Names,
    with_helper: bool,
    more: &[Permission],
    request: &Request,
) -> anyhow::Result<Vec<Finding>> {
    let missing = permissions::missing(client, names, with_helper, more).await.map_err(|error| {
        anyhow::anyhow!("checking the permissions of this user: {}; nothing was changed", plain(&error))
    })?;
    let mut checks = Vec::new();
    if !missing.is_empty() {
        let hint = "grant the permissions in kubeadm/remediate-rbac.yaml; https://kubernetes.io/docs/reference/access-authn-authz/rbac/";
        let message = format!("this user may not: {}", missing.join(", "));
        checks.push(finding(Level::Error, "permissions", message, hint));
    } else if with_helper && let Some(forbids) = permissions::pod_security(client, &names.namespace).await {
        let hint = "like kube-proxy, the node helper needs the host's network, files and modules; label the namespace with pod-security.kubernetes.io/enforce=privileged; https://kubernetes.io/docs/concepts/security/pod-security-admission/";
        checks.push(finding(Level::Error, "pod-security", forbids, hint));
    }
    soften(&mut checks, request);
    Ok(checks)
}
