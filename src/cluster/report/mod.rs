//! The output of `status` and `remediate`.

pub mod parking_text;
pub mod plan_text;
mod prometheus;
pub mod remediation;
pub mod remediation_page;
pub mod status;
mod status_nodes;
mod status_page;
