//! The manifest of the helper's `DaemonSet`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::image::{DEFAULT_NAME, PROGRAM};

/// The `DaemonSet`'s name.
pub const NAME: &str = "kpx-prep-node";
/// The container's name.
pub const CONTAINER: &str = "kpx-prep";
/// The label of all objects created by kpx-prep.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kpx-prep");
/// The label of the helper's pods.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", NAME);
/// The annotation that identifies the spec of an existing helper.
pub const SPEC_HASH: &str = "kpx-prep/spec-hash";
/// The annotation of a helper that is kept after the run.
pub const KEPT: &str = "kpx-prep/kept";
/// The mount point of the node's root file system in the container.
pub const HOST: &str = "/host";

/// The helper's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name.
    pub reference: String,
    /// Whether the kubelet may pull it from a registry.
    pub pull: bool,
}

impl Image {
    /// The image of that name, or the one that `kpx-prep image` creates, which is in no registry.
    pub fn new(name: Option<&str>) -> Self {
        Self { reference: name.unwrap_or(DEFAULT_NAME).to_owned(), pull: name.is_some() }
    }
}

/// The helper's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its image.
    pub image: Image,
    /// Whether its container is privileged, instead of having only [`CAPABILITIES`].
    pub privileged: bool,
}

/// The capabilities of the helper's container, and their purpose.
pub const CAPABILITIES: [(&str, &str); 5] = [
    ("SYS_MODULE", "load kernel modules"),
    ("SYS_CHROOT", "run the host's modprobe, and the programs of kube-proxy's container"),
    ("NET_ADMIN", "read and change firewall rules, ipsets, IPVS, links and routes"),
    ("NET_RAW", "read and change firewall rules (iptables-legacy)"),
    ("SYS_PTRACE", "identify kube-proxy's process, and enter its root file system"),
];

/// Memory limit: sufficient for reading the rules of 10,000 Services, including the programs that print them.
const MEMORY: &str = "1Gi";
/// The first minor version with a field for AppArmor instead of an annotation (KEP-24).
const APP_ARMOR_FIELD: u32 = 30;

/// The `DaemonSet` for a namespace and a minor version of Kubernetes; it is garbage-collected with `owner`.
///
/// # Panics
/// Never: it consists of constants and two names.
pub fn daemon_set(namespace: &str, setup: &Setup, minor: u32, owner: Option<&OwnerReference>) -> DynamicObject {
    let spec = spec(setup, minor);
    let hash: String = Sha256::digest(spec.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": NAME, "namespace": namespace,
            "labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1},
            "annotations": {SPEC_HASH: hash},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": spec,
    });
    serde_json::from_value(set).expect("an object of constants is valid")
}

/// A strategic merge patch that keeps the helper with this UID after the run and, with options, makes it prepare nodes that
/// join later.
pub fn kept(uid: &str, needs: Option<&[&str]>) -> Value {
    let mut patch = json!({"metadata": {"uid": uid, "annotations": {KEPT: "true"}, "ownerReferences": null}});
    if let Some(needs) = needs {
        let command = [&[PROGRAM, "node", "helper", "--prepare"][..], needs, &["--root", HOST]].concat();
        patch["spec"] = json!({"template": {"spec": {"containers": [{"name": CONTAINER, "command": command}]}}});
    }
    patch
}

/// The container's security context. AppArmor's default profile forbids reading the state of unconfined processes, and
/// `SELinux` containers may not access the host's files, so it is confined by neither; the same applies to kube-proxy, which
/// is privileged.
fn security(setup: &Setup, minor: u32) -> Value {
    if setup.privileged {
        return json!({"privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true});
    }
    let capabilities: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    let mut security = json!({
        "privileged": false, "allowPrivilegeEscalation": false, "runAsUser": 0, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": capabilities},
        "seccompProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": {"type": "spc_t"},
    });
    if minor >= APP_ARMOR_FIELD {
        security["appArmorProfile"] = json!({"type": "Unconfined"});
    }
    security
}

fn spec(setup: &Setup, minor: u32) -> Value {
    let image = &setup.image;
    let app_armor = format!("container.apparmor.security.beta.kubernetes.io/{CONTAINER}");
    let annotations =
        if setup.privileged || minor >= APP_ARMOR_FIELD { json!({}) } else { json!({app_armor: "unconfined"}) };
    json!({
        "selector": {"matchLabels": {POD_LABEL.0: POD_LABEL.1}},
        "template": {
            "metadata": {"labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1}, "annotations": annotations},
            "spec": {
                "hostNetwork": true,
                "dnsPolicy": "Default",
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "priorityClassName": "system-node-critical",
                // As for kube-proxy: it tolerates all taints.
                "tolerations": [{"operator": "Exists"}],
                "nodeSelector": {"kubernetes.io/os": "linux"},
                // It only waits for commands, so no graceful termination is needed.
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": CONTAINER,
                    "image": image.reference,
                    "imagePullPolicy": if image.pull { "IfNotPresent" } else { "Never" },
                    "command": [PROGRAM, "node", "helper"],
                    "securityContext": security(setup, minor),
                    "resources": {"requests": {"cpu": "5m", "memory": "10Mi"}, "limits": {"memory": MEMORY}},
                    "volumeMounts": [{"name": "host", "mountPath": HOST}],
                }],
                "volumes": [{"name": "host", "hostPath": {"path": "/", "type": "Directory"}}],
            },
        },
        "updateStrategy": {"type": "OnDelete"},
    })
}
