//! What every check is asked.

use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::cluster::plan::request::{Request, Target};
use crate::messages::Survey;

/// All that a check may look at.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The cluster.
    pub facts: &'a ClusterFacts,
    /// What else is in it.
    pub surroundings: &'a Surroundings,
    /// What was asked for.
    pub request: &'a Request,
    /// The configuration that it amounts to.
    pub target: &'a Target,
    /// Whether the configuration has to be changed for it; else pods are only replaced.
    pub edits: bool,
}

pub(super) fn surveys<'a>(nodes: impl Iterator<Item = &'a NodeFacts>) -> impl Iterator<Item = (&'a str, &'a Survey)> {
    nodes.filter_map(|node| Some((node.name.as_str(), node.survey()?)))
}
