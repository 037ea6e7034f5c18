//! The one write of parking: kube-proxy's `DaemonSet` gets the selector, or loses it.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::cluster::api::calls::{self, pause_after};
use crate::cluster::api::errors::{is_transient, plain};
use crate::cluster::api::listed::PARKED_AT;
use crate::cluster::api::lock::guard::{Guard, Unwritten};
use crate::cluster::api::objects::{self, DaemonSet};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::parking::{LABEL, VALUE};

/// Limit for retries after another writer's change, such as the controller's of the status.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Parks a `DaemonSet`, or lets it run again. Returns whether it was changed.
///
/// # Errors
/// The reason; it was not changed then, unless the API server's answer was lost.
pub(super) async fn set_parked(
    client: &kube::Client,
    set: &KubeProxy,
    park: bool,
    guard: Guard<'_>,
) -> anyhow::Result<bool> {
    let api = Api::<DaemonSet>::namespaced_with(client.clone(), &set.namespace, &objects::daemon_sets());
    let what = format!("DaemonSet {}/{}", set.namespace, set.name);
    let verb = if park { "parking" } else { "letting run again" };
    let params = PatchParams { dry_run: guard.is_dry_run(), ..PatchParams::default() };
    for _ in 0..TRIES {
        let now = calls::get(&api, &set.name).await;
        let now = now.map_err(|error| anyhow::anyhow!("reading {what}: {}", plain(&error)))?;
        let Some(now) = now.filter(|now| now.uid().as_deref() == Some(&set.uid)) else {
            anyhow::bail!("{what} was deleted or replaced; {verb} it is not possible");
        };
        if now.spec.template.spec.node_selector.contains_key(LABEL) == park {
            return Ok(false);
        }
        if park && now.metadata.generation != Some(set.generation) {
            anyhow::bail!("{what} was changed by another writer while planning; it was not parked. Run again");
        }
        let mut patch = json!({
            "metadata": {"resourceVersion": now.resource_version()},
            "spec": {"template": {"spec": {"nodeSelector": {LABEL: park.then_some(VALUE)}}}},
        });
        if park {
            patch["metadata"]["annotations"] = json!({PARKED_AT: Timestamp::now().to_string()});
        }
        let patch = Patch::Merge(patch);
        match guard.once(async || api.patch(&set.name, &params, &patch).await).await {
            Ok(_) => return Ok(true),
            // Whether it was stored shows when it is read again.
            Err(Unwritten::Refused(error)) if is_transient(&error) => pause_after(&error, PAUSE).await,
            Err(error) if error.code() == Some(409) => {}
            Err(error) => anyhow::bail!("{verb} {what}: {error}"),
        }
    }
    anyhow::bail!("{verb} {what}: it was changed by another writer {TRIES} times in a row")
}

/// Removes the annotation, once kube-proxy is verified again.
///
/// # Errors
/// The reason.
pub(super) async fn forget(client: &kube::Client, set: &KubeProxy, guard: Guard<'_>) -> anyhow::Result<()> {
    let api = Api::<DaemonSet>::namespaced_with(client.clone(), &set.namespace, &objects::daemon_sets());
    let patch = Patch::Merge(json!({"metadata": {"uid": set.uid, "annotations": {PARKED_AT: null}}}));
    let patched = guard.write(async || api.patch(&set.name, &PatchParams::default(), &patch).await).await;
    let what = format!("removing the annotation {PARKED_AT} of DaemonSet {}/{}", set.namespace, set.name);
    patched.map(|_| ()).map_err(|error| anyhow::anyhow!("{what}: {error}"))
}
