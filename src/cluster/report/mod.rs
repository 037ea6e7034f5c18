//! What `status` and `remediate` report.

pub mod remediation;
pub mod status;
mod status_nodes;
