//! kubeadm configuration for new clusters and joining nodes: options as given → validated → rendered.
//!
//! Nothing here talks to a cluster. kubeadm itself checks neither the proxy mode nor anything else in a
//! `KubeProxyConfiguration` (it calls `mode: bogus` valid), so what is refused here is refused nowhere else
//! before kube-proxy crashes.

pub mod api_version;
pub mod check;
mod cluster_document;
pub mod endpoint;
pub mod existing_file;
mod file_checks;
pub mod formats;
pub mod given;
pub mod given_options;
mod kinds;
pub mod options;
mod parts;
pub mod problem;
pub mod proxy;
pub mod ranges;
pub mod raw_options;
pub mod render;
mod scheduler;
pub mod secret;
pub mod version_source;
