//! `remediate --mode none`, where another data plane has replaced kube-proxy, and its rollback: [`park`] and [`unpark`].
//!
//! kube-proxy's `DaemonSet` is parked, and then everything that kube-proxy made is removed, node by node, where the other data
//! plane is verified to answer. While it is parked, its rules stay and serve; a run that is killed goes on from what it observes.

mod back;
mod execute;
mod look;
mod write;

use anyhow::Context as _;
use kube::api::{Api, ListParams};

use super::access_review::{names, rights};
use super::ended::Ended;
use super::interrupt::Interrupt;
use super::operator::Operator;
use super::permissions::OF_PARKING;
use super::{RunOptions, without_lock};
use crate::cluster::api::calls;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::api::lock::other_run::OtherRun;
use crate::cluster::api::objects::{self, DaemonSet};
use crate::cluster::helper::Helper;
use crate::cluster::kube_proxy::daemon_set::find;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::observe::surroundings::look;
use crate::cluster::observe::{Scope, observe};
use crate::cluster::plan::Plan;
use crate::cluster::plan::parking::Parking;
use crate::cluster::plan::patience::default_timeout;
use crate::cluster::plan::request::Request;
use crate::cluster::report::parking_text::{parking_text, unparking_text};
use crate::cluster::report::remediation::Outcome;
use crate::exit_code::{Exit, Refusal};
use crate::report::say::say;
use crate::report::{Finding, Level};
use execute::Execution;

/// Whether kpx-prep parked kube-proxy; not if that cannot be read, which the run itself reports.
pub async fn is_parked(connection: &Connection, scope: &Scope) -> bool {
    let sets = Api::all_with(connection.client.clone(), &objects::daemon_sets());
    let Ok(sets) = calls::list(&sets, &ListParams::default(), |set: DaemonSet| set).await else { return false };
    let found = find(&sets, scope.namespace.as_deref(), scope.daemon_set.as_deref());
    found.ok().and_then(|found| found.kube_proxy).is_some_and(|set| set.sets().any(|set| set.parked.is_some()))
}

/// Parks kube-proxy and removes what it made.
///
/// # Errors
/// Failures before anything was changed; later failures are in the report.
pub async fn park(
    connection: &Connection,
    scope: &Scope,
    request: &Request,
    options: RunOptions,
    operator: &mut dyn Operator,
) -> anyhow::Result<Ended> {
    let interrupt = listen()?;
    let mut job = Job::new(connection, scope, request, (&options, &interrupt));
    let result = Box::pin(job.park(operator)).await;
    job.end(result).await
}

/// Lets a parked kube-proxy run again, and verifies it.
///
/// # Errors
/// Failures before anything was changed; later failures are in the report.
pub async fn unpark(
    connection: &Connection,
    scope: &Scope,
    request: &Request,
    options: RunOptions,
    operator: &mut dyn Operator,
) -> anyhow::Result<Ended> {
    let interrupt = listen()?;
    let mut job = Job::new(connection, scope, request, (&options, &interrupt));
    let result = Box::pin(job.unpark(operator)).await;
    job.end(result).await
}

struct Job<'a> {
    connection: &'a Connection,
    scope: &'a Scope,
    request: &'a Request,
    options: &'a RunOptions,
    interrupt: &'a Interrupt,
    helper: Option<Helper>,
    /// Taken before anything is written.
    lock: Option<Lock>,
}

fn listen() -> anyhow::Result<Interrupt> {
    Interrupt::listen().context("listening for signals; nothing was changed")
}

impl<'a> Job<'a> {
    /// Without the helper and the lock.
    fn new(
        connection: &'a Connection,
        scope: &'a Scope,
        request: &'a Request,
        (options, interrupt): (&'a RunOptions, &'a Interrupt),
    ) -> Self {
        Self { connection, scope, request, options, interrupt, helper: None, lock: None }
    }
}

impl Job<'_> {
    /// Removes the helper and releases the lock.
    async fn end(self, result: anyhow::Result<Ended>) -> anyhow::Result<Ended> {
        match &self.helper {
            Some(helper) if self.options.keep_helper => {
                if let Err(error) = helper.keep(None).await {
                    say(&format!("warning: {error:#}"));
                }
            }
            Some(helper) => helper.end().await,
            None => {}
        }
        let Some(lock) = self.lock else { return result };
        let lost = lock.lost().cloned();
        lock.release().await;
        match lost {
            Some(lost) => Ok(without_lock(result, &lost)),
            None => result,
        }
    }

    async fn park(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Ended> {
        let rights = self.rights(true).await?;
        if rights.iter().any(|check| check.level == Level::Error) {
            let plan = Plan { checks: rights, ..Plan::unknown() };
            operator.show_text(&parking_text(None, &plan, &Parking::default()))?;
            return Ok(blocked(&plan, None));
        }
        let mut seen = self.observe().await?;
        let (mut plan, mut parking) = seen.plan(self.request);
        let looks = !self.options.dry_run || self.request.look_at_nodes;
        if !plan.is_blocked() && looks {
            if self.take_lock(&seen.facts).await? {
                seen = self.observe().await?;
            }
            if !self.look_at_nodes(&mut seen, operator).await? {
                return Ok(ended(
                    &plan,
                    &parking,
                    Outcome::Interrupted,
                    "Interrupted; nothing was changed.",
                    Exit::Interrupted,
                ));
            }
            (plan, parking) = seen.plan(self.request);
        }
        plan.checks.extend(rights);
        operator.show_text(&parking_text(Some(&seen.facts), &plan, &parking))?;
        if self.lock.is_none() {
            self.refuse_beside_a_run(&seen.facts).await?;
        }
        if plan.is_blocked() {
            return Ok(blocked(&plan, Some(&parking)));
        }
        let kube_proxy = seen.facts.kube_proxy.as_ref().context("internal error: no kube-proxy was not blocked")?;
        let service =
            parking.api_service.context("the Service default/kubernetes was not found; nothing was changed")?;
        if parking.already_parked && plan.is_empty() {
            return Ok(ended(
                &plan,
                &parking,
                Outcome::NothingToDo,
                "Nothing to do: kube-proxy is parked, and nothing of it is left.",
                Exit::Done,
            ));
        }
        if self.options.dry_run {
            for set in kube_proxy.sets() {
                write::set_parked(&self.connection.client, set, true, Guard::DryRun).await.context("dry run")?;
            }
            let message = "Dry run; nothing was changed. The API server would accept all writes.";
            return Ok(ended(&plan, &parking, Outcome::DryRun, message, Exit::Done));
        }
        let question = format!("Park kube-proxy and remove what it made on {}? [y/N] ", self.connection.place());
        if !self.confirmed(operator, question).await? {
            return Ok(ended(&plan, &parking, Outcome::Interrupted, "Nothing was changed.", Exit::Interrupted));
        }
        let (Some(lock), Some(helper)) = (&self.lock, &self.helper) else {
            anyhow::bail!("internal error: a run without the lock or the node helper");
        };
        Execution {
            connection: self.connection,
            scope: self.scope,
            facts: &seen.facts,
            kube_proxy,
            plan: &plan,
            parking: &parking,
            request: self.request,
            removal: Some(seen.removal(self.request, service)),
            helper: Some(helper),
            lock,
            interrupt: self.interrupt,
        }
        .park()
        .await
    }

    async fn unpark(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Ended> {
        let rights = self.rights(false).await?;
        let mut plan = Plan { checks: rights, ..Plan::unknown() };
        if plan.is_blocked() {
            operator.show_text(&parking_text(None, &plan, &Parking::default()))?;
            return Ok(blocked(&plan, None));
        }
        let mut facts = observe(self.connection, self.scope).await?;
        if !self.options.dry_run && self.take_lock(&facts).await? {
            facts = observe(self.connection, self.scope).await?;
        }
        plan.to = facts.target().ok();
        let parking = Parking { already_parked: true, ..Parking::default() };
        operator.show_text(&unparking_text(&facts))?;
        let kube_proxy =
            facts.kube_proxy.as_ref().context("kube-proxy's DaemonSet was deleted; nothing was changed")?;
        // All start at once, each with a first sync. Without the right to see how much they sync, as in a small cluster.
        let surroundings = look(&self.connection.client, kube_proxy).await.unwrap_or_default();
        plan.timeout = self.request.timeout.unwrap_or_else(|| default_timeout(&facts, &surroundings));
        if self.options.dry_run {
            self.refuse_beside_a_run(&facts).await?;
            for set in kube_proxy.sets() {
                write::set_parked(&self.connection.client, set, false, Guard::DryRun).await.context("dry run")?;
            }
            let message = "Dry run; nothing was changed. The API server would accept all writes.";
            return Ok(ended(&plan, &parking, Outcome::DryRun, message, Exit::Done));
        }
        let question = format!("Let kube-proxy run again on {}? [y/N] ", self.connection.place());
        if !self.confirmed(operator, question).await? {
            return Ok(ended(&plan, &parking, Outcome::Interrupted, "Nothing was changed.", Exit::Interrupted));
        }
        let lock = self.lock.as_ref().context("internal error: a run without the lock")?;
        let execution = Execution {
            connection: self.connection,
            scope: self.scope,
            facts: &facts,
            kube_proxy,
            plan: &plan,
            parking: &parking,
            request: self.request,
            removal: None,
            helper: None,
            lock,
            interrupt: self.interrupt,
        };
        execution.unpark().await
    }

    async fn rights(&self, with_helper: bool) -> anyhow::Result<Vec<Finding>> {
        let names = names(self.connection, self.scope).await?;
        rights(&self.connection.client, &names, with_helper, &OF_PARKING, self.request).await
    }

    /// Takes the lock. Returns whether another run held it, so that what was observed may be out of date.
    async fn take_lock(&mut self, facts: &ClusterFacts) -> anyhow::Result<bool> {
        let (None, Some(kube_proxy)) = (&self.lock, &facts.kube_proxy) else { return Ok(false) };
        let lock = tokio::select! {
            lock = Lock::take(&self.connection.client, &kube_proxy.namespace, self.options.lease) => lock?,
            () = self.interrupt.asked() => return Err(Refusal::interrupted("interrupted while waiting for the lock; nothing was changed")),
        };
        Ok(self.lock.insert(lock).was_contended())
    }

    async fn refuse_beside_a_run(&self, facts: &ClusterFacts) -> anyhow::Result<()> {
        let Some(kube_proxy) = &facts.kube_proxy else { return Ok(()) };
        match OtherRun::observe(&self.connection.client, &kube_proxy.namespace).await? {
            Some(run) if run.alive => Err(Refusal::check(format!(
                "another kpx-prep run is in progress ({}), so a plan made now would be outdated; nothing was changed. Wait for it to finish",
                run.words()
            ))),
            _ => Ok(()),
        }
    }

    async fn confirmed(&self, operator: &mut dyn Operator, question: String) -> anyhow::Result<bool> {
        tokio::select! {
            confirmed = operator.confirm_text(question) => confirmed,
            () = self.interrupt.asked() => Ok(false),
        }
    }
}

fn ended(plan: &Plan, parking: &Parking, outcome: Outcome, message: &str, exit: Exit) -> Ended {
    let mut ended = Ended::new(plan, outcome, message, exit);
    ended.report.parking = Some(parking.clone());
    ended
}

fn blocked(plan: &Plan, parking: Option<&Parking>) -> Ended {
    let message = "Preflight failed; nothing was changed. Fix the errors above, or override them with --ignore-preflight-errors=ID,...";
    let mut ended = Ended::new(plan, Outcome::Blocked, message, Exit::CheckSaysNo);
    ended.report.parking = parking.cloned();
    ended
}
