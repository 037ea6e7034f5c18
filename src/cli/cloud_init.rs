//! `kpx-prep cloud-init`: user-data that prepares a node and runs kubeadm.

use std::path::PathBuf;

use clap::Args;

use super::kubeadm_config::deliver;
use crate::cloud_init::options::{RawNodeOptions, check_all};
use crate::cloud_init::render;
use crate::exit_code::Exit;
use crate::kubeadm::findings::Findings;
use crate::kubeadm::raw_options::RawOptions;
use crate::kubeadm::version_source;

/// Render cloud-init user-data that prepares a node and then runs kubeadm
///
/// Accepts all options of kubeadm-config. For a joining node, set --mode and --scheduler to what its cluster runs,
/// so that the node is prepared for it. Secrets passed here are embedded in the user-data; with --node-token-file
/// and --node-certificate-key-file they stay on the node.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CloudInitArgs {
    #[command(flatten)]
    node: RawNodeOptions,
    /// Write to this file (atomically, with mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    #[command(flatten)]
    options: RawOptions,
}

const EXAMPLES: &str = "\
Examples:
  kpx-prep cloud-init --role control-plane --pod-network-cidr 10.244.0.0/16 \\
    --binary-url https://example.com/kpx-prep \\
    --sha256 b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c > user-data
  kpx-prep cloud-init --role worker --control-plane-endpoint k8s.example.com:6443 \\
    --node-token-file /run/secrets/token --discovery-token-ca-cert-hash \\
    sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866 > user-data";

impl CloudInitArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut findings = Findings::default();
        let version = version_source::choose(self.options.kubernetes_version.as_deref(), &mut findings);
        let options = check_all(&self.node, &self.options, version, &mut findings);
        let text = options.and_then(|options| findings.accept("user-data", render(&options)));
        deliver(text.as_deref(), self.output_file.as_deref(), &findings)?;
        Ok(Exit::Done)
    }
}
