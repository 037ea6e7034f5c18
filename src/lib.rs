//! kpx-prep prepares Linux nodes and kubeadm clusters to run kube-proxy in the chosen mode.
//!
//! The library exists for the `kpx-prep` binary and its tests. Data flows one way: [`cli`] → observe → decide → act →
//! [`report`].
//!
//! | theme | modules |
//! |---|---|
//! | commands | [`cli`] (arguments), [`exit_code`], [`checks`] (their table), [`report`] (findings, formats, foreign text, progress), [`bundle`] (files for a support case) |
//! | one host | [`node`] (modules, boot files, what kube-proxy left), [`node_protocol`] (what a run and its helper on a node say) |
//! | a new cluster | [`kubeadm`] (kubeadm's config), [`cloud_init`] (user-data), [`ignition`] (its config), [`cluster_api`] (fields and patches for its objects), [`image`] (the helper's image) |
//! | a running cluster | [`cluster`] (observe, plan, switch, verify, roll back) |
//! | Kubernetes' rules | [`mode`], [`proxy_config`] (`KubeProxyConfiguration`), [`feature_gates`], [`kubernetes_version`], [`proxy_ports`], [`sync_health`] (kube-proxy's metrics) |
//! | texts | [`yaml`] (edits that keep every other byte), [`cidr`], [`go_duration`] |
//! | the system | [`atomic_file`], [`file_edit`], [`folder`], [`file_kind`], [`bounded`], [`bounded_command`], [`boot_clock`] |

pub mod atomic_file;
pub mod boot_clock;
pub mod bounded;
pub mod bounded_command;
#[cfg(feature = "full")]
pub mod bundle;
#[cfg(feature = "full")]
pub mod checks;
#[cfg(feature = "full")]
pub mod cidr;
#[cfg(feature = "full")]
pub mod cli;
#[cfg(feature = "full")]
pub mod cloud_init;
#[cfg(feature = "full")]
pub mod cluster;
#[cfg(feature = "full")]
pub mod cluster_api;
pub mod exit_code;
#[cfg(feature = "full")]
pub mod feature_gates;
#[cfg(feature = "full")]
pub mod file_edit;
pub mod file_kind;
pub mod folder;
pub mod go_duration;
#[cfg(feature = "full")]
pub mod ignition;
#[cfg(feature = "full")]
pub mod image;
#[cfg(feature = "full")]
pub mod kubeadm;
pub mod kubernetes_version;

pub mod mode;
pub mod node;
pub mod node_protocol;
#[cfg(feature = "full")]
pub mod page;
#[cfg(feature = "full")]
pub mod proxy_config;
pub mod proxy_ports;
pub mod report;
pub mod sync_health;
#[cfg(feature = "full")]
pub mod yaml;
