//! The rules, sets, chains and virtual servers of a host: which of them kube-proxy made, and which are stale.
//!
//! [`observe`] reads the host; [`stale`] and [`leftovers`] decide and are pure.

pub mod iptables_save;
pub mod ipvs_table;
pub mod leftovers;
pub mod observe;
pub mod owners;
pub mod restore_text;
pub mod sets;
pub mod stale;
