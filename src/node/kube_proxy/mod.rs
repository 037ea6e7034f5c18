//! What kube-proxy leaves on a host, in any mode: finding it, comparing it with the running mode, and removing it.
//!
//! [`observe`] reads the host; [`stale`] and [`leftovers`] decide and are pure; [`clean`] acts, and verifies.

pub mod answers;
pub mod candidate;
pub mod carries;
pub mod clean;
pub mod cni;
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
