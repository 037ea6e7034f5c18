//! `kpx-prep node helper`: what the container of the node helper's `DaemonSet` runs.

use std::path::PathBuf;

use clap::Args;

use crate::exit_code::Exit;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;
use crate::node::command::{InstallCommand, ModuleOptions, NodeCommand, wait_for_the_end};
use crate::report::print_text;
use crate::report::say::say_error;

/// Run in the node helper's container and wait for kpx-prep remediate
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node helper --prepare --root /host")]
pub(super) struct HelperArgs {
    /// Prepare the node first, for nodes that join later (remediate --keep-helper)
    #[arg(long)]
    prepare: bool,
    /// Mode that kube-proxy runs: ipvs or nftables
    #[arg(long, value_name = "MODE", default_value = "ipvs", requires = "prepare")]
    mode: ProxyMode,
    /// IPVS scheduler that kube-proxy uses [default: rr]
    #[arg(long, value_name = "NAME", requires = "prepare")]
    scheduler: Option<String>,
    /// Version of kube-proxy; up to 1.26 it needs more modules
    #[arg(long, value_name = "VERSION", requires = "prepare")]
    kubernetes_version: Option<KubernetesVersion>,
    /// Directory where the node's root file system is mounted
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

impl HelperArgs {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if self.prepare
            && let Err(error) = self.install()
        {
            // `remediate` detects the unprepared node and reports it; restarting the container would not help.
            say_error(&format!("{error:#}"));
        }
        wait_for_the_end()
    }

    fn install(&self) -> anyhow::Result<()> {
        let minor = self.kubernetes_version.as_ref().map(KubernetesVersion::minor);
        let (mode, scheduler) = (Some(self.mode), self.scheduler.clone());
        let modules = ModuleOptions { mode, scheduler, minor, load: Some(true), ..ModuleOptions::default() };
        let command = NodeCommand::Install(InstallCommand { modules, ..InstallCommand::default() });
        print_text(&command.run(&self.root)?.0.text())
    }
}
