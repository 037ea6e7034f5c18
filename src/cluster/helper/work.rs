//! The helper's commands on nodes: inspect, prepare, clean, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;
use serde::Serialize;

use super::{Coverage, Helper};
use crate::cluster::api::streams::AT_A_TIME;
use crate::cluster::kube_proxy::pod::PodFacts;
use crate::cluster::kube_proxy::services::Services;
use crate::mode::ProxyMode;
use crate::node_protocol::{BridgeOutcome, BridgeReport, CleanOutcome, CleanReport, Preparation, Survey};
use crate::proxy_ports::ProxyPorts;
use crate::report::Level;

/// Timeout of a survey, and its increment per Service: reading the rules of 10,000 may take ten minutes.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(60);
const SURVEY_TIMEOUT_PER_SERVICE: Duration = Duration::from_millis(60);
/// Timeout for loading the modules of a node.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(180);
/// Additional time for a command beyond its own waiting time.
pub(super) const SLACK: Duration = Duration::from_secs(60);

/// The answer of each node.
pub type Answers<T> = BTreeMap<String, Result<T, String>>;

/// The result of cleaning a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cleaned {
    /// The outcome.
    pub outcome: CleanOutcome,
    /// Number of removed objects.
    pub removed: usize,
    /// Number of remaining objects.
    pub remaining: usize,
    /// Number of live connections that ended with their virtual server.
    pub connections_cut: u32,
    /// Why objects remain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The mode that kube-proxy answered with on the node.
    #[serde(skip)]
    pub running: Option<ProxyMode>,
    /// Whether virtual servers or `kube-ipvs0` of the old mode still have to be drained.
    #[serde(skip)]
    pub to_drain: bool,
}

impl Cleaned {
    pub(super) fn new(report: &CleanReport) -> Self {
        let errors = report.findings.iter().filter(|note| note.level == Level::Error);
        let why: Vec<_> = errors.map(|note| note.message.clone()).collect();
        let went_well = matches!(report.outcome, CleanOutcome::Cleaned | CleanOutcome::NothingToClean);
        Self {
            outcome: report.outcome,
            removed: report.removed.len(),
            remaining: report.remaining.len(),
            connections_cut: report.connections_cut,
            detail: if !why.is_empty() {
                Some(why.join("; "))
            } else if went_well {
                None
            } else {
                Some(report.summary.clone())
            },
            running: report.running.as_ref().and_then(|mode| mode.parse().ok()),
            // What a successful clean leaves was kept for later.
            to_drain: went_well && !report.remaining.is_empty(),
        }
    }

    /// A clean that could not be run.
    pub(in crate::cluster) fn impossible(why: String) -> Self {
        let outcome = CleanOutcome::Failed;
        Self {
            outcome,
            removed: 0,
            remaining: 0,
            connections_cut: 0,
            detail: Some(why),
            running: None,
            to_drain: false,
        }
    }

    /// Whether the running mode has synced and its Services answer, as far as that was tested.
    pub fn is_verified(&self) -> bool {
        !matches!(self.outcome, CleanOutcome::NotSynced | CleanOutcome::NotServing)
    }

    /// Whether no leftovers of other modes remain.
    pub fn is_clean(&self) -> bool {
        matches!(self.outcome, CleanOutcome::Cleaned | CleanOutcome::NothingToClean) && self.remaining == 0
    }

    /// The result as text.
    pub fn words(&self) -> String {
        let mut parts = vec![match self.removed {
            0 => "no leftovers".to_owned(),
            1 => "1 leftover removed".to_owned(),
            removed => format!("{removed} leftovers removed"),
        }];
        if self.connections_cut > 0 {
            parts.push(format!("{} connections closed", self.connections_cut));
        }
        if self.remaining > 0 {
            parts.push(format!("{} remain", self.remaining));
        }
        parts.extend(self.detail.clone());
        parts.join(", ")
    }

    /// Combined with a later result.
    fn then(self, later: Self) -> Self {
        Self {
            removed: self.removed + later.removed,
            connections_cut: self.connections_cut + later.connections_cut,
            ..later
        }
    }
}

/// How nodes are cleaned in a run.
pub struct Cleaner<'a> {
    /// The helper.
    pub helper: &'a Helper,
    /// kube-proxy's ports.
    pub ports: ProxyPorts,
    /// The Services that the new mode must have programmed.
    pub services: &'a Services,
    /// The Services that answered on each node before the change.
    pub answered: BTreeMap<String, Vec<SocketAddr>>,
    /// How long a new proxier may take to program every Service.
    pub wait: Duration,
    /// The IPVS scheduler for preparing nodes that join during the rollout; `None` if they are not prepared.
    pub prepares: Option<String>,
    /// Whether leftovers are removed; otherwise the node is only checked.
    pub removes: bool,
    /// How Services are served while a node's kube-proxy is replaced; `None` if it needs nothing.
    pub bridging: Option<Bridging>,
    /// How long existing connections may drain.
    pub drain: Duration,
    /// The kube-proxy pod on each node, as the id in its cgroup name.
    pub pods: Mutex<BTreeMap<String, String>>,
}

/// How Services are served while a node's kube-proxy is replaced, if that goes into or out of nftables mode.
#[derive(Clone, Copy, Debug)]
pub struct Bridging {
    /// The ports of the kube-proxies that the run found.
    pub before: ProxyPorts,
    /// How long the kernel uses the copy: for the switch, and for a rollback.
    pub keep: Duration,
    /// Whether a node is switched only with a copy. An original is restored without one, too.
    pub must: bool,
}

/// Why a node's rules were not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoBridge {
    /// The node's answer, with what to do.
    Node(String),
    /// It gave none.
    NoAnswer(String),
}

impl NoBridge {
    /// The reason.
    pub fn into_reason(self) -> String {
        match self {
            Self::Node(why) | Self::NoAnswer(why) => why,
        }
    }
}

/// The options of a survey.
pub struct Surveyed<'a> {
    /// The IPVS scheduler in use.
    pub scheduler: &'a str,
    /// kube-proxy's metrics port.
    pub port: u16,
    /// Addresses to test for a connection.
    pub questions: &'a [SocketAddr],
    /// The kube-proxy pod on each node, as the id in its cgroup name.
    pub pods: BTreeMap<String, String>,
    /// Number of Services in the cluster.
    pub services: usize,
}

/// Additional time for reading the rules of so many Services.
pub(super) fn reading(services: usize) -> Duration {
    SURVEY_TIMEOUT_PER_SERVICE * u32::try_from(services).unwrap_or(10_000).min(10_000)
}

/// The options that identify kube-proxy's process on a node and set its limits.
fn known(pod: Option<&String>, services: usize) -> Vec<String> {
    let pod = pod.filter(|pod| !pod.is_empty()).map(|pod| ["--pod".to_owned(), pod.clone()]);
    let count = ["--service-count".to_owned(), services.to_string()];
    pod.into_iter().flatten().chain(count).collect()
}

impl Helper {
    /// Surveys these nodes in parallel.
    pub async fn survey(&self, nodes: &[String], about: &Surveyed<'_>) -> Answers<Survey> {
        let port = about.port.to_string();
        let questions: Vec<String> = about.questions.iter().map(ToString::to_string).collect();
        let mut arguments = vec!["survey", "--metrics-port", &port];
        arguments.extend(self.needs(about.scheduler));
        arguments.extend(questions.iter().flat_map(|question| ["--ask", question.as_str()]));
        let patience = SURVEY_TIMEOUT + reading(about.services);
        let arguments = &arguments;
        self.on_all(nodes, |node| async move {
            let known = known(about.pods.get(node), about.services);
            let arguments: Vec<&str> = arguments.iter().copied().chain(known.iter().map(String::as_str)).collect();
            self.ask(node, &arguments, None, patience).await
        })
        .await
    }

    /// Prepares these nodes in parallel.
    pub async fn install(&self, nodes: &[String], scheduler: &str) -> Answers<Preparation> {
        let mut arguments = [vec!["install", "--load"], self.needs(scheduler)].concat();
        if self.mode() == ProxyMode::Nftables {
            // For the trial transaction; loading modules needs none of kube-proxy's programs.
            arguments.extend(self.setup.tools());
        }
        self.on_all(nodes, |node| async {
            let installed: Preparation = self.ask(node, &arguments, None, INSTALL_TIMEOUT).await?;
            Ok(Preparation { outcome: installed.outcome, summary: installed.summary, findings: installed.findings })
        })
        .await
    }

    async fn on_all<'n, T, F>(&self, nodes: &'n [String], work: impl Fn(&'n str) -> F) -> Answers<T>
    where
        F: Future<Output = Result<T, String>>,
    {
        let work = &work;
        let all = nodes.iter().map(|node| async move { (node.clone(), work(node).await) });
        futures::stream::iter(all).buffer_unordered(AT_A_TIME).collect().await
    }
}

impl Cleaner<'_> {
    /// Waits for the helper on a node that joined during the rollout, and prepares it.
    ///
    /// # Errors
    /// If it could not be reached or prepared.
    pub async fn welcome(&self, node: &str) -> Result<(), String> {
        let node = [node.to_owned()];
        self.helper.wait(&node, Coverage::EveryNode).await.map_err(|error| format!("{error:#}"))?;
        let Some(scheduler) = &self.prepares else { return Ok(()) };
        for (_, answer) in self.helper.install(&node, scheduler).await {
            let prepared = answer?;
            if !prepared.outcome.is_prepared() {
                return Err(prepared.summary);
            }
        }
        Ok(())
    }

    /// Copies the rules that serve a node's Services, because kube-proxy removes them when it starts in `to`, before it has written
    /// its own. [`Cleaner::clean`] removes the copy. `ports`: those of the running kube-proxy.
    ///
    /// # Errors
    /// Why they could not be copied; nothing was changed on the node.
    pub async fn bridge(&self, node: &str, to: ProxyMode, ports: ProxyPorts) -> Result<(), NoBridge> {
        let Some(bridging) = self.bridging else { return Ok(()) };
        let (port, healthz) = (ports.metrics.to_string(), ports.healthz.to_string());
        let keep = format!("{}s", bridging.keep.as_secs());
        let mut arguments = vec!["bridge", "--to", to.name(), "--keep", &keep];
        arguments.extend(["--metrics-port", &port, "--healthz-port", &healthz]);
        let services = self.services.ports.len();
        let known = known(self.pods().get(node), services);
        arguments.extend(known.iter().map(String::as_str));
        let patience = SURVEY_TIMEOUT + reading(services);
        let asked = self.helper.ask::<BridgeReport>(node, &arguments, None, patience).await;
        let report = asked.map_err(NoBridge::NoAnswer)?;
        match report.outcome {
            BridgeOutcome::Put | BridgeOutcome::NothingToCopy => Ok(()),
            BridgeOutcome::Refused | BridgeOutcome::Failed => {
                Err(NoBridge::Node(format!("{}; --direct switches without a copy", report.summary)))
            }
        }
    }

    /// Waits until the running mode has programmed every Service, checks that Services still answer, and removes what other
    /// modes left, except virtual servers, which are drained together at the end. `pod`: kube-proxy's pod, if it is new.
    pub async fn clean(&self, node: &str, pod: Option<&PodFacts>) -> Cleaned {
        if let Some(pod) = pod {
            self.pods().insert(node.to_owned(), pod.cgroup.clone());
        }
        let (port, healthz) = (self.ports.metrics.to_string(), self.ports.healthz.to_string());
        let wait = format!("{}s", self.wait.as_secs().max(1));
        let mut arguments = vec!["clean", "--metrics-port", &port, "--healthz-port", &healthz];
        arguments.extend(["--services", "-", "--wait", &wait]);
        arguments.push(if self.removes { "--keep-virtual-servers" } else { "--keep-leftovers" });
        let answered = self.answered.get(node).map_or(&[][..], Vec::as_slice);
        let mut message = self.services.message(answered);
        let mut cleaned = self.ask(node, &arguments, Some(&message)).await;
        if cleaned.outcome == CleanOutcome::NotSynced
            && let Ok(now) = Services::list(self.helper.client()).await
            && now != *self.services
        {
            // A Service that was deleted since will not be programmed.
            message = now.message(answered);
            cleaned = self.ask(node, &arguments, Some(&message)).await;
        }
        cleaned
    }

    /// Removes what [`Cleaner::clean`] left, each virtual server once its connections have ended or the time is over.
    pub async fn drain(&self, node: &str, before: Cleaned) -> Cleaned {
        let (port, healthz) = (self.ports.metrics.to_string(), self.ports.healthz.to_string());
        let drain = format!("{}s", self.drain.as_secs());
        let arguments = ["clean", "--metrics-port", &port, "--healthz-port", &healthz, "--drain", &drain];
        before.then(self.ask(node, &arguments, None).await)
    }

    fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.pods.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn ask(&self, node: &str, arguments: &[&str], input: Option<&str>) -> Cleaned {
        let services = self.services.ports.len();
        let known = known(self.pods().get(node), services);
        let arguments: Vec<&str> = arguments.iter().copied().chain(known.iter().map(String::as_str)).collect();
        let arguments = arguments.as_slice();
        let patience = self.wait + self.drain + reading(services) + SLACK;
        match self.helper.ask::<CleanReport>(node, arguments, input, patience).await {
            Ok(report) => Cleaned::new(&report),
            Err(why) => Cleaned::impossible(why),
        }
    }
}
