//! The way back: kube-proxy runs again, and is verified in its configured mode.

use std::time::Instant;

use super::execute::{Execution, PAUSE};
use super::write::forget;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::observe::observe;
use crate::cluster::plan::drift::{State, state};
use crate::cluster::remediate::ended::Ended;
use crate::cluster::remediate::events::Events;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::event::{Event, What};
use crate::report::progress::Progress;
use crate::report::say::still_waiting;
use crate::report::{few, few_long};

impl Execution<'_> {
    /// Rolls back after a failure.
    pub(super) async fn back(
        &self,
        mut report: RemediationReport,
        why: &str,
        progress: &Progress,
        events: &Events,
    ) -> anyhow::Result<Ended> {
        if self.request.no_rollback {
            let message = format!(
                "Failed: {why}; not rolled back because of --no-rollback. Fix the node and run again to continue, or let kube-proxy run again with `kpx-prep remediate --rollback`."
            );
            events.warning("RemediationFailed", message.clone()).await;
            return Ok(self.ended(report, Outcome::Left, &message, Exit::TimedOut));
        }
        progress.tell(&Event::new(What::RollingBack, &format!("{why}: letting kube-proxy run again")));
        Ok(match self.run_again(&mut report, NodeOutcome::RolledBack, progress).await {
            Ok(()) => {
                let message = format!(
                    "Failed and rolled back: {why}. kube-proxy runs again, verified in its configured mode on every node that is Ready."
                );
                events.warning("RolledBack", message.clone()).await;
                self.ended(report, Outcome::RolledBack, &message, Exit::RolledBack)
            }
            Err(error) => {
                let message = format!(
                    "Failed: {why}. Rollback failed as well: {error}. Inspect with `kpx-prep status`, then retry with `kpx-prep remediate --rollback`."
                );
                events.warning("RemediationFailed", message.clone()).await;
                self.ended(report, Outcome::Failed, &message, Exit::Failed)
            }
        })
    }

    /// `--rollback` of a run that parked kube-proxy.
    pub(super) async fn unpark(&self) -> anyhow::Result<Ended> {
        let (mut report, events) = (self.report(), self.events());
        let progress = Progress::new(0);
        events.normal("RemediationStarted", "letting kube-proxy run again".to_owned()).await;
        let result = self.run_again(&mut report, NodeOutcome::Proved, &progress).await;
        progress.finish();
        Ok(match result {
            Ok(()) => {
                let message =
                    "Done: kube-proxy runs again, verified in its configured mode on every node that is Ready.";
                events.normal("RemediationDone", message.to_owned()).await;
                self.ended(report, Outcome::Done, message, Exit::Done)
            }
            Err(why) => {
                let message =
                    format!("Not verified: {why}. Inspect with `kpx-prep status`, then run the same command again.");
                events.warning("RemediationFailed", message.clone()).await;
                self.ended(report, Outcome::Left, &message, Exit::TimedOut)
            }
        })
    }

    /// Lets kube-proxy run again, and waits until it is verified on every ready node.
    async fn run_again(
        &self,
        report: &mut RemediationReport,
        outcome: NodeOutcome,
        progress: &Progress,
    ) -> Result<(), String> {
        self.write(false, progress).await.map_err(|error| format!("{error:#}"))?;
        let deadline = Instant::now() + self.timeout();
        loop {
            let facts = observe(self.connection, self.scope).await.map_err(|error| format!("{error:#}"))?;
            let ready = || facts.proxy_nodes().filter(|node| node.ready);
            let left: Vec<String> = ready()
                .filter(|node| state(node, &facts) != State::Right)
                .map(|node| format!("{}: {}", node.name, node.proof.reason.as_deref().unwrap_or("not verified")))
                .collect();
            if left.is_empty() {
                for set in self.kube_proxy.sets() {
                    let forgotten = forget(&self.connection.client, set, Guard::Lock(self.lock)).await;
                    forgotten.map_err(|error| format!("{error:#}"))?;
                }
                for node in ready() {
                    let mode = node.proof.mode.map(ProxyMode::name);
                    match report.nodes.iter_mut().find(|result| result.name == node.name) {
                        Some(result) => (result.outcome, result.mode) = (outcome, mode),
                        None => report.nodes.push(NodeResult { mode, ..NodeResult::new(&node.name, outcome) }),
                    }
                }
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("kube-proxy is not verified on {} node(s): {}", left.len(), few_long(&left)));
            }
            still_waiting(&format!("kube-proxy to run again ({})", few(&left)), None);
            tokio::time::sleep(PAUSE.min(self.timeout())).await;
        }
    }
}
