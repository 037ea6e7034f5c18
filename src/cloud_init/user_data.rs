//! The `#cloud-config` document itself.

use super::options::{Config, NodeOptions, Role};
use super::script::{CONFIG, script};
use crate::kubeadm::render as kubeadm;

/// The size limit of user-data (EC2's, before encoding); it must be smaller.
pub const MAX_BYTES: usize = 16 * 1024;

/// User-data that makes a machine a node.
///
/// # Errors
/// If it exceeds [`MAX_BYTES`].
pub fn render(options: &NodeOptions) -> Result<String, String> {
    let role = match options.role {
        Role::ControlPlane => "the first control-plane node",
        Role::ControlPlaneJoin => "an additional control-plane node",
        Role::Worker => "a worker",
    };
    let prepared = if options.mode.traits().is_prepared {
        format!("prepares it for kube-proxy's {} mode, ", options.mode)
    } else {
        String::new()
    };
    let mut text = format!(
        "#cloud-config\n\
         # Makes this machine {role} of a Kubernetes cluster: {prepared}then runs kubeadm.\n\
         # Written by kpx-prep cloud-init. The container runtime, kubelet and kubeadm must be installed.\n\
         write_files:\n"
    );
    if let Config::InUserData(config) = &options.config {
        text += &file(CONFIG, "0600", &kubeadm::render(config));
    }
    text += &file("/etc/kpx-prep/boot", "0700", &script(options));
    text += "runcmd:\n\
             # cloud-init reports this exit status; commands added below must not hide it.\n\
             - sh /etc/kpx-prep/boot || exit 1\n";
    if text.len() >= MAX_BYTES {
        return Err(format!(
            "the user-data has {} bytes; the limit is {MAX_BYTES}. Use fewer or shorter options",
            text.len()
        ));
    }
    Ok(text)
}

/// An entry of `write_files`. The content is generated: it does not start with a space and ends with a newline.
fn file(path: &str, mode: &str, content: &str) -> String {
    let lines = content.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") });
    format!(
        "- path: {path}\n  owner: root:root\n  permissions: \"{mode}\"\n  content: |\n{}",
        lines.collect::<String>()
    )
}
