//! User-data for cloud-init around `node install` and `kubeadm`.
//!
//! A node runs one script, `/etc/kpx-prep/boot`: get the binary and verify it, prepare the node, and only then run
//! kubeadm. cloud-init runs it from `runcmd`; if it fails, the module that runs scripts fails, and
//! `cloud-init status` reports `error` (cloudinit/subp.py `runparts`, as of 22.4).
//!
//! Secrets: every process on the node, pods included, can read the user-data from the cloud's metadata service. With the
//! secrets in files on the node, the kubeadm config is not part of the user-data but generated on the node, by the same
//! binary from the same options.

pub mod binary;
pub mod options;
pub mod script;
mod user_data;

pub use user_data::{MAX_BYTES, render};
