//! `remediate` from start to end: observe, plan, show, confirm, lock, keep the original, write, roll; or go back.

use std::time::Duration;

use anyhow::Context as _;
use kube::api::{Api, ListParams};

use super::api::plain;
use super::client::Connection;
use super::daemon_set::find;
use super::drift::finding;
use super::facts::Facts;
use super::interrupt::Interrupt;
use super::lock::Lock;
use super::objects::{self, DaemonSet};
use super::observe::{Scope, observe};
use super::plan::{Plan, plan};
use super::progress::say;
use super::remediation_report::{Outcome, RemediationReport};
use super::run::Run;
use super::surroundings::{Surroundings, look};
use super::wish::Wish;
use super::{api, permissions};
use crate::exit_code::Exit;
use crate::report::Level;

/// How often the plan is made anew because somebody wrote in between.
const ATTEMPTS: usize = 4;

/// How `remediate` deals with the person in front of it.
pub trait Operator {
    /// Shows a plan before anything is touched.
    ///
    /// # Errors
    /// If it cannot be shown.
    fn show(&mut self, facts: Option<&Facts>, plan: &Plan) -> anyhow::Result<()>;

    /// Whether to go on.
    ///
    /// # Errors
    /// If nobody can be asked.
    fn confirm(&mut self, plan: &Plan) -> anyhow::Result<bool>;
}

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Only plan, and let the API server try each write without keeping it.
    pub dry_run: bool,
    /// How long the lock lasts without being renewed.
    pub lease: Duration,
}

/// Runs it all.
///
/// # Errors
/// What failed before anything was changed; later failures are in the report.
pub async fn remediate(
    connection: &Connection,
    scope: &Scope,
    wish: &Wish,
    options: Options,
    operator: &mut dyn Operator,
) -> anyhow::Result<(RemediationReport, Exit)> {
    let mut interrupt = None;
    for _ in 0..ATTEMPTS {
        let (facts, plan) = prepare(connection, scope, wish).await?;
        operator.show(facts.as_ref(), &plan)?;
        if plan.is_blocked() {
            let message = "Nothing was changed: preflight says no. Mend what it names, or --ignore-preflight-errors=ID,… if you know better.";
            return Ok((RemediationReport::new(&plan, Outcome::Blocked, message), Exit::CheckSaysNo));
        }
        let facts = facts.context("a plan without an observed cluster is always blocked")?;
        if plan.is_empty() {
            return Ok((RemediationReport::new(&plan, Outcome::NothingToDo, "Nothing to do."), Exit::Done));
        }
        let run = Run { connection, facts: &facts, plan: &plan, wish };
        if options.dry_run {
            run.rehearse().await?;
            let message = "Dry run: nothing was changed. The API server would accept every write.";
            return Ok((RemediationReport::new(&plan, Outcome::DryRun, message), Exit::Done));
        }
        if !operator.confirm(&plan)? {
            return Ok((
                RemediationReport::new(&plan, Outcome::Interrupted, "Nothing was changed."),
                Exit::Interrupted,
            ));
        }
        let namespace = &run.kube_proxy()?.namespace;
        let interrupt = match &interrupt {
            Some(interrupt) => interrupt,
            None => interrupt.insert(Interrupt::listen().context("listening for signals; nothing was changed")?),
        };
        let lock = Lock::take(&connection.client, namespace, options.lease).await?;
        let result = run.execute(&lock, interrupt).await;
        lock.release().await;
        match result? {
            Some(done) => return Ok(done),
            None => say("somebody changed the ConfigMap meanwhile: looking again"),
        }
    }
    anyhow::bail!(
        "the ConfigMap was changed by somebody else {ATTEMPTS} times in a row; nothing was changed by this run; find out who and run again"
    )
}

/// Observes and plans; without the rights for it, the plan says only which are missing.
async fn prepare(connection: &Connection, scope: &Scope, wish: &Wish) -> anyhow::Result<(Option<Facts>, Plan)> {
    let client = &connection.client;
    let sets = Api::all_with(client.clone(), &objects::daemon_sets());
    let found = match api::list(&sets, &ListParams::default(), |set: DaemonSet| set).await {
        Ok(sets) => {
            find(&sets, scope.namespace.as_deref(), scope.daemon_set.as_deref()).ok().and_then(|found| found.kube_proxy)
        }
        Err(error) if api::code(&error) == Some(403) => None,
        Err(error) => {
            anyhow::bail!("listing the DaemonSets of {}: {}; nothing was changed", connection.server, plain(&error))
        }
    };
    let namespace =
        found.map(|found| found.namespace).or(scope.namespace.clone()).unwrap_or_else(|| "kube-system".to_owned());
    let missing = permissions::missing(client, &namespace).await.map_err(|error| {
        anyhow::anyhow!("asking which rights this user has: {}; nothing was changed", plain(&error))
    })?;
    let permissions = (!missing.is_empty()).then(|| {
        let hint = "kubeadm/remediate-rbac.yaml grants exactly what is needed; https://kubernetes.io/docs/reference/access-authn-authz/rbac/";
        let mut check = finding(Level::Error, "permissions", format!("this user may not: {}", missing.join(", ")), hint);
        super::checks::soften(std::slice::from_mut(&mut check), wish);
        check
    });
    if let Some(check) = permissions.as_ref().filter(|check| check.level == Level::Error) {
        let mut blocked = Plan::unknown();
        blocked.checks.push(check.clone());
        return Ok((None, blocked));
    }
    let facts = observe(connection, scope).await?;
    let around = match &facts.kube_proxy {
        Some(kube_proxy) => look(client, kube_proxy).await?,
        None => Surroundings::default(),
    };
    let mut plan = plan(&facts, &around, wish);
    plan.checks.extend(permissions);
    Ok((Some(facts), plan))
}
