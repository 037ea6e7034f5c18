//! The units of systemd that run the scripts.

use crate::cloud_init::options::Role;
use crate::mode::ProxyMode;

/// The unit that prepares the node, at every boot.
pub(super) const NODE: &str = "kpx-prep-node.service";
/// The unit that runs kubeadm, once.
pub(super) const KUBEADM: &str = "kpx-prep-kubeadm.service";

/// The units of container runtimes.
const RUNTIMES: &str = "containerd.service crio.service docker.service";

/// Before the container runtime and kubelet, so that kube-proxy finds its modules when it starts.
pub(super) fn node_unit(mode: ProxyMode, script: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Prepare this node for kube-proxy's {mode} mode\n\
         After=systemd-modules-load.service\n\
         Before={RUNTIMES} kubelet.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/bin/sh {script}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// Only on a prepared node, if its mode needs that. kubeadm starts kubelet.
pub(super) fn kubeadm_unit(role: Role, needs_node: bool, script: &str) -> String {
    let action = match role {
        Role::ControlPlane => "kubeadm init",
        Role::ControlPlaneJoin | Role::Worker => "kubeadm join",
    };
    let (requires, after) =
        if needs_node { (format!("Requires={NODE}\n"), format!(" {NODE}")) } else { Default::default() };
    format!(
        "[Unit]\n\
         Description=Run {action}, once\n\
         {requires}\
         Wants=network-online.target\n\
         After=network-online.target {RUNTIMES}{after}\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/bin/sh {script}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}
