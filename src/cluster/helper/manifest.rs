//! The manifests of the helper's `DaemonSet`s. Pure.
//!
//! Its pods run kube-proxy's own image, which every node has, with the node program mounted from a `ConfigMap`; or an image with
//! kpx-prep in it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::groups::{Group, NAME};
use super::programs::{NodeProgram, hash};
use crate::image::{DEFAULT_NAME, PROGRAM};

/// Where the node program is mounted.
const MOUNT: &str = "/kpx-prep-node";
/// The node program in the container; also its key in the `ConfigMap`.
pub const NODE_PROGRAM: &str = "kpx-prep-node";
/// The container's name.
pub const CONTAINER: &str = "kpx-prep";
/// The label of all objects created by kpx-prep.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kpx-prep");
/// The label of the helper's pods.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", NAME);
/// The label that tells the pods of several `DaemonSet`s apart.
const SET_LABEL: &str = "kpx-prep/daemonset";
/// The lock of iptables-legacy. The container's own programs have to take the host's, as kube-proxy does: without it, two
/// writers of one table undo each other's changes.
const XTABLES_LOCK: &str = "/run/xtables.lock";
/// Everybody may read and run it (`r-xr-xr-x`).
const EXECUTABLE: u32 = 0o555;
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

/// Where the helper's program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From an image with kpx-prep in it.
    Image(Image),
    /// From a `ConfigMap`, into kube-proxy's image.
    Programs(Vec<NodeProgram>),
}

/// The helper's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its program.
    pub source: Source,
    /// Whether its container is privileged, instead of having only [`Setup::capabilities`].
    pub privileged: bool,
}

const CAPABILITIES: [(&str, &str); 5] = [
    ("SYS_MODULE", "load kernel modules"),
    ("SYS_CHROOT", "run the host's modprobe"),
    ("NET_ADMIN", "read and change firewall rules, ipsets, IPVS, links and routes"),
    ("NET_RAW", "read and change firewall rules (iptables-legacy)"),
    ("SYS_PTRACE", "identify kube-proxy's process, and enter its root file system"),
];

impl Setup {
    /// The capabilities of the helper's container, and their purpose. In kube-proxy's image there is no need to enter the
    /// root file system of its process.
    pub fn capabilities(&self) -> &'static [(&'static str, &'static str)] {
        match self.source {
            Source::Image(_) => &CAPABILITIES,
            Source::Programs(_) => CAPABILITIES.split_last().map_or(&[], |(_, others)| others),
        }
    }

    /// The program's command line in the container, without a command.
    pub fn program(&self) -> Vec<&'static str> {
        match self.source {
            Source::Image(_) => vec![PROGRAM, "node"],
            Source::Programs(_) => vec!["/kpx-prep-node/kpx-prep-node"],
        }
    }

    /// The options of every command that uses iptables, ipset or nft: in kube-proxy's image these are the container's own.
    pub fn tools(&self) -> &'static [&'static str] {
        match self.source {
            Source::Image(_) => &[],
            Source::Programs(_) => &["--tools", "/"],
        }
    }

    /// What its pods run, in a few words.
    pub fn describe(&self) -> String {
        match &self.source {
            Source::Image(image) => format!("image {}", image.reference),
            Source::Programs(_) => "kube-proxy's image, program from a ConfigMap".to_owned(),
        }
    }
}

/// What one `DaemonSet` runs.
#[derive(Clone, Copy, Debug)]
pub enum Runs<'a> {
    /// An image with kpx-prep in it, on every node.
    Image(&'a Image),
    /// The program of this `ConfigMap` in kube-proxy's image, on these nodes.
    Program(&'a Group, &'a str),
}

impl Runs<'_> {
    /// The `DaemonSet`'s name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image(_) => NAME,
            Self::Program(group, _) => group.name,
        }
    }
}

/// Memory limit: sufficient for reading the rules of 10,000 Services, including the programs that print them.
const MEMORY: &str = "1Gi";
/// The first minor version with a field for AppArmor instead of an annotation (KEP-24).
const APP_ARMOR_FIELD: u32 = 30;

/// The `DaemonSet` for a namespace and a minor version of Kubernetes; it is garbage-collected with `owner`.
///
/// # Panics
/// Never: it consists of constants and names.
pub fn daemon_set(
    namespace: &str,
    setup: &Setup,
    runs: Runs<'_>,
    minor: u32,
    owner: Option<&OwnerReference>,
) -> DynamicObject {
    let spec = spec(setup, runs, minor);
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": runs.name(), "namespace": namespace,
            "labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1},
            "annotations": {SPEC_HASH: &hash(spec.to_string().as_bytes())[..16]},
            "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
        },
        "spec": spec,
    });
    serde_json::from_value(set).expect("an object of constants is valid")
}

/// A strategic merge patch that keeps the helper with this UID after the run and, with options, makes it prepare nodes that
/// join later.
pub fn kept(setup: &Setup, uid: &str, needs: Option<&[&str]>) -> Value {
    let mut patch = json!({"metadata": {"uid": uid, "annotations": {KEPT: "true"}, "ownerReferences": null}});
    if let Some(needs) = needs {
        let command = [&setup.program(), &["helper", "--prepare"][..], needs, &["--root", HOST]].concat();
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
    let capabilities: Vec<&str> = setup.capabilities().iter().map(|(name, _)| *name).collect();
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

fn spec(setup: &Setup, runs: Runs<'_>, minor: u32) -> Value {
    let app_armor = format!("container.apparmor.security.beta.kubernetes.io/{CONTAINER}");
    let annotations =
        if setup.privileged || minor >= APP_ARMOR_FIELD { json!({}) } else { json!({app_armor: "unconfined"}) };
    let command = [&setup.program(), &["helper"][..]].concat();
    let mut container = json!({
        "name": CONTAINER,
        "command": command,
        "securityContext": security(setup, minor),
        "resources": {"requests": {"cpu": "5m", "memory": "10Mi"}, "limits": {"memory": MEMORY}},
        "volumeMounts": [{"name": "host", "mountPath": HOST}],
    });
    let mut pod = json!({
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
        "volumes": [{"name": "host", "hostPath": {"path": "/", "type": "Directory"}}],
    });
    match runs {
        Runs::Image(image) => {
            container["image"] = json!(image.reference);
            container["imagePullPolicy"] = json!(if image.pull { "IfNotPresent" } else { "Never" });
        }
        Runs::Program(group, config_map) => {
            container["image"] = json!(group.image.reference);
            if !group.image.pull_policy.is_empty() {
                container["imagePullPolicy"] = json!(group.image.pull_policy);
            }
            pod["imagePullSecrets"] = group.image.pull_secrets.iter().map(|name| json!({"name": name})).collect();
            pod["nodeSelector"]["kubernetes.io/arch"] = json!(group.architecture);
            pod["affinity"] = affinity(group);
            append(&mut container["volumeMounts"], json!({"name": "program", "mountPath": MOUNT, "readOnly": true}));
            append(&mut container["volumeMounts"], json!({"name": "lock", "mountPath": XTABLES_LOCK}));
            append(
                &mut pod["volumes"],
                json!({"name": "lock", "hostPath": {"path": XTABLES_LOCK, "type": "FileOrCreate"}}),
            );
            append(
                &mut pod["volumes"],
                json!({"name": "program", "configMap": {"name": config_map, "defaultMode": EXECUTABLE}}),
            );
        }
    }
    pod["containers"] = json!([container]);
    json!({
        "selector": {"matchLabels": {POD_LABEL.0: POD_LABEL.1, SET_LABEL: runs.name()}},
        "template": {
            "metadata": {
                "labels": {MANAGED_BY.0: MANAGED_BY.1, POD_LABEL.0: POD_LABEL.1, SET_LABEL: runs.name()},
                "annotations": annotations,
            },
            "spec": pod,
        },
        "updateStrategy": {"type": "OnDelete"},
    })
}

fn append(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// Which nodes it runs on, by their names. A field requirement has one value: terms are alternatives, what is in a term
/// holds together.
fn affinity(group: &Group) -> Value {
    let field = |operator: &str, name: &String| json!({"key": "metadata.name", "operator": operator, "values": [name]});
    let terms: Vec<Value> = if group.only.is_empty() {
        let except: Vec<Value> = group.except.iter().map(|name| field("NotIn", name)).collect();
        if except.is_empty() { Vec::new() } else { vec![json!({"matchFields": except})] }
    } else {
        group.only.iter().map(|name| json!({"matchFields": [field("In", name)]})).collect()
    };
    if terms.is_empty() {
        return Value::Null;
    }
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}
