//! The questions of `remediate`, and its plan, on a terminal.

use futures::future::BoxFuture;

use super::helper_setup::{answer, ask, question};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::manifest::Setup;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;
use crate::cluster::plan::legs::BETWEEN;
use crate::cluster::plan::mode_choice::ModeChoice;
use crate::cluster::remediate::operator::Operator;
use crate::cluster::report::plan_text::plan_text;
use crate::exit_code::Refusal;
use crate::mode::ProxyMode;
use crate::report::say::say_part;
use crate::report::{Format, print_text};

/// The terminal, or the script, in front of `remediate`.
pub(super) struct Terminal {
    /// Whether confirmation is given in advance; no other question is answered by it.
    pub(super) yes: bool,
    /// Whether a person reads standard error and answers on standard input.
    pub(super) can_ask: bool,
    pub(super) output: Format,
}

impl Operator for Terminal {
    fn show(&mut self, facts: Option<&ClusterFacts>, plan: &Plan) -> anyhow::Result<()> {
        self.show_text(&plan_text(facts, plan))
    }

    fn show_text(&mut self, plan: &str) -> anyhow::Result<()> {
        match self.output {
            Format::Text => print_text(plan),
            // stdout is for the one document, so the plan to confirm goes to stderr.
            _ if !self.yes => {
                say_part(plan);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn confirm_text(&mut self, question: String) -> BoxFuture<'_, anyhow::Result<bool>> {
        Box::pin(async move { ask(self.yes, &question).await })
    }

    fn choose_mode<'a>(&'a mut self, choice: &'a ModeChoice) -> BoxFuture<'a, anyhow::Result<ProxyMode>> {
        Box::pin(async move {
            if !self.can_ask {
                return Err(Refusal::usage(choice.refusal()));
            }
            choice.answered(&answer(&choice.question()).await?).map_err(Refusal::usage)
        })
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
        let question = match plan.end().filter(|end| end.unfit.is_none()).map(|end| end.mode) {
            Some(mode) if plan.then.is_some() => {
                format!("Switch kube-proxy to {mode}, by way of {BETWEEN}, on {}? [y/N] ", cluster.place())
            }
            Some(mode) => format!("Switch kube-proxy to {mode} on {}? [y/N] ", cluster.place()),
            None => format!("Restore the original configuration on {}? [y/N] ", cluster.place()),
        };
        Box::pin(async move { ask(self.yes, &question).await })
    }
}
