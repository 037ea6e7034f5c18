//! kpx-prep prepares Linux nodes and kubeadm clusters to run kube-proxy in IPVS mode.
//!
//! The library exists for the `kpx-prep` binary and its tests. Data flows one way:
//! [`cli`] → observe → decide → act → [`report`].

pub mod atomic_file;
pub mod boot_clock;
pub mod bounded;
pub mod bounded_command;
pub mod cli;
pub mod cloud_init;
pub mod cluster;
pub mod exit_code;
pub mod feature_gates;
pub mod file_kind;
pub mod folder;
pub mod image;
pub mod kubeadm;
pub mod kubernetes_version;
pub mod messages;
pub mod mode;
pub mod node;
pub mod proxy_config;
pub mod report;
pub mod yaml;
