//! Which Kubernetes version a config is for: the one given, the local kubeadm's, else the newest known.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use super::findings::Findings;
use crate::bounded_command;
use crate::bounded_command::limits::LITTLE;
use crate::kubernetes_version::{KubernetesVersion, NEWEST_KNOWN_MINOR};

/// Chooses the version and reports its source; `None` if the given one is invalid.
pub fn choose(given: Option<&str>, findings: &mut Findings) -> Option<KubernetesVersion> {
    let version = match given {
        Some(text) => findings.accept("--kubernetes-version", text.parse())?,
        None => without_option(findings),
    };
    remark(&version, findings);
    Some(version)
}

/// Warns of a version that is newer than kpx-prep was tested with.
pub fn remark(version: &KubernetesVersion, findings: &mut Findings) {
    if version.minor() > NEWEST_KNOWN_MINOR {
        findings.warn("version-untested", format!(
            "Kubernetes {version} is newer than the versions known to this kpx-prep (up to 1.{NEWEST_KNOWN_MINOR}); its behaviour is taken from the published KEPs and is not tested"
        ));
    }
}

fn without_option(findings: &mut Findings) -> KubernetesVersion {
    let newest = KubernetesVersion::newest_known();
    match local_kubeadm() {
        Some(Ok(version)) => {
            findings.note(
                "version-chosen",
                format!(
                    "using Kubernetes {}, the version of the local kubeadm; to use another, set --kubernetes-version",
                    version.for_kubeadm()
                ),
            );
            version
        }
        Some(Err(why)) => {
            findings.warn("version-chosen", format!(
                "cannot get the version of the local kubeadm ({why}); using Kubernetes {newest}, the newest known version"
            ));
            newest
        }
        None => {
            findings.note("version-chosen", format!("using Kubernetes {newest}, the newest known version, because kubeadm was not found; to use another, set --kubernetes-version"));
            newest
        }
    }
}

/// Runs the kubeadm in `PATH`; `None` if there is none.
fn local_kubeadm() -> Option<Result<KubernetesVersion, String>> {
    let kubeadm: PathBuf =
        env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join("kubeadm")).find(|file| file.is_file())?;
    let mut command = Command::new(&kubeadm);
    command.args(["version", "-o", "short"]);
    let mut said = String::new();
    Some(match bounded_command::run(command, None, LITTLE, &mut |line| said.push_str(line)) {
        Ok(ended) if ended.status.success() => {
            said.trim().parse().map_err(|error: crate::kubernetes_version::VersionError| error.to_string())
        }
        Ok(ended) => Err(format!("{} version: {}", kubeadm.display(), ended.status)),
        Err(error) => Err(format!("{}: {error}", kubeadm.display())),
    })
}
