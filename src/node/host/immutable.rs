//! How to load kernel modules on systems that reset /etc at every boot, each with its source.

use super::Host;

/// The hint for an unknown system.
pub const UNKNOWN_WAY: &str = "configure this system to load the modules at boot, for example in its user-data or image; then add --boot-mechanism other";

/// The system's own way to load modules at every boot, if known.
pub fn own_way(host: &Host) -> Option<String> {
    let way = way(host)?;
    // The files that NixOS generates are detected, and the text for Alpine already contains it.
    let is_seen = matches!(host.distro.as_str(), "nixos" | "alpine");
    Some(if is_seen { way.to_owned() } else { format!("{way}; then add --boot-mechanism other") })
}

fn way(host: &Host) -> Option<&'static str> {
    Some(match host.distro.as_str() {
        // https://bottlerocket.dev/en/os/1.24.x/api/settings/kernel (settings.kernel.modules.<name>.autoload)
        "bottlerocket" => {
            "on Bottlerocket: run apiclient set settings.kernel.modules.ip_vs.autoload=true, and the same for each mandatory module"
        }
        // https://docs.siderolabs.com/talos/v1.12/reference/configuration/v1alpha1/config (machine.kernel.modules)
        "talos" => "on Talos: add each mandatory module to machine.kernel.modules in the machine configuration",
        // https://kairos.io/docs/advanced/after-install/ (stages.boot.commands)
        id if id.starts_with("kairos") => {
            "on Kairos: add a cloud-config in /oem with the command `modprobe -a ...` in stages.boot"
        }
        // https://nixos.org/manual/nixos/stable/options (boot.kernelModules)
        "nixos" => "on NixOS: add each mandatory module to boot.kernelModules, then run nixos-rebuild switch",
        // https://guix.gnu.org/manual/en/html_node/Linux-Services.html (kernel-module-loader-service-type)
        "guix" => {
            "on Guix System: add each mandatory module to kernel-module-loader-service-type, then run guix system reconfigure"
        }
        // https://cloud.google.com/container-optimized-os/docs/concepts/disks-and-filesystem (/etc is stateless)
        "cos" => "on Container-Optimized OS: run modprobe from user-data at every boot (cloud-init bootcmd)",
        // https://github.com/rancher/k3os#configuration-reference (k3os.modules)
        "k3os" => "on k3OS: add each mandatory module to k3os.modules in its configuration",
        // https://elemental.docs.rancher.com/cloud-config-reference
        id if id.contains("elemental") || id.starts_with("harvester") || id == "sle-micro-rancher" => {
            "on Elemental: add a cloud-config in /oem with the command `modprobe -a ...` in stages.boot"
        }
        // https://wiki.alpinelinux.org/wiki/Alpine_local_backup
        "alpine" => {
            "on Alpine in diskless mode, lbu commit saves /etc: run kpx-prep node install --boot-mechanism other, then lbu commit"
        }
        _ => return None,
    })
}
