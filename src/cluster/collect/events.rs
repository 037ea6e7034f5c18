//! The Events of kube-proxy's objects, and of the nodes.

use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::cluster::api::calls::retried;
use crate::cluster::api::errors::plain;
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::report::foreign::shortened;

/// Events per page, and pages: the API server keeps Events for an hour, and a busy cluster has many.
const PAGE: u32 = 500;
const PAGES: usize = 20;
/// Events that are kept: the last ones.
const KEPT: usize = 1000;
/// Events of nodes are in this namespace.
const OF_NODES: &str = "default";

/// The Events, oldest first.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn read(client: &kube::Client, kube_proxy: &KubeProxy) -> anyhow::Result<Value> {
    let names: Vec<_> = kube_proxy.names();
    // Those of pods are named after the DaemonSet; those of the helper carry kpx-prep's name.
    let is_ours = |event: &Event| {
        let name = event.involved_object.name.as_deref().unwrap_or_default();
        name.starts_with("kpx-prep") || names.iter().any(|set| name.starts_with(set.as_str()))
    };
    let mut events = list(client, &kube_proxy.namespace, &ListParams::default(), is_ours).await?;
    let of_nodes = ListParams::default().fields("involvedObject.kind=Node");
    events.extend(list(client, OF_NODES, &of_nodes, |_| true).await?);
    events.sort_by_key(last_time);
    let first = events.len().saturating_sub(KEPT);
    Ok(events[first..].iter().map(shown).collect())
}

async fn list(
    client: &kube::Client,
    namespace: &str,
    params: &ListParams,
    keep: impl Fn(&Event) -> bool,
) -> anyhow::Result<Vec<Event>> {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let mut events = Vec::new();
    let mut params = params.clone().limit(PAGE);
    for _ in 0..PAGES {
        let page = retried(|| api.list(&params)).await;
        let page = page.map_err(|error| anyhow::anyhow!("listing the Events in {namespace}: {}", plain(&error)))?;
        events.extend(page.items.into_iter().filter(|event| keep(event)));
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            break;
        }
    }
    Ok(events)
}

/// When it happened last, in milliseconds since 1970; old and new Events say it in different fields.
fn last_time(event: &Event) -> i64 {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|time| time.0.as_millisecond());
    let last = event.last_timestamp.as_ref().or(event.metadata.creation_timestamp.as_ref());
    micro.into_iter().chain(last.map(|time| time.0.as_millisecond())).max().unwrap_or(0)
}

fn shown(event: &Event) -> Value {
    let object = &event.involved_object;
    let text = |text: Option<&String>| shortened(text.map_or("", String::as_str), 1024);
    let source = event.source.as_ref().and_then(|source| source.component.as_ref());
    let time = jiff::Timestamp::from_millisecond(last_time(event)).map(|time| time.to_string()).unwrap_or_default();
    json!({
        "time": time,
        "type": text(event.type_.as_ref()),
        "reason": text(event.reason.as_ref()),
        "object": format!("{}/{}", text(object.kind.as_ref()), text(object.name.as_ref())),
        "count": event.count.unwrap_or(1),
        "source": text(source.or(event.reporting_component.as_ref()).filter(|source| !source.is_empty())),
        "message": text(event.message.as_ref()),
    })
}
