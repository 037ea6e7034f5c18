//! `kpx-prep node install | check | remove`: the kernel modules of one Linux host. The other commands are in `node_modes`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::cluster_args::duration;
use super::deferred::Deferred;
use super::helper::HelperArgs;
use super::node_modes::{BridgeArgs, CleanArgs, LeftoversArgs, SurveyArgs};
use super::node_root::Where;
use crate::exit_code::Exit;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;
use crate::node::command::{InstallCommand, ModuleOptions, NodeCommand as Command};
use crate::node::driven;

/// Prepare this node for kube-proxy in IPVS or nftables mode: kernel modules now and at boot
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node install && kpx-prep node check -o json")]
pub(super) struct NodeArgs {
    /// For remote runs: write a heartbeat to stderr at this interval, and exit when stdin is closed
    #[arg(long, hide = true, value_name = "DURATION", value_parser = duration, requires = "lease")]
    heartbeat: Option<Duration>,
    /// For remote runs: exit after this time unless it is extended on stdin
    #[arg(long, hide = true, value_name = "DURATION", value_parser = duration, requires = "heartbeat")]
    lease: Option<Duration>,
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Install the module configuration, load the modules, and verify them
    Install(Deferred<InstallArgs>),
    /// Check whether this node is prepared (read-only)
    Check(Deferred<CheckArgs>),
    /// Undo `node install`
    Remove(Deferred<RemoveArgs>),
    /// Run in the node helper's container and wait for kpx-prep remediate
    #[command(hide = true)]
    Helper(Deferred<HelperArgs>),
    /// Report everything on this host that affects kube-proxy's mode (read-only)
    Survey(Deferred<SurveyArgs>),
    /// Show what other proxy modes left on this host (read-only)
    Leftovers(Deferred<LeftoversArgs>),
    /// Keep Services reachable while kube-proxy goes from iptables to nftables mode, or back
    Bridge(Deferred<BridgeArgs>),
    /// Remove what other proxy modes left on this host
    Clean(Deferred<CleanArgs>),
}

impl NodeArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if let (Some(heartbeat), Some(lease)) = (self.heartbeat, self.lease) {
            driven::start(heartbeat, lease)?;
        }
        let exit = match self.command {
            NodeCommand::Install(args) => args.0.run(),
            NodeCommand::Check(args) => args.0.run(),
            NodeCommand::Remove(args) => args.0.run(),
            NodeCommand::Helper(args) => args.0.run(),
            NodeCommand::Survey(args) => args.0.run(),
            NodeCommand::Leftovers(args) => args.0.run(),
            NodeCommand::Bridge(args) => args.0.run(),
            NodeCommand::Clean(args) => args.0.run(),
        }?;
        if self.heartbeat.is_some() {
            driven::linger();
        }
        Ok(exit)
    }
}

#[derive(Debug, Args)]
struct Loading {
    /// Load the modules now (with --root DIR: by the modprobe of DIR, in a chroot)
    #[arg(long, conflicts_with = "no_load")]
    load: bool,
    /// Do not load the modules now; the next boot loads them
    #[arg(long)]
    no_load: bool,
}

impl Loading {
    fn wanted(&self) -> Option<bool> {
        (self.load || self.no_load).then_some(self.load)
    }
}

/// What decides which modules are needed and how they are loaded at boot.
#[derive(Debug, Args)]
struct Fit {
    /// Kubernetes version of the cluster; kube-proxy up to 1.26 needs more modules [default: as given before]
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Mechanism that loads modules at boot, if detection fails; you guarantee that it works on this host [default: detected,
    /// or as given before]
    #[arg(long, value_name = "NAME")]
    boot_mechanism: Option<Mechanism>,
    /// Use the nft of the file tree below DIR [default: that of kube-proxy's container]
    #[arg(long, value_name = "DIR", hide = true)]
    tools: Option<PathBuf>,
}

impl Fit {
    fn options(
        self,
        mode: Option<ProxyMode>,
        modules: Option<String>,
        scheduler: Option<String>,
        loading: &Loading,
    ) -> ModuleOptions {
        let minor = self.kubernetes_version.as_ref().map(KubernetesVersion::minor);
        let load = loading.wanted();
        ModuleOptions { mode, modules, scheduler, minor, mechanism: self.boot_mechanism, load, tools: self.tools }
    }
}

const MODE_HELP: &str = "Mode that kube-proxy will run: ipvs or nftables; prepare a node for both by two runs";

const MODULES_HELP: &str =
    "Modules to prepare: `all` in the kernel's ipvs directory, those `required` by kube-proxy, or names";

/// Install the module configuration, load the modules, and verify them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kpx-prep node install
  kpx-prep node install --modules required --scheduler wlc --dry-run
  kpx-prep node install --mode nftables
  kpx-prep node install --root /mnt/image    # while building an OS image")]
struct InstallArgs {
    #[arg(long, value_name = "MODE", default_value = "ipvs", help = MODE_HELP)]
    mode: ProxyMode,
    #[arg(long, value_name = "all|required|NAME,...", default_value = "all", help = MODULES_HELP)]
    modules: String,
    /// IPVS scheduler that kube-proxy will use [default: rr]
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    loading: Loading,
    /// Print what would be done without changing anything
    #[arg(long)]
    dry_run: bool,
    /// Replace files that kpx-prep did not write; a backup of each is kept next to it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Where,
}

impl InstallArgs {
    fn run(self) -> anyhow::Result<Exit> {
        let modules = self.fit.options(Some(self.mode), Some(self.modules), self.scheduler, &self.loading);
        self.place.run(Command::Install(InstallCommand { modules, dry_run: self.dry_run, force: self.force }))
    }
}

/// Check whether this node is prepared (read-only)
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node check -o json")]
struct CheckArgs {
    /// Mode that kube-proxy will run: ipvs or nftables [default: every mode for which the node was prepared, or ipvs]
    #[arg(long, value_name = "MODE")]
    mode: Option<ProxyMode>,
    #[arg(long, value_name = "all|required|NAME,...", help = MODULES_HELP)]
    modules: Option<String>,
    /// IPVS scheduler that kube-proxy will use
    #[arg(long, value_name = "NAME")]
    scheduler: Option<String>,
    #[command(flatten)]
    fit: Fit,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    place: Where,
}

impl CheckArgs {
    fn run(self) -> anyhow::Result<Exit> {
        self.place.run(Command::Check(self.fit.options(self.mode, self.modules, self.scheduler, &self.loading)))
    }
}

/// Undo `node install`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node remove --unload")]
struct RemoveArgs {
    /// Undo only `node install` for this mode: ipvs or nftables [default: for all modes]
    #[arg(long, value_name = "MODE")]
    mode: Option<ProxyMode>,
    /// Also unload modules that are not in use
    #[arg(long)]
    unload: bool,
    #[command(flatten)]
    place: Where,
}

impl RemoveArgs {
    fn run(self) -> anyhow::Result<Exit> {
        self.place.run(Command::Remove { mode: self.mode, unload: self.unload })
    }
}
