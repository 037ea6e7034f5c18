//! What goes into Cluster API's objects so that their machines are prepared, and their cluster's kube-proxy runs the wanted
//! mode.
//!
//! Cluster API has no field for the mode (kubernetes-sigs/cluster-api issue 4512). It renders a machine's user-data from
//! `files`, `preKubeadmCommands` and the kubeadm config (`bootstrap/kubeadm/pkg/cloudinit`, `pkg/ignition` there). One script,
//! [`SCRIPT`], goes into `files`; the last of `preKubeadmCommands` runs it. It prepares the machine and, where `kubeadm init`
//! runs, adds a `KubeProxyConfiguration` to the config that Cluster API wrote.
//!
//! The fields are the same in v1beta1 and v1beta2 (`api/bootstrap/kubeadm/*/kubeadmconfig_types.go` there); v1beta2 refuses
//! empty lists. Only the selectors of a `ClusterClass` name a version, which must be that of its templates
//! (`core/webhooks/admission/patch_validation.go`, `selectorMatchTemplate`).

mod objects;
pub mod options;
mod script;

pub use objects::{MAX_BYTES, render};
pub use script::SCRIPT;
