//! Netlink requests to the kernel: links, addresses and their routes, IPVS, nftables, conntrack.
//!
//! They apply to the network namespace of this process, which must be the host's.

pub mod conntrack;
pub mod ipvs;
pub mod links;
mod message;
pub mod nftables;
pub mod routes;
mod socket;
