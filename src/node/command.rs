//! The node commands, however they were given: by the command line of kpx-prep, or by that of the node program.

use std::path::Path;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;

use super::boot::request::NodeRequest;
use super::check::check;
pub use super::command_options::{
    BridgeCommand, CheckCommand, CleanCommand, InstallCommand, KubeProxyOptions, ModuleOptions, SurveyCommand,
};
use super::driven;
use super::install::{InstallOptions, install};
use super::kube_proxy::bridge::put::{BridgeOptions, put};
use super::kube_proxy::clean::{CleanOptions, clean};
use super::kube_proxy::nft_trial::Programs;
use super::kube_proxy::process::toolbox::Known;
use super::kube_proxy::report::{LeftoversReport, leftovers};
use super::kube_proxy::survey::survey;
use super::modules::modprobe::HostModprobe;
use super::remove::remove;
use super::report::NodeReport;
use super::root::Root;
use crate::bounded::read_named_text;
use crate::exit_code::{Exit, Refusal};
use crate::mode::{ProxyMode, policy};
use crate::node_protocol::{BridgeReport, CleanReport, ServicePort, Survey};

/// A node command with its options; the meaning of each is in the help of kpx-prep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeCommand {
    /// `node install`
    Install(InstallCommand),
    /// `node check`
    Check(CheckCommand),
    /// `node remove`
    Remove {
        /// `--mode`
        mode: Option<ProxyMode>,
        /// `--unload`
        unload: bool,
    },
    /// `node survey`
    Survey(SurveyCommand),
    /// `node leftovers`
    Leftovers(KubeProxyOptions),
    /// `node bridge`
    Bridge(BridgeCommand),
    /// `node clean`
    Clean(CleanCommand),
}

/// The report of a node command.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum NodeAnswer {
    /// Of `install`, `check` and `remove`.
    Node(NodeReport),
    /// Of `survey`.
    Survey(Box<Survey>),
    /// Of `leftovers`.
    Leftovers(LeftoversReport),
    /// Of `bridge`.
    Bridge(BridgeReport),
    /// Of `clean`.
    Clean(CleanReport),
}

impl KubeProxyOptions {
    fn known(&self) -> anyhow::Result<Known> {
        let tools = self.tools.as_deref().map(|path| tree_at("--tools", path)).transpose()?;
        Ok(Known { pods: self.pods.clone(), services: self.services, tools })
    }
}

/// The file tree at `path`, which an option named.
fn tree_at(option: &str, path: &Path) -> anyhow::Result<Root> {
    Root::new(path)
        .map_err(|error| Refusal::usage(format!("{option} {}: {error}; nothing was changed", path.display())))
}

/// Only root may read links, rules and the IPVS table.
fn need_root() -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Refusal::usage(
        "root is required to read the host's rules and IPVS table; nothing was changed. Run it again as root",
    ))
}

impl ModuleOptions {
    /// The request of these options.
    fn request(&self) -> anyhow::Result<NodeRequest> {
        self.request_for(self.mode.unwrap_or(ProxyMode::Ipvs), None)
    }

    /// The request of these options for a mode; without `--modules` and `--scheduler` what was requested before.
    fn request_for(&self, mode: ProxyMode, before: Option<&NodeRequest>) -> anyhow::Result<NodeRequest> {
        let (modules, scheduler) = (self.modules.as_deref(), self.scheduler.as_deref());
        let new = NodeRequest::parse(mode, modules.unwrap_or("all"), scheduler);
        let new = new.map_err(Refusal::usage)?;
        if let (ProxyMode::Nftables, Some(minor)) = (mode, self.minor) {
            policy(mode, minor).map_err(|refused| Refusal::usage(format!("{refused}; nothing was changed")))?;
        }
        let new = before.filter(|_| modules.is_none() && scheduler.is_none()).cloned().unwrap_or(new);
        Ok(new.with(self.minor, self.mechanism, before))
    }

    /// The requests of `node check`: for the mode that is named, or else for each mode for which the node was prepared.
    fn requests(&self, before: &[NodeRequest]) -> anyhow::Result<Vec<NodeRequest>> {
        let known = |mode: ProxyMode| before.iter().find(|request| request.mode == mode);
        let mut modes: Vec<ProxyMode> = before.iter().map(|request| request.mode).collect();
        // A scheduler is one of ipvs.
        let given = self.mode.or_else(|| self.scheduler.is_some().then_some(ProxyMode::Ipvs));
        if given.is_some() || modes.is_empty() {
            modes = vec![given.unwrap_or(ProxyMode::Ipvs)];
        }
        modes.into_iter().map(|mode| self.request_for(mode, known(mode))).collect()
    }

    /// What is known about kube-proxy, to find its `nft`.
    fn known(&self) -> anyhow::Result<Known> {
        KubeProxyOptions { tools: self.tools.clone(), ..KubeProxyOptions::default() }.known()
    }

    fn loads(&self, root: &Root) -> bool {
        self.load.unwrap_or(root.is_host())
    }
}

impl NodeCommand {
    /// Runs it on the file tree at `root`.
    ///
    /// # Errors
    /// If it could not be run; the message says what the state is then.
    pub fn run(self, root: &Path) -> anyhow::Result<(NodeAnswer, Exit)> {
        let of_node = |(report, exit)| (NodeAnswer::Node(report), exit);
        match self {
            Self::Install(command) => {
                let request = command.modules.request()?;
                let (root, known) = (tree_at("--root", root)?, command.modules.known()?);
                let load = command.modules.loads(&root);
                let options = InstallOptions { load, dry_run: command.dry_run, force: command.force };
                let probe = Programs { root: &root, known: &known };
                install(&root, &request, options, &HostModprobe(&root), Some(&probe)).map(of_node)
            }
            Self::Check(options) => {
                options.requests(&[])?;
                let (root, known) = (tree_at("--root", root)?, options.known()?);
                let load = options.loads(&root);
                let requests = |before: &[NodeRequest]| options.requests(before);
                check(&root, requests, load, Some(&Programs { root: &root, known: &known })).map(of_node)
            }
            Self::Remove { mode, unload } => {
                // Refuses a mode for which nothing is installed.
                ModuleOptions { mode, ..ModuleOptions::default() }.request()?;
                let root = tree_at("--root", root)?;
                remove(&root, mode, unload, &HostModprobe(&root)).map(of_node)
            }
            Self::Survey(command) => {
                let SurveyCommand { mode, scheduler, minor, .. } = command;
                let request = ModuleOptions { mode, scheduler, minor, ..Default::default() }.request()?;
                need_root()?;
                let (root, known) = (tree_at("--root", root)?, command.kube_proxy.known()?);
                let survey = survey(&root, &request, command.kube_proxy.ports.metrics, &command.ask, &known)?;
                Ok((NodeAnswer::Survey(Box::new(survey)), Exit::Done))
            }
            Self::Leftovers(kube_proxy) => {
                need_root()?;
                let (report, exit) =
                    leftovers(&tree_at("--root", root)?, kube_proxy.ports.metrics, &kube_proxy.known()?)?;
                Ok((NodeAnswer::Leftovers(report), exit))
            }
            Self::Bridge(command) => {
                need_root()?;
                let KubeProxyOptions { ports, .. } = command.kube_proxy;
                let to = command.to.ok_or_else(|| Refusal::usage("bridge requires --to MODE; nothing was changed"))?;
                let options = BridgeOptions { ports, to, keep: command.keep, known: command.kube_proxy.known()? };
                let (report, exit) = put(&tree_at("--root", root)?, &options)?;
                Ok((NodeAnswer::Bridge(report), exit))
            }
            Self::Clean(command) => {
                let without = command.without().map_err(Refusal::usage)?;
                need_root()?;
                let options = CleanOptions {
                    from: command.from,
                    dry_run: command.dry_run,
                    ports: command.kube_proxy.ports,
                    services: command.services.as_deref().map(read_services).transpose()?.unwrap_or_default(),
                    wait: command.wait,
                    keep_virtual_servers: command.keep_virtual_servers,
                    drain: command.drain,
                    keep_leftovers: command.keep_leftovers,
                    without,
                    known: command.kube_proxy.known()?,
                };
                let (report, exit) = clean(&tree_at("--root", root)?, &options)?;
                Ok((NodeAnswer::Clean(report), exit))
            }
        }
    }
}

/// Reads one line only: the sender may be unable to close standard input.
fn read_services(file: &Path) -> anyhow::Result<Vec<ServicePort>> {
    let (name, text) = if file.as_os_str() == "-" {
        let line = driven::line().context("reading --services from standard input")?;
        ("standard input".to_owned(), line)
    } else {
        let name = file.display().to_string();
        let text = read_named_text(file)
            .map_err(|error| Refusal::usage(format!("--services {name}: {error}; nothing was changed")))?;
        (name, text)
    };
    serde_json::from_str(&text).map_err(|error| {
        Refusal::usage(format!("--services: {name} is not a JSON list of Service ports: {error}; nothing was changed"))
    })
}

/// What the node helper's container runs: waits until it is told to end. As PID 1 of its container it would ignore a signal
/// that it does not wait for.
///
/// # Errors
/// Errors of the kernel.
pub fn wait_for_the_end() -> anyhow::Result<Exit> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block().context("blocking SIGTERM")?;
    signals.wait().context("waiting for SIGTERM")?;
    Ok(Exit::Done)
}
