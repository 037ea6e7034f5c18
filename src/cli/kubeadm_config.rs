//! `kpx-prep kubeadm-config`: write a kubeadm config to stdout or a file.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::atomic_file;
use crate::bounded::{read_named_text, read_stream_text};
use crate::exit_code::{Exit, Refusal};
use crate::kubeadm::check::{OnNode, check};
use crate::kubeadm::findings::Findings;
use crate::kubeadm::options::Purpose;
use crate::kubeadm::raw_options::RawOptions;
use crate::kubeadm::{existing_file, render, version_source};
use crate::report::foreign::visible;
use crate::report::print;
use crate::report::say::say;

mod in_place;

/// Print a kubeadm config that sets kube-proxy's mode
///
/// Works without options. Anything not given is left to kubeadm's defaults; the mode is always written.
/// If the input is invalid, all problems are reported together and nothing is written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct KubeadmConfigArgs {
    /// Complete this kubeadm config (- for stdin): edit its `KubeProxyConfiguration` in place or add one; every
    /// other byte is kept
    #[arg(long, value_name = "FILE|-")]
    from: Option<PathBuf>,
    /// Write the result to the file named by --from (atomically; its mode and owner are kept)
    #[arg(long, requires = "from", conflicts_with = "output_file")]
    in_place: bool,
    /// With --in-place: if the file does not exist or is not for kubeadm init, change nothing and exit with 0
    #[arg(long, requires = "in_place")]
    if_init: bool,
    /// Write to this file (atomically, with mode 0600) instead of stdout
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    #[command(flatten)]
    options: RawOptions,
    /// Print a `JoinConfiguration` for a worker instead
    #[arg(long, conflicts_with = "from", help_heading = "Joining")]
    join: bool,
    /// With --join: for an additional control-plane node
    #[arg(long, requires = "join", help_heading = "Joining")]
    control_plane: bool,
}

const EXAMPLES: &str = "\
Examples:
  kpx-prep kubeadm-config > config.yaml
  kpx-prep kubeadm-config --kubernetes-version v1.36.3 --strict-arp \\
    --pod-network-cidr 10.244.0.0/16 --output-file config.yaml
  kubeadm config print init-defaults | kpx-prep kubeadm-config --from -
  kpx-prep kubeadm-config --from /run/kubeadm/kubeadm.yaml --in-place --if-init
  kpx-prep kubeadm-config --join --control-plane-endpoint k8s.example.com:6443 \\
    --token-file token --discovery-token-ca-cert-hash \\
    sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866";

impl KubeadmConfigArgs {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        if let Some(file) = self.from.as_deref().filter(|_| self.in_place) {
            return in_place::edit(file, self.if_init, &self.options);
        }
        let mut findings = Findings::default();
        let config = if let Some(file) = &self.from {
            let (name, text) = read(file)?;
            existing_file::complete(&name, &text, &self.options, &mut findings)
        } else {
            let version = version_source::choose(self.options.kubernetes_version.as_deref(), &mut findings);
            check(&self.options, self.purpose(), version, OnNode::default(), &mut findings)
                .map(|options| render::render(&options))
        };
        deliver(config.as_deref(), self.output_file.as_deref(), &findings)?;
        Ok(Exit::Done)
    }

    fn purpose(&self) -> Purpose {
        match (self.join, self.control_plane) {
            (false, _) => Purpose::Init,
            (true, false) => Purpose::JoinWorker,
            (true, true) => Purpose::JoinControlPlane,
        }
    }
}

/// Prints notes and warnings; returns the result if there is no problem.
fn judged<'a>(result: Option<&'a str>, findings: &Findings) -> anyhow::Result<&'a str> {
    for finding in findings.all() {
        say(finding.text().trim_end());
    }
    if let Some(refusal) = findings.refusal() {
        return Err(Refusal::usage(refusal));
    }
    result.context("internal error: no config was produced")
}

/// Prints notes and warnings, and writes the result if there is no problem.
pub(super) fn deliver(result: Option<&str>, file: Option<&Path>, findings: &Findings) -> anyhow::Result<()> {
    let text = judged(result, findings)?;
    let Some(file) = file else {
        // A file given by --from may contain terminal escape sequences; a file or a pipe gets every byte unchanged.
        return if std::io::stdout().is_terminal() { print(&visible(text)) } else { print(text) };
    };
    if fs::symlink_metadata(file).is_ok_and(|there| !there.is_file()) {
        return Err(Refusal::usage(format!(
            "--output-file: {} exists and is not a regular file; nothing was written. Without --output-file the result goes to stdout",
            file.display()
        )));
    }
    atomic_file::replace(file, text.as_bytes(), 0o600)
        .with_context(|| format!("writing {}; the existing file was not changed", file.display()))?;
    say(&format!("wrote {} (mode 0600)", file.display()));
    Ok(())
}

/// A file's name in messages, and its text.
fn read(file: &Path) -> anyhow::Result<(String, String)> {
    let stdin = file.as_os_str() == "-";
    let name = if stdin { "standard input".to_owned() } else { file.display().to_string() };
    let text = if stdin { read_stream_text(std::io::stdin().lock()) } else { read_named_text(file) }
        .map_err(|error| Refusal::usage(format!("--from: reading {name}: {error}; nothing was written")))?;
    Ok((name, text))
}
