//! Carries out a plan: saves the original, writes, rolls out, and reports the result or rolls back.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::ended::Ended;
use super::events::Events;
use super::interrupt::Interrupt;
use super::on_nodes;
use super::roll::Roll;
use super::roll_end::RollEnd;
use super::switch::{LOG_AFTER, LOG_ALONE_AFTER, Switcher};
use super::tools::{Pace, Tools, WrittenConfig};
use crate::cluster::api::connection::client::Connection;
use crate::cluster::api::lock::Lock;
use crate::cluster::api::lock::guard::Guard;
use crate::cluster::helper::Helper;
use crate::cluster::helper::work::{Bridging, Cleaner};
use crate::cluster::kube_proxy::backup;
use crate::cluster::kube_proxy::config_map::{ConfigFacts, WriteError, touch, write};
use crate::cluster::kube_proxy::daemon_set::KubeProxy;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::observe::facts::{ClusterFacts, NodeFacts};
use crate::cluster::observe::surroundings::Surroundings;
use crate::cluster::plan::Plan;
use crate::cluster::plan::legs::by_way;
use crate::cluster::plan::request::{Request, Target};
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, Outcome, RemediationReport};
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::event::{Event, What};
use crate::report::few_long;
use crate::report::progress::{Progress, in_words};
use crate::report::say::say;

/// How much longer a bridge lasts than a switch and its rollback may, for asking the node.
const BRIDGE_SLACK: Duration = Duration::from_secs(300);

/// A plan in progress.
pub(super) struct Run<'a> {
    pub(super) connection: &'a Connection,
    pub(super) facts: &'a ClusterFacts,
    pub(super) surroundings: &'a Surroundings,
    pub(super) plan: &'a Plan,
    pub(super) request: &'a Request,
    /// Runs kpx-prep on the nodes, if needed.
    pub(super) helper: Option<&'a Helper>,
    /// Checked before every write.
    pub(super) lock: &'a Lock,
}

/// The result of writing the configuration.
struct Written {
    /// The backup of the original.
    kept: Option<String>,
    /// When the configuration was last changed, in seconds since 1970.
    changed: Option<i64>,
}

impl<'a> Run<'a> {
    pub(super) fn kube_proxy(&self) -> anyhow::Result<&'a KubeProxy> {
        self.facts.kube_proxy.as_ref().context("no kube-proxy found")
    }

    pub(super) fn config(&self) -> anyhow::Result<&'a ConfigFacts> {
        self.facts.config.as_ref().context("no kube-proxy ConfigMap found")
    }

    fn maps(&self) -> anyhow::Result<Api<ConfigMap>> {
        Ok(Api::namespaced(self.connection.client.clone(), &self.kube_proxy()?.namespace))
    }

    pub(super) fn target(&self) -> anyhow::Result<&'a Target> {
        self.plan.target.as_ref().context("the plan has no target")
    }

    pub(super) fn node(&self, name: &str) -> Option<&'a NodeFacts> {
        self.facts.nodes.iter().find(|node| node.name == name)
    }

    /// Carries the plan out, step by step. `None` if the configuration was changed by another writer before it was written.
    pub(super) async fn execute(&self, interrupt: &Interrupt) -> anyhow::Result<Option<Ended>> {
        if interrupt.is_asked() {
            return Ok(Some(self.interrupted("Interrupted; nothing was changed.")));
        }
        if let Some(failed) = self.prepare_nodes().await? {
            return Ok(Some(failed));
        }
        if interrupt.is_asked() {
            return Ok(Some(self.interrupted("Interrupted; nodes were prepared, and nothing else was changed.")));
        }
        let Some(written) = self.write().await? else { return Ok(None) };
        let (target, nodes) = (self.target()?, self.nodes_to_switch());
        let events = Events::new(self.connection.client.clone(), self.kube_proxy()?, self.lock);
        let started = format!("switching kube-proxy to {} on {} node(s)", target.mode, nodes.len());
        events.normal("RemediationStarted", started.clone()).await;
        let cleaner = self.cleaner(target);
        let ports = target.ports();
        let log_after = if cleaner.is_some() { LOG_AFTER } else { LOG_ALONE_AFTER.min(self.plan.timeout / 2) };
        let timeouts = (self.plan.timeout, log_after);
        let switcher = Switcher::new(self.connection, self.kube_proxy()?, ports, timeouts, self.lock);
        let progress = Progress::new(nodes.len());
        let (mode, total) = (Some(target.mode.name()), Some(nodes.len()));
        progress.detail_of_run(&Event { mode, total, ..Event::new(What::Started, &started) });
        let tools = Tools {
            switcher: &switcher,
            cleaner: cleaner.as_ref(),
            lock: self.lock,
            progress: &progress,
            events: &events,
        };
        let (mut report, end) = self.roll(nodes, &written, tools, interrupt).await?;
        let exit = self.finish(&mut report, end, tools, interrupt).await;
        progress.finish();
        // Between the legs, none may be missing that the second one restores.
        if exit == Exit::Done && self.plan.edits && self.plan.then.is_none() {
            let (maps, config) = (self.maps()?, self.config()?);
            let guard = Guard::Lock(self.lock);
            backup::prune(&maps, &config.name, &config.key, report.backup.as_deref(), guard).await;
        }
        Ok(Some(Ended { report, exit }))
    }

    fn interrupted(&self, message: &str) -> Ended {
        Ended::new(self.plan, Outcome::Interrupted, message, Exit::Interrupted)
    }

    /// kube-proxy's pods at the time of planning, by node.
    pub(super) fn planned_pods(&self) -> BTreeMap<String, PodFacts> {
        self.facts.nodes.iter().filter_map(|node| Some((node.name.clone(), node.pod.clone()?))).collect()
    }

    /// The canary first, then the others in their order.
    fn nodes_to_switch(&self) -> Vec<String> {
        self.plan.canary.iter().chain(self.plan.batches.iter().flatten()).cloned().collect()
    }

    /// The nodes that are up to date but for a bridge, which a killed run left.
    fn left_with_bridge(&self) -> Vec<String> {
        let has_bridge = |name: &&String| {
            let survey = self.node(name).and_then(NodeFacts::survey);
            survey.is_some_and(|survey| survey.leftovers.iter().any(|left| left.of == env!("CARGO_PKG_NAME")))
        };
        self.plan.to_clean.iter().filter(has_bridge).cloned().collect()
    }

    /// Switches the nodes; the outcome of each is added to the report.
    async fn roll(
        &self,
        nodes: Vec<String>,
        written: &Written,
        tools: Tools<'_>,
        interrupt: &Interrupt,
    ) -> anyhow::Result<(RemediationReport, RollEnd)> {
        let (config, target) = (self.config()?, self.target()?);
        let roll = Roll {
            connection: self.connection,
            kube_proxy: self.kube_proxy()?,
            config: WrittenConfig { name: &config.name, key: &config.key, text: &target.text, at: written.changed },
            mode: target.mode,
            pods: self.planned_pods(),
            total: nodes.len(),
            pace: Pace {
                at_a_time: self.plan.batch_size,
                settle: self.request.settle,
                // A first leg that is resumed had its canary.
                pause_after_canary: self.request.pause_after_canary && (self.plan.then.is_none() || self.plan.edits),
                pause: self.request.batch_pause,
                max_failures: self.request.max_failures,
            },
            excluded: &self.request.exclude_nodes,
            by_way: if self.request.direct { None } else { by_way(target.mode) },
            interrupt,
            tools,
        };
        let mut report = RemediationReport::new(self.plan, Outcome::Done, "");
        report.backup.clone_from(&written.kept);
        let failed = match tools.cleaner {
            Some(cleaner) => {
                on_nodes::finish_bridged(cleaner, &self.left_with_bridge(), &mut report, tools.progress).await
            }
            None => None,
        };
        let end = match (failed, &target.unfit) {
            (Some(failure), _) => RollEnd::Failed(failure),
            // No pod is replaced for a configuration with which kube-proxy cannot start.
            (None, Some(_)) => RollEnd::Done,
            (None, None) => roll.run(nodes.clone(), &mut report.nodes).await,
        };
        for name in &nodes {
            if !report.nodes.iter().any(|node| node.name == *name) {
                report.nodes.push(NodeResult::new(name, NodeOutcome::NotReached));
            }
        }
        Ok((report, end))
    }

    /// Cleans and drains after a completed rollout, rolls back a failed one, and reports the result.
    async fn finish(
        &self,
        report: &mut RemediationReport,
        end: RollEnd,
        tools: Tools<'_>,
        interrupt: &Interrupt,
    ) -> Exit {
        if let (RollEnd::Done, Some(cleaner)) = (&end, tools.cleaner) {
            on_nodes::clean(cleaner, &self.plan.to_clean, report, tools.progress).await;
            on_nodes::drain(cleaner, &mut report.nodes, interrupt, tools.progress).await;
        }
        let RollEnd::Failed(failure) = end else { return self.ended(report, end, tools.events).await };
        let exit = self.failed(report, failure, tools, interrupt).await;
        if let Some(cleaner) = tools.cleaner {
            on_nodes::drain(cleaner, &mut report.nodes, interrupt, tools.progress).await;
        }
        exit
    }

    /// Saves the original and writes the configuration, if the plan requires it. `None` if it was changed since it was read.
    async fn write(&self) -> anyhow::Result<Option<Written>> {
        let (kube_proxy, config, target) = (self.kube_proxy()?, self.config()?, self.target()?);
        let (maps, guard) = (&self.maps()?, Guard::Lock(self.lock));
        let mut kept = None;
        let mut changed = config.changed;
        if self.lock.was_contended() && !self.plan.edits {
            match touch(maps, config, guard).await {
                Ok(()) => {}
                Err(WriteError::Conflict) => return Ok(None),
                Err(WriteError::Failed(error)) => anyhow::bail!(
                    "taking over ConfigMap {}/{}: {error}; run again to see its state and continue",
                    kube_proxy.namespace,
                    config.name
                ),
            }
        }
        if self.plan.edits {
            kept = Some(backup::keep(maps, config, self.plan.replacement(target), guard).await?);
            match write(maps, config, &target.text, guard).await {
                Ok(time) => changed = time,
                Err(WriteError::Conflict) => return Ok(None),
                Err(WriteError::Failed(error)) => anyhow::bail!(
                    "changing ConfigMap {}/{}: {error}; run again to see its state and continue",
                    kube_proxy.namespace,
                    config.name
                ),
            }
            let now = if target.unfit.is_some() {
                "original restored".to_owned()
            } else {
                format!("mode {} configured", target.mode)
            };
            say(&format!("ConfigMap {}/{}: {now}", kube_proxy.namespace, config.name));
        }
        Ok(Some(Written { kept, changed }))
    }

    /// Prepares the nodes for ipvs; returns the end of the run if that failed on a node.
    async fn prepare_nodes(&self) -> anyhow::Result<Option<Ended>> {
        let Some(helper) = self.helper else { return Ok(None) };
        let progress = Progress::new(0);
        let scheduler = self.plan.end().context("the plan has no target")?.scheduler();
        let prepared = on_nodes::prepare(helper, &self.plan.to_prepare, scheduler, &progress).await;
        progress.finish();
        if prepared.failed.is_empty() {
            return Ok(None);
        }
        let others = match prepared.now.len() {
            0 => String::new(),
            count => format!(" {count} other node(s) were prepared, which is harmless."),
        };
        let message = format!(
            "Failed to prepare {} node(s): {}. The configuration and all kube-proxies were not changed.{others} Fix the nodes and run again.",
            prepared.failed.len(),
            few_long(&prepared.failed)
        );
        Ok(Some(Ended::new(self.plan, Outcome::Left, message, Exit::Failed)))
    }

    /// Only into or out of nftables mode: between iptables and ipvs mode the old rules serve until the first sync.
    fn bridging(&self) -> Option<Bridging> {
        let nftables = Some(ProxyMode::Nftables);
        let runs = self.facts.proxy_nodes().any(|node| node.proof.mode == nftables);
        // Where two legs may have to be gone back, nftables mode may be at their other end.
        let legs = self.plan.original.is_some();
        let needed = !self.request.direct && (runs || legs || self.plan.mode() == nftables);
        // A node may take the time for its switch and twice for its cleaning, then wait for others of the window, and be rolled back.
        let keep = self.plan.timeout * 8 + self.request.settle + BRIDGE_SLACK;
        let must = !self.request.is_restore() && !self.request.ignores("by-way-of-iptables");
        needed.then(|| Bridging { before: self.facts.ports(), keep, must })
    }

    /// How long a node that failed is served without kube-proxy's rules, for the end of a message; empty without bridges. Not
    /// every node has one, so it names the command that shows it.
    pub(super) fn served_until(&self) -> String {
        let bridging = self.helper.and_then(|_| self.bridging());
        let served = |bridging: Bridging| {
            let keep = in_words(bridging.keep);
            format!(
                " Where a kube-proxy was replaced and has not written its rules, a copy of the old ones serves Services for up to {keep}; `kpx-prep status --nodes` shows it."
            )
        };
        bridging.map(served).unwrap_or_default()
    }

    fn cleaner(&self, target: &Target) -> Option<Cleaner<'a>> {
        let pod = |node: &NodeFacts| Some((node.name.clone(), node.pod.as_ref()?.cgroup.clone()));
        let answering = |node: &NodeFacts| Some((node.name.clone(), node.survey()?.answering.clone()));
        Some(Cleaner {
            helper: self.helper?,
            ports: target.ports(),
            services: &self.surroundings.services,
            answered: self.facts.nodes.iter().filter_map(answering).collect(),
            wait: self.plan.timeout,
            prepares: (self.plan.mode().is_some_and(|mode| mode.traits().is_prepared)
                && !self.request.nodes_are_prepared)
                .then(|| target.scheduler().to_owned()),
            removes: self.request.clean,
            bridging: self.bridging(),
            drain: self.request.drain,
            pods: self.facts.nodes.iter().filter_map(pod).collect::<BTreeMap<_, _>>().into(),
        })
    }
}
