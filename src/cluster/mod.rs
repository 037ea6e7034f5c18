//! Running clusters: observe, plan, switch kube-proxy's mode node by node, verify it, roll back on failure.
//!
//! Eight rooms; imports go one way only: [`api`] ← [`kube_proxy`] ← [`helper`] ← [`observe`] ← [`plan`] ← [`report`] ←
//! [`remediate`], [`collect`]. [`observe`] gathers [`observe::facts`]; [`plan`] decides, purely; [`remediate`] acts;
//! [`collect`] reads more for a support bundle.

pub mod api;
pub mod collect;
pub mod helper;
pub mod kube_proxy;
pub mod observe;
pub mod plan;
pub mod remediate;
pub mod report;

/// Runs cluster work on one thread, which mostly waits.
///
/// # Errors
/// Those of the work, or if no event loop can be started.
pub fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use anyhow::Context as _;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting an event loop")?;
    let result = runtime.block_on(work);
    // The kernel closes connections that are still open.
    runtime.shutdown_background();
    result
}
