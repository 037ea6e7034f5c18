//! `kpx-prep capi`: fields and patches for Cluster API's objects.

use std::path::PathBuf;

use clap::Args;

use super::kubeadm_config::deliver;
use crate::cluster_api::options::{Format, RawCapiOptions, check};
use crate::cluster_api::render;
use crate::exit_code::Exit;
use crate::kubeadm::findings::Findings;

/// Print what goes into Cluster API's objects to prepare machines and set kube-proxy's mode
///
/// Each machine runs a script before kubeadm: it gets and verifies kpx-prep, runs node install, and on the machine that
/// runs kubeadm init sets the mode in the config that Cluster API wrote (with cloud-init /run/kubeadm/kubeadm.yaml, with
/// Ignition /etc/kubeadm.yml). Clusters that exist keep their mode: use remediate.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CapiArgs {
    #[command(flatten)]
    options: RawCapiOptions,
    /// Write to this file (atomically, with mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  kpx-prep capi --mode nftables
  kpx-prep capi --format patch --mode nftables --create-list files,preKubeadmCommands \\
    --binary-url https://example.com/kpx-prep \\
    --sha256 b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c
  kpx-prep capi --format clusterclass --scheduler lc --strict-arp --kubernetes-version 1.34";

impl CapiArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut findings = Findings::default();
        let options = check(&self.options, &mut findings);
        let text = options.and_then(|options| findings.accept("capi", render(&options)));
        if text.is_some() && self.options.format == Format::ClusterClass && !self.options.create_list.is_empty() {
            findings.warn("capi-list-replaced", "a list that --create-list creates replaces one that the template has: a ClusterClass patch cannot check that there is none");
        }
        deliver(text.as_deref(), self.output_file.as_deref(), &findings)?;
        Ok(Exit::Done)
    }
}
