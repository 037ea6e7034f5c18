//! `kpx-prep ignition`: a config for Ignition that prepares a node and runs kubeadm.

use std::path::PathBuf;

use clap::Args;

use super::kubeadm_config::deliver;
use crate::cloud_init::options::{RawNodeOptions, check_all};
use crate::exit_code::Exit;
use crate::ignition::render;
use crate::kubeadm::findings::Findings;
use crate::kubeadm::raw_options::RawOptions;
use crate::kubeadm::version_source;

/// Render an Ignition config (Flatcar, Fedora CoreOS) that prepares a node and then runs kubeadm
///
/// Accepts all options of cloud-init. With --binary-url, Ignition downloads kpx-prep to /opt/bin and verifies it. One unit
/// runs node install before the container runtime and kubelet, at every boot; another runs kubeadm, once. Merge it with
/// your own config, which installs kubeadm and kubelet.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct IgnitionArgs {
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
  kpx-prep ignition --role control-plane --mode nftables --pod-network-cidr 10.244.0.0/16 \\
    --binary-url https://example.com/kpx-prep \\
    --sha256 b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c > config.ign
  kpx-prep ignition --role worker --control-plane-endpoint k8s.example.com:6443 \\
    --node-token-file /run/secrets/token --discovery-token-ca-cert-hash \\
    sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866 > config.ign";

impl IgnitionArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let mut findings = Findings::default();
        let version = version_source::choose(self.options.kubernetes_version.as_deref(), &mut findings);
        let options = check_all(&self.node, &self.options, version, &mut findings);
        let text = options.and_then(|options| findings.accept("config", render(&options)));
        deliver(text.as_deref(), self.output_file.as_deref(), &findings)?;
        Ok(Exit::Done)
    }
}
