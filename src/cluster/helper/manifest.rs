//! What the helper's `DaemonSet` looks like. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
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

/// How the helper is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its image.
    pub image: Image,
    /// Whether its container is privileged, instead of holding only [`CAPABILITIES`].
    pub privileged: bool,
}

/// What the helper's container may do, and what for.
pub const CAPABILITIES: [(&str, &str); 5] = [
    ("SYS_MODULE", "load kernel modules"),
    ("SYS_CHROOT", "run the host's modprobe, and the programs of kube-proxy's container"),
    ("NET_ADMIN", "read and change firewall rules, ipsets, IPVS, links and routes"),
    ("NET_RAW", "read and change firewall rules (iptables-legacy)"),
    ("SYS_PTRACE", "tell kube-proxy's process from others, and enter its file tree"),
];

/// The memory that it may use: reading the rules of 10,000 Services, with the programs that print them, fits in.
const MEMORY: &str = "1Gi";
/// Kubernetes has a field for AppArmor from this minor version on, an annotation before (KEP-24).
const APP_ARMOR_FIELD: u32 = 30;

/// The `DaemonSet`, for a namespace, on a Kubernetes of this minor version; it does not outlive `owner`.
///
/// # Panics
/// Never: it is an object of constants and two names.
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

/// What makes the one with this UID stay, and prepare nodes that join for ipvs so that they fit these options, if any; a
/// strategic merge patch.
pub fn kept(uid: &str, needs: Option<&[&str]>) -> Value {
    let mut patch = json!({"metadata": {"uid": uid, "annotations": {KEPT: "true"}, "ownerReferences": null}});
    if let Some(needs) = needs {
        let command = [&[PROGRAM, "node", "helper", "--prepare"][..], needs, &["--root", HOST]].concat();
        patch["spec"] = json!({"template": {"spec": {"containers": [{"name": CONTAINER, "command": command}]}}});
    }
    patch
}

/// What the container may do on its host. AppArmor's default profile forbids to read what unconfined processes are, and
/// `SELinux`' containers may not touch the host's files, so it runs in neither; both are as for kube-proxy, which is privileged.
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
