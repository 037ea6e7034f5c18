//! The person, or the script, in front of `remediate`.

use futures::future::BoxFuture;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::manifest::Setup;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;

/// The interaction of `remediate` with its user.
pub trait Operator {
    /// Shows a plan before anything is changed.
    ///
    /// # Errors
    /// If it cannot be shown.
    fn show(&mut self, facts: Option<&ClusterFacts>, plan: &Plan) -> anyhow::Result<()>;

    /// Asks whether the node helper may be started on these nodes.
    ///
    /// # Errors
    /// If confirmation is not possible.
    fn confirm_helper<'a>(
        &'a mut self,
        setup: &'a Setup,
        cluster: &'a Connection,
        nodes: usize,
    ) -> BoxFuture<'a, anyhow::Result<bool>>;

    /// Asks whether to continue.
    ///
    /// # Errors
    /// If confirmation is not possible.
    fn confirm<'a>(&'a mut self, plan: &'a Plan, cluster: &'a Connection) -> BoxFuture<'a, anyhow::Result<bool>>;
}
