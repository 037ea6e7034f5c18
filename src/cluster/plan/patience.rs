//! How long a new kube-proxy may take to be verified, if the operator does not say it. Pure.

use std::time::Duration;

use crate::cluster::observe::surroundings::Surroundings;

/// For the new pod to start and to answer, and for a first sync of a small cluster.
pub const BASE: Duration = Duration::from_secs(300);
/// What a port of a Service adds to a first sync: 16 min 43 s for 44,125 Services (kubernetes/kubernetes#139513).
const PER_PORT: Duration = Duration::from_millis(23);
/// What an endpoint adds: 13 min 15 s for 250,011 endpoints (kubernetes/kubernetes#135639).
const PER_ENDPOINT: Duration = Duration::from_micros(3_200);
/// These were measured on one kind of machine each.
const MARGIN: u32 = 2;

/// The default of `--timeout` in a cluster: 5 min, and twice what its first sync takes by the slowest public reports. A pod
/// that is not in the host network counts as one endpoint. In whole minutes.
pub fn default_timeout(surroundings: &Surroundings) -> Duration {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let ports = PER_PORT.saturating_mul(number(surroundings.services.ports.len()));
    let endpoints = PER_ENDPOINT.saturating_mul(number(surroundings.endpoints));
    let timeout = BASE.saturating_add(ports.saturating_add(endpoints).saturating_mul(MARGIN));
    Duration::from_secs(timeout.as_secs() / 60 * 60)
}
