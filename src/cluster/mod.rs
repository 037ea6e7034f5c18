//! Live clusters: observe, plan, switch kube-proxy's mode node by node, prove it, go back where it fails.
//!
//! Data flows one way: [`observe`] gathers [`facts`]; [`drift`], [`checks`] and [`plan`] decide, purely; [`remediate`]
//! acts.

pub mod api;
pub mod backup;
pub mod bounded_client;
pub mod calico;
pub mod checks;
pub mod client;
pub mod config_map;
mod credential_plugin;
mod credentials;
pub mod daemon_set;
pub mod drift;
pub mod events;
pub mod facts;
pub mod flavour;
pub mod guard;
pub mod helper;
pub mod interrupt;
mod kubeconfig;
pub mod lean;
pub mod lease;
pub mod lock;
mod lock_renewal;
pub mod log_lines;
pub mod neighbours;
mod no_proxy;
pub mod objects;
pub mod observe;
pub mod on_nodes;
pub mod other_run;
pub mod permissions;
pub mod plan;
pub mod pod_objects;
pub mod pod_watch;
pub mod progress;
pub mod proof;
mod proxy_command;
mod proxy_env;
mod rehearsal;
pub mod remediate;
pub mod remediation_report;
mod rights;
pub mod roll;
pub mod rollback;
mod run;
pub mod scheduling;
pub mod services;
mod status_nodes;
pub mod status_report;
pub mod surroundings;
pub mod switch;
mod token_file;
mod undo;
pub mod wish;

/// Runs cluster work: on one thread, which is plenty for waiting.
///
/// # Errors
/// Those of the work, and that the system gives no event loop.
pub fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting an event loop")?;
    let result = runtime.block_on(work);
    // Connections that are still open are the kernel's to close.
    runtime.shutdown_background();
    result
}
