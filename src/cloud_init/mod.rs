//! User-data for cloud-init around `node install` and `kubeadm`.
//!
//! A node runs one script, `/etc/kpx-prep/boot`: get the binary and verify it, prepare the node, and only then run
//! kubeadm. cloud-init runs it from `runcmd`; when it fails, the module that runs scripts fails, and
//! `cloud-init status` says `error` (cloudinit/subp.py `runparts`, as of 22.4).
//!
//! Secrets: what stands in user-data can be read from the cloud's metadata service by whatever runs on the
//! node, pods included. With the secrets in files on the node, the kubeadm config is not part of the user-data
//! but made on the node, by the same binary from the same options.

pub mod options;
mod script;
mod user_data;

pub use user_data::{MAX_BYTES, render};
