//! Listed objects without their `managedFields`, which are large and not needed in a list.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::core::Object;
use serde::Deserialize;

/// The annotation with the kubelet's id of a static pod, used instead of the UID of its mirror pod
/// (`ConfigHashAnnotationKey`, pkg/kubelet/types/constants.go).
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// The annotation with the time at which kpx-prep parked kube-proxy's `DaemonSet`.
pub const PARKED_AT: &str = "kpx-prep/parked-at";

/// An object as read from a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Raw<P, U>", bound(deserialize = "P: Deserialize<'de> + Default, U: Deserialize<'de>"))]
pub struct Listed<P, U>(pub Object<P, U>)
where
    P: Clone,
    U: Clone;

#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de> + Default, U: Deserialize<'de>"))]
struct Raw<P, U> {
    metadata: Metadata,
    #[serde(default)]
    spec: P,
    status: Option<U>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<OwnerReference>>,
}

/// Only the annotations that are needed; they may be long.
#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.hash")]
    config_hash: Option<String>,
    #[serde(rename = "kpx-prep/parked-at")]
    parked_at: Option<String>,
}

impl Annotations {
    fn by_name(self) -> Option<BTreeMap<String, String>> {
        let all = [(CONFIG_HASH, self.config_hash), (PARKED_AT, self.parked_at)];
        let given: BTreeMap<_, _> =
            all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(given)
    }
}

impl<P: Clone, U: Clone> From<Raw<P, U>> for Listed<P, U> {
    fn from(raw: Raw<P, U>) -> Self {
        let metadata = ObjectMeta {
            name: raw.metadata.name,
            namespace: raw.metadata.namespace,
            uid: raw.metadata.uid,
            resource_version: raw.metadata.resource_version,
            generation: raw.metadata.generation,
            creation_timestamp: raw.metadata.creation_timestamp,
            deletion_timestamp: raw.metadata.deletion_timestamp,
            labels: raw.metadata.labels,
            annotations: raw.metadata.annotations.and_then(Annotations::by_name),
            owner_references: raw.metadata.owner_references,
            ..ObjectMeta::default()
        };
        Self(Object { types: None, metadata, spec: raw.spec, status: raw.status })
    }
}
