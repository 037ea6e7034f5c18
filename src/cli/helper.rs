//! `kpx-prep node helper`: what the container of the node helper's `DaemonSet` runs.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit_code::{Exit, Refusal};
use crate::kubernetes_version::KubernetesVersion;
use crate::node::boot::request::NodeRequest;
use crate::node::install::{InstallOptions, install};
use crate::node::modules::modprobe::HostModprobe;
use crate::node::root::Root;
use crate::proxy_config::DEFAULT_SCHEDULER;
use crate::report::say::say;
use crate::report::{Format, print_text};

/// Run in the node helper's container and wait for kpx-prep remediate
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kpx-prep node helper --prepare --root /host")]
pub(super) struct HelperArgs {
    /// Prepare the node first, for nodes that join later (remediate --keep-helper)
    #[arg(long)]
    prepare: bool,
    /// IPVS scheduler that kube-proxy uses
    #[arg(long, value_name = "NAME", default_value = DEFAULT_SCHEDULER, requires = "prepare")]
    scheduler: String,
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
            say(&format!("error: {error:#}"));
        }
        crate::cluster::run(async {
            // As PID 1 of its container it would ignore a signal without a handler.
            let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(Exit::Done)
        })
    }

    fn install(&self) -> anyhow::Result<()> {
        let minor = self.kubernetes_version.as_ref().map(KubernetesVersion::minor);
        let request = NodeRequest::parse("all", &self.scheduler).map_err(Refusal::usage)?.with(minor, None, None);
        let root = Root::new(&self.root).with_context(|| format!("--root {}", self.root.display()))?;
        let options = InstallOptions { load: true, dry_run: false, force: false };
        let (report, _) = install(&root, &request, options, &HostModprobe(&root))?;
        print_text(&report.render(Format::Text)?)
    }
}
