//! kubeadm configuration for new clusters and joining nodes: options as given → validated → rendered.
//!
//! Nothing here connects to a cluster. kubeadm does not check the proxy mode or anything else in a
//! `KubeProxyConfiguration` (it accepts `mode: bogus`), so without these checks an error shows only when kube-proxy
//! crashes.

pub mod api_version;
pub mod check;
mod cluster_document;
pub mod endpoint;
pub mod existing_file;
mod file_checks;
pub mod findings;
pub mod formats;
pub mod given;
pub mod given_options;
mod kinds;
mod node_ports;
pub mod options;
mod parts;
pub mod proxy;
pub mod ranges;
pub mod raw_options;
pub mod render;
mod scheduler;
pub mod secret;
pub mod version_source;
