//! From a kubeconfig to a client whose every answer is bounded in size and time.

pub mod bounded_client;
pub mod client;
mod credential_plugin;
mod credentials;
pub mod kubeconfig;
mod no_proxy;
mod proxy_env;
mod token_file;
