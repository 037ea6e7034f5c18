//! The parts that a rollout and a rollback share.

use std::time::Duration;

use super::events::Events;
use super::switch::Switcher;
use crate::cluster::api::lock::Lock;
use crate::cluster::helper::work::Cleaner;
use crate::report::progress::Progress;

/// The configuration that the run wrote, which must not change during the rollout.
#[derive(Clone, Copy, Debug)]
pub struct WrittenConfig<'a> {
    /// The `ConfigMap`.
    pub name: &'a str,
    /// Its key.
    pub key: &'a str,
    /// The text of the key.
    pub text: &'a str,
    /// When it was written, in seconds since 1970; older pods have read another one.
    pub at: Option<i64>,
}

/// The pace of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Number of nodes at a time, after the canary.
    pub at_a_time: usize,
    /// How long to watch the canary.
    pub settle: Duration,
    /// Whether to stop after the canary.
    pub pause_after_canary: bool,
    /// How long each place of the window stays empty after a node.
    pub pause: Duration,
    /// Number of failed nodes with which the rollout continues; not the canary.
    pub max_failures: usize,
}

/// The parts that act on nodes and report.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Replaces pods and verifies the new ones.
    pub switcher: &'a Switcher,
    /// Removes the old mode's rules from a verified node.
    pub cleaner: Option<&'a Cleaner<'a>>,
    /// The lock that must be held.
    pub lock: &'a Lock,
    /// Progress output.
    pub progress: &'a Progress,
    /// Kubernetes events.
    pub events: &'a Events,
}
