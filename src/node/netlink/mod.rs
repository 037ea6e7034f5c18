//! Requests to the kernel over netlink, as far as a node needs them: links, addresses and their routes, IPVS, tracked connections.
//!
//! They concern the network namespace of this process, which has to be the host's.

pub mod conntrack;
pub mod ipvs;
pub mod links;
mod message;
pub mod nftables;
pub mod routes;
mod socket;
