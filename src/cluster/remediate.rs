//! `remediate` from start to end: observe, plan, show, confirm, lock, keep the original, write, roll; or go back.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams};

use super::api::plain;
use super::client::Connection;
use super::config_map::{WriteError, write};
use super::daemon_set::find;
use super::drift::{State, finding, state};
use super::events::Events;
use super::facts::{ConfigFacts, Facts, NodeFacts};
use super::interrupt::Interrupt;
use super::lock::Lock;
use super::objects::{self, DaemonSet};
use super::observe::{Scope, observe};
use super::plan::{Plan, plan};
use super::progress::{Progress, say};
use super::proxy_config::{METRICS_PORT, read, target};
use super::remediation_report::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use super::roll::{Roll, RollEnd};
use super::rollback::Rollback;
use super::surroundings::{Surroundings, look};
use super::switch::Switcher;
use super::wish::Wish;
use super::{api, backup, permissions};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
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
        let lock = Lock::take(&connection.client, namespace, options.lease).await?;
        let result = run.execute(&lock).await;
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

struct Run<'a> {
    connection: &'a Connection,
    facts: &'a Facts,
    plan: &'a Plan,
    wish: &'a Wish,
}

impl<'a> Run<'a> {
    fn kube_proxy(&self) -> anyhow::Result<&'a super::daemon_set::KubeProxy> {
        self.facts.kube_proxy.as_ref().context("there is no kube-proxy")
    }

    fn config(&self) -> anyhow::Result<&'a ConfigFacts> {
        self.facts.config.as_ref().context("there is no kube-proxy ConfigMap")
    }

    fn maps(&self) -> anyhow::Result<Api<ConfigMap>> {
        Ok(Api::namespaced(self.connection.client.clone(), &self.kube_proxy()?.namespace))
    }

    fn target(&self) -> anyhow::Result<&'a super::wish::Target> {
        self.plan.target.as_ref().context("the plan has no target")
    }

    fn node(&self, name: &str) -> Option<&'a NodeFacts> {
        self.facts.nodes.iter().find(|node| node.name == name)
    }

    /// Every kind of write once, with `dryRun=All`.
    async fn rehearse(&self) -> anyhow::Result<()> {
        let (maps, config, target) = (self.maps()?, self.config()?, self.target()?);
        if self.plan.edits {
            backup::keep(&maps, config, &target.text, true).await.context("dry run")?;
            match write(&maps, config, &target.text, true).await {
                Ok(_) => {}
                Err(WriteError::Conflict) => {
                    anyhow::bail!("dry run: ConfigMap {} was changed meanwhile; run again", config.name)
                }
                Err(WriteError::Failed(error)) => {
                    anyhow::bail!("dry run: changing ConfigMap {}: {}", config.name, plain(&error))
                }
            }
        }
        let pod = self.plan.canary.as_ref().and_then(|canary| self.node(canary)).and_then(|node| node.pod.as_ref());
        if let Some(pod) = pod {
            let pods = Api::<Pod>::namespaced(self.connection.client.clone(), &self.kube_proxy()?.namespace);
            let delete = pods.delete(&pod.name, &DeleteParams::default().dry_run()).await;
            delete.map_err(|error| anyhow::anyhow!("dry run: deleting pod {}: {}", pod.name, plain(&error)))?;
        }
        Ok(())
    }

    /// Acts. Nothing if the configuration was changed by somebody else before it was written.
    async fn execute(&self, lock: &Lock) -> anyhow::Result<Option<(RemediationReport, Exit)>> {
        let (kube_proxy, config, target) = (self.kube_proxy()?, self.config()?, self.target()?);
        let interrupt = Interrupt::listen().context("listening for signals; nothing was changed")?;
        let events = Events::new(self.connection.client.clone(), kube_proxy);
        let maps = self.maps()?;
        let mut kept = None;
        if self.plan.edits {
            kept = Some(backup::keep(&maps, config, &target.text, false).await?);
            match write(&maps, config, &target.text, false).await {
                Ok(_) => {}
                Err(WriteError::Conflict) => return Ok(None),
                Err(WriteError::Failed(error)) => anyhow::bail!(
                    "changing ConfigMap {}/{}: {}; run again to see what stands and go on",
                    kube_proxy.namespace,
                    config.name,
                    plain(&error)
                ),
            }
            say(&format!("ConfigMap {}/{}: {} is configured now", kube_proxy.namespace, config.name, target.mode));
        }
        let nodes: Vec<String> = self.plan.canary.iter().chain(self.plan.batches.iter().flatten()).cloned().collect();
        events
            .normal("RemediationStarted", format!("switching kube-proxy to {} on {} node(s)", target.mode, nodes.len()))
            .await;
        let port = read(&target.text).map_or(METRICS_PORT, |parsed| parsed.metrics_port);
        let switcher = Switcher::new(self.connection, kube_proxy, port, self.wish.timeout);
        let progress = Progress::new(nodes.len());
        let pods = self.facts.nodes.iter().filter_map(|node| Some((node.name.clone(), node.pod.clone()?))).collect();
        let roll = Roll {
            connection: self.connection,
            kube_proxy,
            config: (&config.name, &config.key, &target.text),
            pods,
            mode: target.mode,
            written: if self.plan.edits { Some(jiff::Timestamp::now().as_second()) } else { config.changed },
            batch_size: self.plan.batch_size,
            settle: self.wish.settle,
            pause: self.wish.pause_after_canary,
            switcher: &switcher,
            lock,
            interrupt: &interrupt,
            progress: &progress,
            events: &events,
        };
        let mut report = RemediationReport::new(self.plan, Outcome::Done, "");
        report.backup = kept;
        let end = roll.run(nodes.clone(), &mut report.nodes).await;
        for name in &nodes {
            if !report.nodes.iter().any(|node| node.name == *name) {
                report.nodes.push(NodeResult::new(name, NodeOutcome::NotReached));
            }
        }
        let exit = match end {
            RollEnd::Failed(why, timed_out) => {
                self.failed(&mut report, why, timed_out, &switcher, &progress, &events).await
            }
            end => self.ended(&mut report, end, &events).await,
        };
        progress.finish();
        if exit == Exit::Done && self.plan.edits {
            backup::prune(&maps, &config.name, &config.key).await;
        }
        Ok(Some((report, exit)))
    }

    /// Tells an end that undoes nothing.
    async fn ended(&self, report: &mut RemediationReport, end: RollEnd, events: &Events) -> Exit {
        let mode = self.plan.to.unwrap_or_default();
        let count = |outcome| report.nodes.iter().filter(|node| node.outcome == outcome).count();
        let proved = count(NodeOutcome::Proved) + count(NodeOutcome::Already);
        let again = "run the same command again to go on, or kpx-prep remediate --rollback to go back";
        let (outcome, message, exit) = match end {
            RollEnd::Done | RollEnd::Failed(..) => {
                let down = count(NodeOutcome::NotReady)
                    + self.plan.left_alone.iter().filter(|left| left.reason == "not ready").count();
                let rest = if down > 0 {
                    format!("; {down} node(s) are not ready: run again when they are back")
                } else {
                    String::new()
                };
                let message = format!("Done: kube-proxy runs {mode} on {proved} node(s), each proved{rest}.");
                events.normal("RemediationDone", message.clone()).await;
                (Outcome::Done, message, Exit::Done)
            }
            RollEnd::Paused => {
                let message = format!("Paused after the canary: {proved} node(s) run {mode}; {again}.");
                events.normal("RemediationPaused", message.clone()).await;
                (Outcome::Paused, message, Exit::Done)
            }
            RollEnd::Interrupted => {
                let message = format!("Interrupted: the configuration says {mode}, {proved} node(s) run it; {again}.");
                events.warning("RemediationInterrupted", message.clone()).await;
                (Outcome::Interrupted, message, Exit::Interrupted)
            }
            RollEnd::Stopped(why) => {
                let message = format!(
                    "Stopped: {why}. The configuration that this run wrote says {mode}, {proved} node(s) run it; {again}."
                );
                events.warning("RemediationFailed", message.clone()).await;
                (Outcome::Left, message, Exit::TimedOut)
            }
        };
        report.outcome = outcome;
        report.message = message;
        exit
    }

    /// A node was not proved: back to what stood before, where there is such a thing.
    async fn failed(
        &self,
        report: &mut RemediationReport,
        why: String,
        timed_out: bool,
        switcher: &Switcher,
        progress: &Progress,
        events: &Events,
    ) -> Exit {
        let original = self.original();
        let (Some(original), false) = (original, self.wish.no_rollback) else {
            let because =
                if self.wish.no_rollback { "--no-rollback leaves it as it is" } else { "there is nothing to undo" };
            report.outcome = Outcome::Left;
            report.message = format!(
                "Failed: {why}; {because}. Mend the node and run again to go on, or kpx-prep remediate --rollback to go back."
            );
            events.warning("RemediationFailed", report.message.clone()).await;
            return if timed_out || self.wish.no_rollback { Exit::TimedOut } else { Exit::Failed };
        };
        progress.event(&format!("{why}: rolling back"));
        let old_mode = read(&original).and_then(|parsed| target(&parsed.mode, self.facts.minor()));
        let back = match (old_mode, self.config(), self.kube_proxy(), self.target()) {
            (Ok(old_mode), Ok(config), Ok(kube_proxy), Ok(target)) => {
                let rollback = Rollback {
                    connection: self.connection,
                    kube_proxy,
                    config: (&config.name, &config.key),
                    written: &target.text,
                    original: &original,
                    batch_size: self.plan.batch_size,
                    switcher,
                    progress,
                };
                let nodes = self.to_roll_back(report, old_mode);
                rollback.run(&nodes, &mut report.nodes).await
            }
            (Err(error), ..) => {
                Err(anyhow::anyhow!("the original configuration is unfit: {error}; it was not put back"))
            }
            _ => Err(anyhow::anyhow!("the plan lost its cluster")),
        };
        match back {
            Ok(()) => {
                report.outcome = Outcome::RolledBack;
                report.message = format!(
                    "Failed and rolled back: {why}. The original configuration is back byte for byte and the old mode proved."
                );
                events.warning("RolledBack", report.message.clone()).await;
                Exit::RolledBack
            }
            Err(error) => {
                report.outcome = Outcome::Failed;
                report.message = format!(
                    "Failed: {why}. The way back failed too: {error:#}. See kpx-prep status; kpx-prep remediate --rollback tries again."
                );
                events.warning("RemediationFailed", report.message.clone()).await;
                Exit::Failed
            }
        }
    }

    /// What stood before the change: of this run, or of the one that it continues.
    fn original(&self) -> Option<String> {
        let config = self.facts.config.as_ref()?;
        if self.plan.edits {
            return Some(config.text.clone());
        }
        let of_last = self.facts.backups.iter().find(|backup| backup.written.as_ref() == Some(&config.text));
        of_last.map(|backup| backup.text.clone()).filter(|text| *text != config.text)
    }

    /// The nodes that run the new configuration, the failed ones first, and the mode that each had.
    fn to_roll_back(&self, report: &RemediationReport, old_mode: ProxyMode) -> Vec<(String, ProxyMode)> {
        let of = |outcome: NodeOutcome| report.nodes.iter().filter(move |node| node.outcome == outcome);
        let continued = (!self.plan.edits).then(|| of(NodeOutcome::Already)).into_iter().flatten();
        let nodes = of(NodeOutcome::Failed).chain(of(NodeOutcome::Proved)).chain(continued);
        nodes
            .map(|result| {
                // A node that could not run the old configuration's mode before cannot do so now.
                let fell_back = self
                    .node(&result.name)
                    .is_some_and(|node| state(node, self.facts.target().ok(), self.facts.minor()) == State::Fallback);
                let mode = if fell_back && self.plan.edits { ProxyMode::Iptables } else { old_mode };
                (result.name.clone(), mode)
            })
            .collect()
    }
}
