//! What kube-proxy leaves on a host, in any mode: finding it, comparing it with the running mode, and removing it.
//!
//! [`process`] finds the running kube-proxy and the programs that match it; [`rules`] are what it made; [`ready`] says
//! whether the running mode has taken over; [`clean`] removes what is stale, and verifies. [`bridge`] serves Services while
//! kube-proxy cannot.

pub mod bridge;
pub mod clean;
pub mod cni;
pub mod nft_trial;
pub mod process;
pub mod ready;
pub mod report;
pub mod rules;
pub mod socket_table;
pub mod survey;
pub mod tools;
