//! kube-proxy's modes: their names, what each needs and does, and how each Kubernetes version supports it. Pure: no host, no
//! cluster.
//!
//! What distinguishes the modes is in [`traits`]: a fourth mode does not compile until that is complete. Code elsewhere asks
//! for a trait, or has a `match` with an arm for each mode, so that it does not compile either.

pub mod nftables;
mod policy;
mod proxy_mode;
pub mod traits;

pub use policy::{IPVS_TIMELINE, ModeRefused, Policy, policy};
pub use proxy_mode::{ModeError, ProxyMode};

/// kube-proxy's IPVS scheduler where none is configured (`DefaultScheduler`, pkg/proxy/ipvs/proxier.go).
pub const DEFAULT_SCHEDULER: &str = "rr";
