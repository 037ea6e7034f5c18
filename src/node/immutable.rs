//! How systems whose /etc is made anew at every boot want kernel modules to be named, each with the source.

use super::host::Host;

/// What to do where nothing is known of the system.
pub const UNKNOWN_WAY: &str = "load the modules in this system's own way, such as its user-data or its image; then --boot-mechanism other says that it is done";

/// That system's own way to have modules loaded at every boot, where it is known.
pub fn own_way(host: &Host) -> Option<String> {
    let way = way(host)?;
    // What NixOS writes is found by itself, and Alpine's way has it.
    let is_seen = matches!(host.distro.as_str(), "nixos" | "alpine");
    Some(if is_seen { way.to_owned() } else { format!("{way}; then --boot-mechanism other says that it is done") })
}

fn way(host: &Host) -> Option<&'static str> {
    Some(match host.distro.as_str() {
        // https://bottlerocket.dev/en/os/1.24.x/api/settings/kernel (settings.kernel.modules.<name>.autoload)
        "bottlerocket" => {
            "on Bottlerocket: apiclient set settings.kernel.modules.ip_vs.autoload=true, and the same for each mandatory module"
        }
        // https://docs.siderolabs.com/talos/v1.12/reference/configuration/v1alpha1/config (machine.kernel.modules)
        "talos" => "on Talos: name each mandatory module in the machine configuration, machine.kernel.modules",
        // https://kairos.io/docs/advanced/after-install/ (stages.boot.commands)
        id if id.starts_with("kairos") => {
            "on Kairos: a cloud-config below /oem with a command `modprobe -a …` in stages.boot"
        }
        // https://nixos.org/manual/nixos/stable/options (boot.kernelModules)
        "nixos" => "on NixOS: name each mandatory module in boot.kernelModules, then nixos-rebuild switch",
        // https://guix.gnu.org/manual/en/html_node/Linux-Services.html (kernel-module-loader-service-type)
        "guix" => {
            "on Guix System: name each mandatory module in kernel-module-loader-service-type, then guix system reconfigure"
        }
        // https://cloud.google.com/container-optimized-os/docs/concepts/disks-and-filesystem (/etc is stateless)
        "cos" => "on Container-Optimized OS: run modprobe from user-data at every boot (cloud-init bootcmd)",
        // https://github.com/rancher/k3os#configuration-reference (k3os.modules)
        "k3os" => "on k3OS: name each mandatory module in k3os.modules of its configuration",
        // https://elemental.docs.rancher.com/cloud-config-reference
        id if id.contains("elemental") || id.starts_with("harvester") || id == "sle-micro-rancher" => {
            "on Elemental: a cloud-config below /oem with a command `modprobe -a …` in stages.boot"
        }
        // https://wiki.alpinelinux.org/wiki/Alpine_local_backup
        "alpine" => {
            "on Alpine in diskless mode lbu commit keeps /etc: kpx-prep node install --boot-mechanism other, and lbu commit"
        }
        _ => return None,
    })
}
