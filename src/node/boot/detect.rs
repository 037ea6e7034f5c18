//! Detects which mechanisms load modules at boot on a host, from its init and their services.

use super::mechanism::Mechanism;
use super::units::{Unit, is_wanted, unit};
use crate::node::host::Host;
use crate::node::host::immutable::own_way;
use crate::node::root::Root;

/// The mechanisms that are active; if there are none, why, with a hint.
pub(super) fn detect(root: &Root, host: &Host) -> (Vec<Mechanism>, Option<(String, String)>) {
    let (mut mechanisms, mut why_none) = (Vec::new(), None);
    let systemd_runs = root.is_dir("/run/systemd/system");
    let openrc = !systemd_runs
        && first_process_may_be(root, &["init", "openrc-init"])
        && ["/sbin/openrc-run", "/usr/sbin/openrc-run", "/usr/bin/openrc-run"].iter().any(|path| root.exists(path));
    // A running system has that folder if systemd is its init (sd_booted(3)). Without it, systemd's files count unless
    // another init is found: an image has only the files.
    let may_be_systemd = systemd_runs || !is_another_init(root);
    match unit(root, "systemd-modules-load.service") {
        _ if openrc => {
            // Before OpenRC 0.26, a separate service read modules-load.d.
            let enabled = ["boot", "sysinit", "default"].iter().any(|level| {
                ["modules", "modules-load"]
                    .iter()
                    .any(|service| is_there(root, &format!("/etc/runlevels/{level}/{service}")))
            });
            if enabled {
                mechanisms.push(Mechanism::Openrc);
            } else {
                let why = "OpenRC's modules service is not in any runlevel".to_owned();
                why_none = Some((why, "rc-update add modules boot".to_owned()));
            }
        }
        Unit::Present if may_be_systemd => mechanisms.push(Mechanism::SystemdModulesLoad),
        Unit::Masked if may_be_systemd => {
            let why = "systemd-modules-load.service is masked".to_owned();
            why_none = Some((why, "systemctl unmask systemd-modules-load.service".to_owned()));
        }
        Unit::MaskedByKernel if may_be_systemd => {
            let why = "systemd-modules-load.service is masked on the kernel's command line (/proc/cmdline)".to_owned();
            let hint = "remove systemd.mask= from it (in the boot loader's configuration), then reboot".to_owned();
            why_none = Some((why, hint));
        }
        _ => {}
    }
    // Debian's kmod installs its script on every system, whatever its init; only sysvinit has an inittab.
    let sysvinit = !openrc && !may_be_systemd && root.exists("/etc/inittab") && first_process_may_be(root, &["init"]);
    if sysvinit && root.exists("/etc/init.d/kmod") && starts_in_rcs(root, "kmod") {
        mechanisms.push(Mechanism::Sysvinit);
    }
    let scripts =
        [("rhel-loadmodules.service", Mechanism::RhelLoadmodules), ("loadmodules.service", Mechanism::Loadmodules)];
    for (name, mechanism) in scripts {
        if may_be_systemd && unit(root, name) == Unit::Present && is_wanted(root, name) {
            mechanisms.push(mechanism);
        }
    }
    if mechanisms.is_empty() && why_none.is_none() {
        why_none = Some(without_any(root, host));
    }
    (mechanisms, why_none)
}

fn without_any(root: &Root, host: &Host) -> (String, String) {
    let why = "no boot mechanism for kernel modules found (systemd-modules-load, loadmodules, OpenRC, sysvinit)";
    if let Some(way) = own_way(host) {
        return (why.to_owned(), way);
    }
    let inits = [
        ("runit", "modules-load.d", &["/usr/bin/runit-init", "/sbin/runit-init", "/usr/bin/runit"][..]),
        ("dinit", "modules-load.d", &["/usr/bin/dinit", "/sbin/dinit", "/usr/sbin/dinit"]),
        ("s6", "modules-load.d", &["/usr/bin/s6-svscan", "/bin/s6-svscan", "/usr/bin/s6-rc"]),
    ];
    let found = inits.iter().find(|(_, _, places)| places.iter().any(|place| root.exists(place)));
    let hint = match found {
        Some((name, mechanism, _)) => format!(
            "if {name} on this host reads /etc/modules-load.d at boot, add --boot-mechanism {mechanism}; if something else loads the modules, add --boot-mechanism other"
        ),
        None => "install systemd or OpenRC's modules service, or name what loads modules on this host with --boot-mechanism (see --help for the values)".to_owned(),
    };
    (why.to_owned(), hint)
}

/// Whether the running system was started by a known init other than systemd.
fn is_another_init(root: &Root) -> bool {
    const KNOWN: [&str; 8] =
        ["runit", "runit-init", "dinit", "s6-svscan", "openrc-init", "shepherd", "finit", "busybox"];
    let name = root.read("/proc/1/comm").ok().flatten().unwrap_or_default();
    KNOWN.contains(&name.trim()) || (name.trim() == "init" && root.exists("/etc/inittab"))
}

/// Whether the first process has one of these names, or its name is not visible, as in an image.
fn first_process_may_be(root: &Root, names: &[&str]) -> bool {
    let name = root.read("/proc/1/comm").ok().flatten();
    name.is_none_or(|name| names.contains(&name.trim()))
}

/// `/etc/rcS.d/S05kmod`: services that sysvinit starts first.
fn starts_in_rcs(root: &Root, service: &str) -> bool {
    root.list("/etc/rcS.d").iter().any(|name| {
        name.strip_prefix('S').is_some_and(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()) == service)
    })
}

/// Whether the path exists, even as a broken link.
fn is_there(root: &Root, path: &str) -> bool {
    root.lstat(path).is_ok_and(|stat| stat.is_some())
}
