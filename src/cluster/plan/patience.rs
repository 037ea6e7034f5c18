//! How long a new kube-proxy may take to be verified, if the operator does not say it; how long replacing all of them takes. Pure.

use std::time::Duration;

use super::Plan;
use super::request::Request;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::surroundings::Surroundings;

/// For the new pod to start and to answer, and for a first sync of a small cluster.
pub const BASE: Duration = Duration::from_secs(300);
/// What a port of a Service adds to a first sync: 16 min 43 s for 44,125 Services (kubernetes/kubernetes#139513).
const PER_PORT: Duration = Duration::from_millis(23);
/// What an endpoint adds: 13 min 15 s for 250,011 endpoints (kubernetes/kubernetes#135639).
const PER_ENDPOINT: Duration = Duration::from_micros(3_200);
/// These were measured on one kind of machine each.
const MARGIN: u32 = 2;

/// The longest sync that is believed: kube-proxy's metrics are foreign.
const LONGEST_SYNC: f64 = 3600.0;

/// The default of `--timeout` in a cluster: 5 min, and twice what its first sync takes: by the slowest public reports, or as long as
/// a full sync takes now on the slowest node, if that is more. A pod that is not in the host network counts as one endpoint. In
/// whole minutes.
pub fn default_timeout(facts: &ClusterFacts, surroundings: &Surroundings) -> Duration {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let ports = PER_PORT.saturating_mul(number(surroundings.services.ports.len()));
    let endpoints = PER_ENDPOINT.saturating_mul(number(surroundings.endpoints));
    let sync = ports.saturating_add(endpoints).max(slowest_sync(facts));
    let timeout = BASE.saturating_add(sync.saturating_mul(MARGIN));
    Duration::from_secs(timeout.as_secs() / 60 * 60)
}

fn slowest_sync(facts: &ClusterFacts) -> Duration {
    let syncs = facts.nodes.iter().filter_map(|node| node.proof.sync?.full_sync_seconds);
    Duration::from_secs_f64(syncs.fold(0.0, f64::max).min(LONGEST_SYNC))
}

/// About how long it takes to replace the pods of a plan, or of a leg of one: what the present ones took from being created to being
/// started (the median of those that were never restarted; at most the timeout) and a full sync for each, as many at a time as
/// planned; and the times that the operator chose to wait. `None` if there is none to replace, or no pod tells. Preparing, cleaning
/// and draining are not in it.
pub fn estimate(facts: &ClusterFacts, plan: &Plan, request: &Request) -> Option<Duration> {
    plan.canary.as_ref()?;
    let pods = facts.nodes.iter().filter_map(|node| node.pod.as_ref());
    let times = pods
        .filter(|pod| pod.restarts == 0)
        .filter_map(|pod| u64::try_from(pod.started?.checked_sub(pod.created)?).ok());
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    let start = Duration::from_secs(*times.get(times.len() / 2)?).min(plan.timeout);
    let each = start.saturating_add(slowest_sync(facts));
    let waves = u32::try_from(plan.batches.len()).unwrap_or(u32::MAX);
    let others = each.saturating_add(request.batch_pause).saturating_mul(waves);
    Some(each.saturating_add(request.settle).saturating_add(others))
}
