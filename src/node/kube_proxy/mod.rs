//! What kube-proxy leaves on a host, in any mode: seen, judged by the mode that runs, and removed.
//!
//! [`observe`] looks; [`stale`] and [`leftovers`] judge and are pure;

pub mod answers;
pub mod carries;
pub mod iptables_save;
pub mod ipvs_table;
pub mod leftovers;
pub mod observe;
pub mod owners;
pub mod process;
pub mod restore_text;
pub mod sets;
pub mod stale;
pub mod toolbox;
