//! `remediate` from start to end: observe, inspect the nodes, plan, show, confirm, lock, prepare, save the original, write,
//! roll out, clean; or roll back.

mod access_review;
mod conclude;
pub mod ended;
pub mod events;
mod interference;
pub mod interrupt;
mod legs;
pub mod on_nodes;
pub mod operator;
pub mod park;
pub mod permissions;
pub mod pod_watch;
mod record;
mod rehearsal;
pub mod roll;
pub mod roll_end;
pub mod rollback;
mod run;
pub mod switch;
pub mod tools;
mod undo;

use std::time::Duration;

use anyhow::Context as _;

use super::api::connection::client::Connection;
use super::api::lock::other_run::OtherRun;
use super::api::lock::{Lock, Lost};
use super::helper::manifest::Setup;
use super::helper::{self, Coverage, Helper};
use super::observe::facts::ClusterFacts;
use super::observe::hosts::look_at_hosts;
use super::observe::surroundings::{Surroundings, look};
use super::observe::{Scope, observe};
use super::plan::mode_choice::ModeChoice;
use super::plan::request::{Request, Target};
use super::plan::{Plan, plan as make_plan};
use super::report::remediation::{FirstLeg, Outcome, RemediationReport};
use crate::exit_code::{Exit, Refusal};
use crate::report::say::say;
use crate::report::{Finding, Level};
use access_review::{names, rights};
use ended::Ended;
use interrupt::Interrupt;
use operator::Operator;
use rehearsal::rehearse;
use run::Run;

/// Limit for re-planning because the ConfigMap changed.
const ATTEMPTS: usize = 4;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Only plan, and validate each write with a server-side dry run.
    pub dry_run: bool,
    /// The lease duration of the lock.
    pub lease: Duration,
    /// The node helper; `None` if the nodes' hosts are not inspected or changed.
    pub helper: Option<Setup>,
    /// Do not remove the helper at the end.
    pub keep_helper: bool,
}

/// The observed cluster and the plan.
struct Planned {
    /// The observed cluster; `None` without the required permissions.
    facts: Option<ClusterFacts>,
    surroundings: Surroundings,
    plan: Plan,
}

/// Runs `remediate`.
///
/// # Errors
/// Failures before anything was changed; later failures are in the report.
pub async fn remediate(
    connection: &Connection,
    scope: &Scope,
    request: &Request,
    options: RunOptions,
    operator: &mut dyn Operator,
) -> anyhow::Result<Ended> {
    let interrupt = Interrupt::listen().context("listening for signals; nothing was changed")?;
    let (mut helper, mut lock) = (None, None);
    let (held, ran) = (&mut lock, &mut helper);
    let request = request.clone();
    let mut job = Job {
        connection,
        scope,
        request,
        options: &options,
        interrupt: &interrupt,
        helper: ran,
        lock: held,
        first: None,
    };
    let result = Box::pin(job.legs(operator)).await;
    match &helper {
        Some(helper) if !options.keep_helper => helper.end().await,
        Some(helper) => keep(helper, &result).await,
        None => {}
    }
    let Some(lock) = lock else { return result };
    let lost = lock.lost().cloned();
    lock.release().await;
    match lost {
        Some(lost) => Ok(without_lock(result, &lost)),
        None => result,
    }
}

/// The end of a run that lost the lock, at any point: another run continues from what it observes.
fn without_lock(result: anyhow::Result<Ended>, lost: &Lost) -> Ended {
    let until_then = match &result {
        Ok(ended) => ended.report.message.clone(),
        Err(error) => format!("{error:#}"),
    };
    let mut report =
        result.map_or_else(|_| RemediationReport::new(&Plan::unknown(), Outcome::Left, ""), |ended| ended.report);
    report.outcome = Outcome::Left;
    report.message = format!(
        "Stopped: {lost}. Nothing was changed after that: no rollback, no clean-up. Check with `kpx-prep status`; if no other run is in progress, run the same command again. ({until_then})"
    );
    Ended { report, exit: Exit::TimedOut }
}

/// Keeps the helper running; if all nodes run a mode that needs preparation, it prepares nodes that join later.
async fn keep(helper: &Helper, result: &anyhow::Result<Ended>) {
    let done = result.as_ref().ok().filter(|ended| ended.exit == Exit::Done);
    let target = done.and_then(|ended| ended.report.plan.target.as_ref());
    let prepared = target.filter(|target| target.mode.traits().is_prepared);
    if let Err(error) = helper.keep(prepared.map(Target::scheduler)).await {
        say(&format!("warning: {error:#}"));
    }
}

struct Job<'a> {
    connection: &'a Connection,
    scope: &'a Scope,
    /// With its mode, once that was asked for.
    request: Request,
    options: &'a RunOptions,
    interrupt: &'a Interrupt,
    helper: &'a mut Option<Helper>,
    /// Taken before anything is written.
    lock: &'a mut Option<Lock>,
    /// The first leg, once this run did it.
    first: Option<FirstLeg>,
}

/// Interrupted before anything was changed.
fn interrupted(plan: &Plan) -> Ended {
    Ended::new(plan, Outcome::Interrupted, "Interrupted; nothing was changed.", Exit::Interrupted)
}

impl Job<'_> {
    async fn run(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Ended> {
        let (connection, interrupt) = (self.connection, self.interrupt);
        for _ in 0..ATTEMPTS {
            let Some(Planned { facts, surroundings, plan }) = self.prepare(operator).await? else {
                return Ok(interrupted(&Plan::unknown()));
            };
            operator.show(facts.as_ref(), &plan)?;
            // Without the lock, another run's intermediate state may have been observed.
            if self.lock.is_none() {
                self.refuse_beside_a_run(facts.as_ref()).await?;
            }
            if plan.is_blocked() {
                let message = "Preflight failed; nothing was changed. Fix the errors above, or override them with --ignore-preflight-errors=ID,...";
                return Ok(Ended::new(&plan, Outcome::Blocked, message, Exit::CheckSaysNo));
            }
            let facts = facts.context("internal error: a plan without an observed cluster was not blocked")?;
            if plan.is_empty() {
                return Ok(Ended::new(&plan, Outcome::NothingToDo, "Nothing to do.", Exit::Done));
            }
            if self.first.is_some() && plan.then.is_none() && plan.edits && plan.original.is_none() {
                let message =
                    "another writer edited the ConfigMap after the first leg; this run does not overwrite that.";
                return Ok(Ended::new(&plan, Outcome::Left, message, Exit::TimedOut));
            }
            if self.options.dry_run {
                rehearse(connection, &facts, &plan).await?;
                if let (Some(setup), Some(kube_proxy)) = (&self.options.helper, &facts.kube_proxy) {
                    let groups = helper::groups_of(setup, &facts.proxies());
                    helper::lifecycle::rehearse(connection, &kube_proxy.namespace, setup, &groups).await?;
                }
                let message = "Dry run; nothing was changed. The API server would accept all writes.";
                return Ok(Ended::new(&plan, Outcome::DryRun, message, Exit::Done));
            }
            // Both legs are confirmed together.
            let confirmed = self.first.is_some()
                || tokio::select! {
                    confirmed = operator.confirm(&plan, connection) => confirmed?,
                    () = interrupt.asked() => false,
                };
            if !confirmed {
                return Ok(Ended::new(&plan, Outcome::Interrupted, "Nothing was changed.", Exit::Interrupted));
            }
            let lock = self.lock.as_ref().context("internal error: a plan with changes was made without the lock")?;
            let (request, helper) = (&self.request, self.helper.as_ref());
            let run =
                Run { connection, facts: &facts, surroundings: &surroundings, plan: &plan, request, helper, lock };
            match run.execute(interrupt).await? {
                Some(done) => return Ok(done),
                None => say("the ConfigMap changed while planning; re-planning"),
            }
        }
        anyhow::bail!(
            "the ConfigMap was changed by another writer {ATTEMPTS} times in a row; this run changed nothing. Find out what changes it, then run again"
        )
    }

    /// Refuses to plan during another run.
    async fn refuse_beside_a_run(&self, facts: Option<&ClusterFacts>) -> anyhow::Result<()> {
        let Some(kube_proxy) = facts.and_then(|facts| facts.kube_proxy.as_ref()) else { return Ok(()) };
        match OtherRun::observe(&self.connection.client, &kube_proxy.namespace).await? {
            Some(run) if run.alive => Err(Refusal::check(format!(
                "another kpx-prep run is in progress ({}), so a plan made now would be outdated; nothing was changed. Wait for it to finish",
                run.words()
            ))),
            _ => Ok(()),
        }
    }

    /// Observes and plans, including the nodes' hosts; without the required permissions, the plan only lists the
    /// missing ones. `None` if interrupted.
    async fn prepare(&mut self, operator: &mut dyn Operator) -> anyhow::Result<Option<Planned>> {
        let interrupt = self.interrupt;
        let (rights, observed) = tokio::select! {
            observed = self.observe() => observed?,
            () = interrupt.asked() => return Ok(None),
        };
        let Some((mut facts, surroundings)) = observed else {
            let plan = Plan { checks: rights, ..Plan::unknown() };
            return Ok(Some(Planned { facts: None, surroundings: Surroundings::default(), plan }));
        };
        if let Some(choice) = ModeChoice::needed(&self.request, &facts) {
            let mode = tokio::select! {
                mode = operator.choose_mode(&choice) => mode?,
                () = interrupt.asked() => return Ok(None),
            };
            self.request.choose(mode);
        }
        let mut plan = make_plan(&facts, &surroundings, &self.request);
        // A plan that is blocked already needs neither the lock nor the helper.
        if !plan.is_blocked() && (!self.options.dry_run || self.request.look_at_nodes) && self.take_lock(&facts).await?
        {
            return Box::pin(self.prepare(operator)).await;
        }
        let end = plan.end().filter(|end| end.unfit.is_none());
        let prepares = end.is_some_and(|end| end.mode.traits().is_prepared) && !self.request.nodes_are_prepared;
        let looks = !plan.is_blocked()
            && (!self.options.dry_run || self.request.look_at_nodes)
            && (self.request.clean && plan.mode().is_some() || prepares);
        if let (Some(setup), true, Some(target), Some(kube_proxy), Some(lock)) =
            (&self.options.helper, looks, plan.end().cloned(), &facts.kube_proxy, &*self.lock)
        {
            if self.helper.is_none() {
                let nodes = facts.proxy_nodes().filter(|node| node.ready).count();
                let confirmed = tokio::select! {
                    confirmed = operator.confirm_helper(setup, self.connection, nodes) => confirmed?,
                    () = interrupt.asked() => false,
                };
                if !confirmed {
                    return Ok(None);
                }
            }
            let helper = match &mut *self.helper {
                Some(helper) => helper,
                // Never aborted: objects that the API server has created by then would remain.
                none => none.insert(
                    Helper::start(self.connection, &kube_proxy.namespace, setup, &facts.proxies(), lock).await?,
                ),
            };
            let questions = surroundings.services.questions();
            tokio::select! {
                looked = look_at_hosts(helper, &mut facts, Coverage::EveryNode, (target.mode, target.scheduler()), &questions) => looked?,
                () = interrupt.asked() => return Ok(None),
            }
            plan = make_plan(&facts, &surroundings, &self.request);
        }
        plan.checks.extend(rights);
        Ok(Some(Planned { facts: Some(facts), surroundings, plan }))
    }

    /// Takes the lock, unless this run already holds it. Returns whether another run held it, so that what was observed may
    /// be out of date.
    async fn take_lock(&mut self, facts: &ClusterFacts) -> anyhow::Result<bool> {
        let (None, Some(kube_proxy)) = (&*self.lock, &facts.kube_proxy) else { return Ok(false) };
        let lock = tokio::select! {
            lock = Lock::take(&self.connection.client, &kube_proxy.namespace, self.options.lease) => lock?,
            () = self.interrupt.asked() => return Err(Refusal::interrupted("interrupted while waiting for the lock; nothing was changed")),
        };
        Ok(self.lock.insert(lock).was_contended())
    }

    /// The findings about permissions, and the observed cluster if they are sufficient.
    async fn observe(&self) -> anyhow::Result<(Vec<Finding>, Option<(ClusterFacts, Surroundings)>)> {
        let client = &self.connection.client;
        let names = names(self.connection, self.scope).await?;
        let rights = rights(client, &names, self.options.helper.is_some(), &[], &self.request).await?;
        if rights.iter().any(|check| check.level == Level::Error) {
            return Ok((rights, None));
        }
        let facts = observe(self.connection, self.scope).await?;
        let surroundings = match &facts.kube_proxy {
            Some(kube_proxy) => look(client, kube_proxy).await?,
            None => Surroundings::default(),
        };
        Ok((rights, Some((facts, surroundings))))
    }
}
