//! The input of every check.

use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::cluster::plan::request::{Request, Target};
use crate::node_protocol::Survey;

/// The input of a check.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The cluster.
    pub facts: &'a ClusterFacts,
    /// Other objects in the cluster.
    pub surroundings: &'a Surroundings,
    /// The request.
    pub request: &'a Request,
    /// The resulting configuration.
    pub target: &'a Target,
    /// Whether the configuration must be changed; otherwise pods are only replaced.
    pub edits: bool,
}

pub(super) fn surveys<'a>(nodes: impl Iterator<Item = &'a NodeFacts>) -> impl Iterator<Item = (&'a str, &'a Survey)> {
    nodes.filter_map(|node| Some((node.name.as_str(), node.survey()?)))
}
