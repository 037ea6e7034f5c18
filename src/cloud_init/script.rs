//! The script that a node runs, assembled from files that are each plain POSIX shell.
//!
//! What other commands use of it has no `${`, `{{`, `{%` or `{#`: clusterctl and Flux replace the first in manifests, and
//! Cluster API's user-data is a Jinja template of cloud-init.

use clap::ValueEnum as _;

use super::binary::{Binary, DEFAULT_BINARY};
use super::options::{Config, NodeOptions, Role};
use crate::mode::ProxyMode;
use crate::node::boot::mechanism::Mechanism;

/// Where the kubeadm config is on the node.
pub const CONFIG: &str = "/etc/kpx-prep/kubeadm.yaml";

/// The whole script.
pub(super) fn script(options: &NodeOptions) -> String {
    let comments = "# Prepares this node and then runs kubeadm. Written by kpx-prep cloud-init; safe to run again.\n\
         # If it fails, cloud-init status reports \"error\" and /var/log/cloud-init-output.log has the reason.\n";
    [start(comments), binary(options), prepare(options), kubeadm(options)].concat()
}

/// The part that gets the binary, if the node needs it.
pub fn binary(options: &NodeOptions) -> String {
    options.binary.as_ref().map(get_binary).unwrap_or_default()
}

/// The last part: kubeadm, once.
pub fn kubeadm(options: &NodeOptions) -> String {
    let (action, result) = match options.role {
        Role::ControlPlane => ("init", "/etc/kubernetes/admin.conf"),
        Role::ControlPlaneJoin | Role::Worker => ("join", "/etc/kubernetes/kubelet.conf"),
    };
    let upload = if options.upload_certs { " --upload-certs" } else { "" };
    [
        format!("\naction={action} result={result} config={CONFIG}\n"),
        include_str!("boot/kubeadm.sh").to_owned(),
        make_config(&options.config),
        format!("kubeadm {action} --config \"$config\"{upload} || fail \"kubeadm {action} failed\"\n"),
        include_str!("boot/end.sh").to_owned(),
    ]
    .concat()
}

/// The beginning of every script, with these comments.
pub fn start(comments: &str) -> String {
    format!("#!/bin/sh\n{comments}{}", include_str!("boot/start.sh"))
}

/// The part that prepares the node; nothing for a mode that needs no preparation.
pub fn prepare(options: &NodeOptions) -> String {
    let version = format!(" --kubernetes-version {}", quote(&options.version.to_string()));
    node_install(options.mode, &version, options.scheduler.as_deref(), options.boot_mechanism)
}

/// Prepares the node, or ends the script; nothing for a mode that needs no preparation. `version` is the option for it, in
/// the shell's language.
pub fn node_install(mode: ProxyMode, version: &str, scheduler: Option<&str>, mechanism: Option<Mechanism>) -> String {
    if !mode.traits().is_prepared {
        return String::new();
    }
    // ipvs is the default, and a kpx-prep that is on the node may be older than --mode.
    let mode = if mode == ProxyMode::Ipvs { String::new() } else { format!(" --mode {mode}") };
    let scheduler = scheduler.map(|name| format!(" --scheduler {}", quote(name))).unwrap_or_default();
    let mechanism = mechanism.and_then(|mechanism| mechanism.to_possible_value());
    let mechanism = mechanism.map(|value| format!(" --boot-mechanism {}", value.get_name())).unwrap_or_default();
    format!(
        "\n# Load the modules first, now and at every boot; kubeadm runs only on a prepared node.\n\
         rc=0\n\"$kpx\" node install{mode}{version}{scheduler}{mechanism} || rc=$?\n{}",
        include_str!("boot/prepared.sh")
    )
}

fn make_config(config: &Config) -> String {
    let Config::MadeOnNode(arguments) = config else {
        return String::new();
    };
    let words: Vec<_> = arguments.iter().map(|argument| quote(argument)).collect();
    format!(
        "# The secrets exist on the node only, so the config is generated here.\n\
         \"$kpx\" {} \\\n  --output-file \"$config\" || fail \"generating the kubeadm config failed\"\n",
        words.join(" \\\n  ")
    )
}

/// Gets the binary, verifies it and sets `$kpx` to its path, or ends the script.
pub fn get_binary(binary: &Binary) -> String {
    let verify = include_str!("boot/verify.sh");
    match binary {
        Binary::Url { url, sha256 } => format!(
            "\n# Verify the binary before it is run.\nkpx={DEFAULT_BINARY}\nurl={}\nsha256={sha256}\n{}{verify}{}",
            quote(url),
            include_str!("boot/folder.sh"),
            include_str!("boot/download.sh")
        ),
        Binary::Path { path, sha256: None } => {
            format!("\nkpx={}\n{}", quote(path), include_str!("boot/present.sh"))
        }
        Binary::Path { path, sha256: Some(sha256) } => format!(
            "\n# Verify the binary before it is run.\nkpx={}\nsha256={sha256}\n{verify}{}{}",
            quote(path),
            include_str!("boot/present.sh"),
            include_str!("boot/present_verified.sh")
        ),
    }
}

/// A word for the shell: unchanged if that is safe, else in single quotes.
pub fn quote(word: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_shell_reads_a_quoted_word_unchanged() {
        for word in ["", "a", "it's", "$HOME `id` \"x\" \\ *", "--a=b,c", "a;b", "é", "'", "# x"] {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quote(word))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
