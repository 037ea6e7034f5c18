//! What kube-proxy leaves on a host, in any mode: seen, judged by the mode that runs, and removed.
//!
//! [`observe`] looks; [`stale`] and [`leftovers`] judge and are pure; [`clean`] acts, and looks again.

pub mod answers;
pub mod candidate;
pub mod carries;
pub mod clean;
pub mod connect;
pub mod drain;
pub mod iptables_save;
pub mod ipvs_table;
pub mod leftovers;
pub mod observe;
pub mod own_connections;
pub mod owners;
pub mod process;
pub mod ready;
pub mod remove;
pub mod report;
pub mod restore_text;
pub mod sets;
pub mod stale;
pub mod survey;
pub mod toolbox;
