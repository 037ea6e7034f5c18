//! What the helper's `DaemonSet` looks like. Pure.

use kube::api::DynamicObject;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::image::{DEFAULT_NAME, PROGRAM};

/// The `DaemonSet`'s name.
pub const NAME: &str = "kpx-prep-node";
/// The container's name.
pub const CONTAINER: &str = "kpx-prep";
/// The label of all that kpx-prep makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kpx-prep");
/// The label of the helper's pods.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", NAME);
/// The annotation that tells whether a helper that is there is the one that is wanted.
pub const SPEC_HASH: &str = "kpx-prep/spec-hash";
/// The annotation of a helper that is to stay after the run.
pub const KEPT: &str = "kpx-prep/kept";
/// Where the node's own file tree is in the container.
pub const HOST: &str = "/host";

/// The helper's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub reference: String,
    /// Whether the kubelet may ask a registry for it.
    pub pull: bool,
}

impl Image {
    /// The image of that name, or the one that `kpx-prep image` makes, which no registry has.
    pub fn new(name: Option<&str>) -> Self {
        Self { reference: name.unwrap_or(DEFAULT_NAME).to_owned(), pull: name.is_some() }
    }
}

/// The `DaemonSet`, for a namespace.
///
/// # Panics
/// Never: it is an object of constants and two names.
pub fn daemon_set(namespace: &str, image: &Image) -> DynamicObject {
    let spec = spec(image);
    let hash: String = Sha256::digest(spec.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": NAME, "namespace": namespace,
            "labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1},
            "annotations": {SPEC_HASH: hash},
        },
        "spec": spec,
    });
    serde_json::from_value(set).expect("an object of constants is valid")
}

/// What makes it stay, and prepare nodes that join for ipvs with this scheduler, if any; a strategic merge patch.
pub fn kept(scheduler: Option<&str>) -> Value {
    let mut patch = json!({"metadata": {"annotations": {KEPT: "true"}}});
    if let Some(scheduler) = scheduler {
        let command = json!([PROGRAM, "node", "helper", "--prepare", "--scheduler", scheduler, "--root", HOST]);
        patch["spec"] = json!({"template": {"spec": {"containers": [{"name": CONTAINER, "command": command}]}}});
    }
    patch
}

fn spec(image: &Image) -> Value {
    json!({
        "selector": {"matchLabels": {POD_LABEL.0: POD_LABEL.1}},
        "template": {
            "metadata": {"labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1}},
            "spec": {
                "hostNetwork": true,
                "dnsPolicy": "Default",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "priorityClassName": "system-node-critical",
                // As kube-proxy's own: no taint keeps it away.
                "tolerations": [{"operator": "Exists"}],
                "nodeSelector": {"kubernetes.io/os": "linux"},
                // It only waits for commands: there is nothing to end gracefully.
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": CONTAINER,
                    "image": image.reference,
                    "imagePullPolicy": if image.pull { "IfNotPresent" } else { "Never" },
                    "command": [PROGRAM, "node", "helper"],
                    // Loading modules, netfilter, IPVS and a chroot each want a right of their own; kube-proxy beside
                    // it has the same.
                    "securityContext": {"privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true},
                    "resources": {"requests": {"cpu": "5m", "memory": "10Mi"}},
                    "volumeMounts": [{"name": "host", "mountPath": HOST}],
                }],
                "volumes": [{"name": "host", "hostPath": {"path": "/", "type": "Directory"}}],
            },
        },
        "updateStrategy": {"type": "OnDelete"},
    })
}
