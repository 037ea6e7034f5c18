//! How a node ends, and how a rollout ends.

use super::switch::SwitchEnd;
use crate::cluster::helper::work::Cleaned;

/// Why a rollout failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The node and the reason.
    pub why: String,
    /// Whether only its time ran out.
    pub timed_out: bool,
}

/// The end of a rollout.
#[derive(Debug)]
pub enum RollEnd {
    /// All nodes that could be switched are switched; failures, if any, are tolerated ones.
    Done,
    /// Paused after the canary, as requested.
    Paused,
    /// Interrupted.
    Interrupted,
    /// More nodes were not verified than are tolerated.
    Failed(Failure),
    /// Another writer interfered, or the API server failed; nothing is rolled back for that.
    Stopped(String),
}

/// What happened to a node.
pub(super) struct NodeEnd {
    pub(super) node: String,
    pub(super) end: anyhow::Result<SwitchEnd>,
    pub(super) cleaned: Option<Cleaned>,
}

impl NodeEnd {
    /// Whether it runs the new mode.
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.end, Ok(SwitchEnd::Proved(..)))
    }
}
