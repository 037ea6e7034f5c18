//! `kubeadm-config --from FILE --in-place`: edits the kubeadm config that another tool made for this node.
//!
//! Cluster API writes `/run/kubeadm/kubeadm.yaml` (cloud-init) for `kubeadm init`, and for `kubeadm join` another file,
//! `/run/kubeadm/kubeadm-join-config.yaml` (`bootstrap/kubeadm/pkg/cloudinit` in kubernetes-sigs/cluster-api). With
//! Ignition it is `/etc/kubeadm.yml` for both (`bootstrap/kubeadm/pkg/ignition`). The same commands run on every node, hence
//! `--if-init`.

use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::judged;
use crate::exit_code::{Exit, Refusal};
use crate::file_edit::FileEdit;
use crate::kubeadm::existing_file;
use crate::kubeadm::findings::Findings;
use crate::kubeadm::raw_options::RawOptions;
use crate::report::say::say;

/// Completes the file; with `if_init`, only if it is for `kubeadm init`.
pub(super) fn edit(file: &Path, if_init: bool, options: &RawOptions) -> anyhow::Result<Exit> {
    if file.as_os_str() == "-" {
        return Err(Refusal::usage("--in-place: standard input is not a file; nothing was written"));
    }
    let name = file.display().to_string();
    let Some(edit) = FileEdit::open(file).map_err(|error| cannot_edit(&name, &error))? else {
        if if_init {
            say(&format!("{name} does not exist, so this node does not run kubeadm init with it; nothing was written"));
            return Ok(Exit::Done);
        }
        return Err(Refusal::usage(format!("--from: {name} does not exist; nothing was written")));
    };
    let text = std::str::from_utf8(edit.content())
        .map_err(|_| Refusal::usage(format!("--from: {name} is not UTF-8 text; nothing was written")))?;
    let mut findings = Findings::default();
    if if_init && existing_file::is_for_init(&name, text, &mut findings) == Some(false) {
        say(&format!(
            "{name} has no ClusterConfiguration and no InitConfiguration, so it is not for kubeadm init (a joining node \
             takes the cluster's proxy mode); nothing was written"
        ));
        return Ok(Exit::Done);
    }
    let completed =
        if findings.problems.is_empty() { existing_file::complete(&name, text, options, &mut findings) } else { None };
    let completed = judged(completed.as_deref(), &findings)?;
    if completed == text {
        say(&format!("{name} is as desired; nothing was written"));
        return Ok(Exit::Done);
    }
    edit.replace(completed.as_bytes()).with_context(|| format!("writing {name}; the file was not changed"))?;
    say(&format!("changed {name}"));
    Ok(Exit::Done)
}

fn cannot_edit(name: &str, error: &io::Error) -> anyhow::Error {
    let message = format!("--in-place: {name}: {error}; nothing was written");
    if error.kind() == io::ErrorKind::WouldBlock { Refusal::check(message) } else { Refusal::usage(message) }
}
