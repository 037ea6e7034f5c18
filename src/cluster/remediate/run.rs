//! Carries out a plan: keeps the original, writes, rolls; and tells how it ended, or goes back.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::events::Events;
use super::interrupt::Interrupt;
use super::on_nodes;
use super::roll::{Roll, RollEnd};
use super::switch::Switcher;
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::helper::Helper;
use crate::cluster::helper::work::Cleaner;
use crate::cluster::kube_proxy::backup;
use crate::cluster::kube_proxy::config_map::{ConfigFacts, WriteError, touch, write};
use crate::cluster::observe::facts::{Facts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::cluster::plan::Plan;
use crate::cluster::plan::request::Wish;
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::proxy_config::{METRICS_PORT, read};
use crate::report::few;
use crate::report::progress::Progress;
use crate::report::say::say;

/// A plan that is carried out.
pub(super) struct Run<'a> {
    pub(super) connection: &'a Connection,
    pub(super) facts: &'a Facts,
    pub(super) around: &'a Surroundings,
    pub(super) plan: &'a Plan,
    pub(super) wish: &'a Wish,
    /// Runs kpx-prep on the nodes, unless nothing is to be done there.
    pub(super) helper: Option<&'a Helper>,
    /// Asked before every write.
    pub(super) lock: &'a Lock,
}

/// What was written before any pod is replaced.
struct Written {
    /// The backup that keeps what stood before.
    kept: Option<String>,
    /// When the configuration was last changed, in seconds since 1970.
    changed: Option<i64>,
}

impl<'a> Run<'a> {
    pub(super) fn kube_proxy(&self) -> anyhow::Result<&'a crate::cluster::kube_proxy::daemon_set::KubeProxy> {
        self.facts.kube_proxy.as_ref().context("there is no kube-proxy")
    }

    pub(super) fn config(&self) -> anyhow::Result<&'a ConfigFacts> {
        self.facts.config.as_ref().context("there is no kube-proxy ConfigMap")
    }

    fn maps(&self) -> anyhow::Result<Api<ConfigMap>> {
        Ok(Api::namespaced(self.connection.client.clone(), &self.kube_proxy()?.namespace))
    }

    pub(super) fn target(&self) -> anyhow::Result<&'a crate::cluster::plan::request::Target> {
        self.plan.target.as_ref().context("the plan has no target")
    }

    pub(super) fn node(&self, name: &str) -> Option<&'a NodeFacts> {
        self.facts.nodes.iter().find(|node| node.name == name)
    }

    /// Acts. Nothing if the configuration was changed by somebody else before it was written.
    pub(super) async fn execute(&self, interrupt: &Interrupt) -> anyhow::Result<Option<(RemediationReport, Exit)>> {
        let (kube_proxy, config, target) = (self.kube_proxy()?, self.config()?, self.target()?);
        if interrupt.is_asked() {
            let report = RemediationReport::new(self.plan, Outcome::Interrupted, "Interrupted: nothing was changed.");
            return Ok(Some((report, Exit::Interrupted)));
        }
        let events = Events::new(self.connection.client.clone(), kube_proxy, self.lock);
        let guard = Guard::Lock(self.lock);
        let parsed = read(&target.text).ok();
        if let Some(report) = self.prepare_nodes(parsed.as_ref().and_then(|parsed| parsed.scheduler.as_deref())).await {
            return Ok(Some((report, Exit::Failed)));
        }
        if interrupt.is_asked() {
            let message = "Interrupted: nodes were prepared, and nothing else was changed.";
            return Ok(Some((RemediationReport::new(self.plan, Outcome::Interrupted, message), Exit::Interrupted)));
        }
        let maps = self.maps()?;
        let Some(Written { kept, changed }) = self.write(&maps, guard).await? else { return Ok(None) };
        let nodes: Vec<String> = self.plan.canary.iter().chain(self.plan.batches.iter().flatten()).cloned().collect();
        events
            .normal("RemediationStarted", format!("switching kube-proxy to {} on {} node(s)", target.mode, nodes.len()))
            .await;
        let (port, scheduler) = parsed.map_or((METRICS_PORT, None), |parsed| (parsed.metrics_port, parsed.scheduler));
        let cleaner = self.cleaner(port, scheduler);
        let switcher = Switcher::new(self.connection, kube_proxy, port, self.wish.timeout, self.lock);
        let progress = Progress::new(nodes.len());
        let pods = self.facts.nodes.iter().filter_map(|node| Some((node.name.clone(), node.pod.clone()?))).collect();
        let roll = Roll {
            connection: self.connection,
            kube_proxy,
            config: (&config.name, &config.key, &target.text),
            pods,
            total: nodes.len(),
            mode: target.mode,
            written: changed,
            batch_size: self.plan.batch_size,
            settle: self.wish.settle,
            pause: self.wish.pause_after_canary,
            excluded: &self.wish.exclude_nodes,
            switcher: &switcher,
            cleaner: cleaner.as_ref(),
            lock: self.lock,
            interrupt,
            progress: &progress,
            events: &events,
        };
        let mut report = RemediationReport::new(self.plan, Outcome::Done, "");
        report.backup = kept;
        // No pod is replaced for what no kube-proxy can start with.
        let end = match target.unfit {
            Some(_) => RollEnd::Done,
            None => roll.run(nodes.clone(), &mut report.nodes).await,
        };
        for name in &nodes {
            if !report.nodes.iter().any(|node| node.name == *name) {
                report.nodes.push(NodeResult::new(name, NodeOutcome::NotReached));
            }
        }
        if let (RollEnd::Done, Some(cleaner)) = (&end, &cleaner) {
            on_nodes::clean(cleaner, &self.plan.to_clean, &mut report, &progress).await;
            on_nodes::drain(cleaner, &mut report.nodes, interrupt, &progress).await;
        }
        let exit = match end {
            RollEnd::Failed(why, timed_out) => {
                let with = (&switcher, cleaner.as_ref(), &progress);
                let exit = self.failed(&mut report, why, timed_out, with, &events).await;
                if let Some(cleaner) = &cleaner {
                    on_nodes::drain(cleaner, &mut report.nodes, interrupt, &progress).await;
                }
                exit
            }
            end => self.ended(&mut report, end, &events).await,
        };
        progress.finish();
        if exit == Exit::Done && self.plan.edits {
            backup::prune(&maps, &config.name, &config.key, report.backup.as_deref(), guard).await;
        }
        Ok(Some((report, exit)))
    }

    /// Keeps the original and writes the configuration, as far as the plan says so. Nothing if it was changed since it was read.
    async fn write(&self, maps: &Api<ConfigMap>, guard: Guard<'_>) -> anyhow::Result<Option<Written>> {
        let (kube_proxy, config, target) = (self.kube_proxy()?, self.config()?, self.target()?);
        let mut kept = None;
        let mut changed = config.changed;
        if self.lock.was_contended() && !self.plan.edits {
            match touch(maps, config, guard).await {
                Ok(()) => {}
                Err(WriteError::Conflict) => return Ok(None),
                Err(WriteError::Failed(error)) => anyhow::bail!(
                    "taking over ConfigMap {}/{}: {error}; run again to see its state and go on",
                    kube_proxy.namespace,
                    config.name
                ),
            }
        }
        if self.plan.edits {
            kept = Some(backup::keep(maps, config, &target.text, guard).await?);
            match write(maps, config, &target.text, guard).await {
                Ok(time) => changed = time,
                Err(WriteError::Conflict) => return Ok(None),
                Err(WriteError::Failed(error)) => anyhow::bail!(
                    "changing ConfigMap {}/{}: {error}; run again to see its state and go on",
                    kube_proxy.namespace,
                    config.name
                ),
            }
            let now = if target.unfit.is_some() {
                "the original is back".to_owned()
            } else {
                format!("{} is configured now", target.mode)
            };
            say(&format!("ConfigMap {}/{}: {now}", kube_proxy.namespace, config.name));
        }
        Ok(Some(Written { kept, changed }))
    }

    /// Tells an end that undoes nothing.
    async fn ended(&self, report: &mut RemediationReport, end: RollEnd, events: &Events) -> Exit {
        let mode = self.plan.to.unwrap_or_default();
        let count = |outcome| report.nodes.iter().filter(|node| node.outcome == outcome).count();
        let proved = count(NodeOutcome::Proved) + count(NodeOutcome::Already);
        let again = "run the same command again to go on, or kpx-prep remediate --rollback to go back";
        let unfit = self.plan.target.as_ref().and_then(|target| target.unfit.as_ref());
        let (outcome, message, exit) = match end {
            RollEnd::Done if let Some(why) = unfit => {
                let message = format!(
                    "Done: the original configuration is back byte for byte. It has no mode that kube-proxy can run ({why}), so no kube-proxy was restarted: each keeps the mode that it runs."
                );
                events.normal("RemediationDone", message.clone()).await;
                (Outcome::Done, message, Exit::Done)
            }
            RollEnd::Done | RollEnd::Failed(..) => {
                let down = count(NodeOutcome::NotReady);
                let rest = if down > 0 {
                    format!("; {down} node(s) are not ready: run again when they are back")
                } else {
                    String::new()
                };
                let message = format!("Done: kube-proxy runs {mode} on {proved} node(s), each proved{rest}.");
                events.normal("RemediationDone", message.clone()).await;
                let unclean = |node: &&NodeResult| node.cleaned.as_ref().is_some_and(|cleaned| !cleaned.is_clean());
                let dirty: Vec<_> = report.nodes.iter().filter(unclean).map(|node| node.name.clone()).collect();
                if dirty.is_empty() || !self.wish.clean {
                    (Outcome::Done, message, Exit::Done)
                } else {
                    let left = format!(
                        "{message} Leftovers of another mode remain on {}: run the same command again to remove them.",
                        few(&dirty)
                    );
                    (Outcome::LeftoversRemain, left, Exit::TimedOut)
                }
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

    /// Prepares the nodes for ipvs; a report if that was impossible somewhere.
    async fn prepare_nodes(&self, scheduler: Option<&str>) -> Option<RemediationReport> {
        let helper = self.helper?;
        let progress = Progress::new(0);
        let prepared = on_nodes::prepare(helper, &self.plan.to_prepare, scheduler.unwrap_or("rr"), &progress).await;
        progress.finish();
        if prepared.failed.is_empty() {
            return None;
        }
        let others = match prepared.now.len() {
            0 => String::new(),
            count => format!(" {count} other node(s) were prepared, which does no harm."),
        };
        let message = format!(
            "Failed to prepare nodes: {}. The configuration and all kube-proxies are as they were.{others} Fix the nodes and run again.",
            prepared.failed.join("; ")
        );
        Some(RemediationReport::new(self.plan, Outcome::Left, message))
    }

    fn cleaner(&self, metrics_port: u16, scheduler: Option<String>) -> Option<Cleaner<'a>> {
        let pod = |node: &NodeFacts| Some((node.name.clone(), node.pod.as_ref()?.cgroup.clone()));
        let answering = |node: &NodeFacts| Some((node.name.clone(), node.survey()?.answering.clone()));
        Some(Cleaner {
            helper: self.helper?,
            metrics_port,
            services: &self.around.services,
            answered: self.facts.nodes.iter().filter_map(answering).collect(),
            wait: self.wish.timeout,
            prepares: (self.plan.mode() == Some(ProxyMode::Ipvs) && !self.wish.nodes_are_prepared)
                .then(|| scheduler.unwrap_or_else(|| "rr".to_owned())),
            removes: self.wish.clean,
            drain: self.wish.drain,
            pods: self.facts.nodes.iter().filter_map(pod).collect::<BTreeMap<_, _>>().into(),
        })
    }
}
