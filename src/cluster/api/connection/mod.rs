//! Creates a client from a kubeconfig, with a timeout and a size limit for every answer.

pub mod bounded_client;
pub mod client;
mod credential_plugin;
mod credentials;
pub mod kubeconfig;
mod no_proxy;
mod proxy_env;
mod token_file;
