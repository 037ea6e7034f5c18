//! The script that a machine of Cluster API runs before kubeadm.

use super::options::CapiOptions;
use crate::cloud_init::script::{get_binary, node_install, quote, start};

/// Where the script is on a machine.
pub const SCRIPT: &str = "/etc/kpx-prep/before-kubeadm";

/// The whole script.
pub(super) fn script(options: &CapiOptions) -> String {
    let prepares = if options.mode.traits().is_prepared {
        format!("Prepares this machine for kube-proxy's {} mode, and sets that mode", options.mode)
    } else {
        format!("Sets kube-proxy's mode to {}", options.mode)
    };
    let comments = format!(
        "# {prepares} in the config of kubeadm init.\n\
         # Written by kpx-prep capi; safe to run again. If it fails, kubeadm does not run. The reason is in\n\
         # /var/log/cloud-init-output.log, or with Ignition in journalctl -u kubeadm.service.\n"
    );
    let install = node_install(options.mode, " \"$@\"", options.scheduler.as_deref(), options.boot_mechanism);
    // The image decides the version, and changes with each upgrade of the cluster.
    let version = "\nset --\nif version=$(kubeadm version -o short 2>/dev/null); then set -- --kubernetes-version \"$version\"; fi\n";
    let settings: String = options.settings.iter().map(|setting| format!(" \\\n  {}", quote(setting))).collect();
    [
        start(&comments),
        get_binary(&options.binary),
        if install.is_empty() { String::new() } else { version.to_owned() + install.trim_start() },
        format!("\nset --{settings}\n"),
        include_str!("set_mode.sh").to_owned(),
    ]
    .concat()
}
