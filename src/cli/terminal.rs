//! The questions of `remediate`, and its plan, on a terminal.

use futures::future::BoxFuture;

use super::helper_setup::{ask, question};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::manifest::Setup;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;
use crate::cluster::remediate::operator::Operator;
use crate::cluster::report::plan_text::plan_text;
use crate::report::say::say_part;
use crate::report::{Format, print_text};

/// The terminal, or the script, in front of `remediate`.
pub(super) struct Terminal {
    pub(super) yes: bool,
    pub(super) output: Format,
}

impl Operator for Terminal {
    fn show(&mut self, facts: Option<&ClusterFacts>, plan: &Plan) -> anyhow::Result<()> {
        let text = plan_text(facts, plan);
        match self.output {
            Format::Text => print_text(&text),
            // stdout is for the one document, so the plan to confirm goes to stderr.
            _ if !self.yes => {
                say_part(&text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn confirm_helper<'a>(
        &'a mut self,
        setup: &'a Setup,
        cluster: &'a Connection,
        nodes: usize,
    ) -> BoxFuture<'a, anyhow::Result<bool>> {
        Box::pin(async move { ask(self.yes, &question(setup, cluster, nodes)).await })
    }

    fn confirm<'a>(&'a mut self, plan: &'a Plan, cluster: &'a Connection) -> BoxFuture<'a, anyhow::Result<bool>> {
        let question = match plan.to {
            Some(mode) => format!("Switch kube-proxy to {mode} on {}? [y/N] ", cluster.place()),
            None => format!("Restore the original configuration on {}? [y/N] ", cluster.place()),
        };
        Box::pin(async move { ask(self.yes, &question).await })
    }
}
