//! Parking kube-proxy: a nodeSelector in its `DaemonSet` that no node fits. Its pods end; the `DaemonSet` and its `ConfigMap`
//! stay, so that removing the selector brings everything back.

use kube::ResourceExt as _;

use crate::cluster::api::listed::PARKED_AT;
use crate::cluster::api::objects::DaemonSet;
use crate::cluster::api::pod_objects::Container;
use crate::report::foreign::foreign;

/// The label of the nodeSelector: kpx-prep's own, and no node's.
pub const LABEL: &str = "kpx-prep/parked";
/// Its value.
pub const VALUE: &str = "true";

/// A parked `DaemonSet`, or one that runs again and is not verified yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// Whether it has the selector. Without it, a rollback removed that and did not come to its end.
    pub selects: bool,
    /// Since when, by the clock of the run that parked it; empty if that is not recorded.
    pub since: String,
    /// How its nodes get its image: `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// The Secrets with which it is pulled.
    pub pull_secrets: Vec<String>,
}

/// Whether kpx-prep parked it; the annotation is removed when kube-proxy is verified again.
pub(super) fn parked(set: &DaemonSet, container: &Container) -> Option<Parked> {
    let template = &set.spec.template.spec;
    let (selects, since) = (template.node_selector.contains_key(LABEL), set.annotations().get(PARKED_AT));
    (selects || since.is_some()).then(|| Parked {
        selects,
        since: foreign(since.map_or("", String::as_str)),
        pull_policy: container.image_pull_policy.clone(),
        pull_secrets: template.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
    })
}
