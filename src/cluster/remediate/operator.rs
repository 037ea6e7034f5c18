//! The person, or the script, in front of `remediate`.

use futures::future::BoxFuture;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::manifest::Setup;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;
use crate::cluster::plan::mode_choice::ModeChoice;
use crate::mode::ProxyMode;

/// The interaction of `remediate` with its user.
pub trait Operator {
    /// Shows a plan before anything is changed.
    ///
    /// # Errors
    /// If it cannot be shown.
    fn show(&mut self, facts: Option<&ClusterFacts>, plan: &Plan) -> anyhow::Result<()>;

    /// Shows a plan of another kind.
    ///
    /// # Errors
    /// If it cannot be shown.
    fn show_text(&mut self, plan: &str) -> anyhow::Result<()>;

    /// Asks whether to continue with such a plan.
    ///
    /// # Errors
    /// If confirmation is not possible.
    fn confirm_text(&mut self, question: String) -> BoxFuture<'_, anyhow::Result<bool>>;

    /// Asks for the mode, where there is no default.
    ///
    /// # Errors
    /// If nobody can be asked, or the answer is not a mode of this version.
    fn choose_mode<'a>(&'a mut self, choice: &'a ModeChoice) -> BoxFuture<'a, anyhow::Result<ProxyMode>>;

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
