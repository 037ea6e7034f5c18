//! Which package brings a missing kernel module, on this distribution and for this kernel.
//!
//! Sources: the distributions' own package contents, and the threads behind them: kubespray#10602, photon#920,
//! kops#17915 (RHEL 10 moved modules to `kernel-modules-extra`), Ubuntu's `linux-modules-extra` split.

use super::host::Host;

/// What to install so that the kernel `release` has the IPVS modules.
pub fn hint(host: &Host, release: &str) -> String {
    let major = host.major();
    match host.distro.as_str() {
        "ubuntu" => ubuntu(release),
        "ol" if release.contains("uek") => match major {
            ..9 => format!("dnf install kernel-uek-{release} (UEK 7: kernel-uek-modules-{release})"),
            _ => format!("dnf install kernel-uek-modules-{release} kernel-uek-modules-extra-{release}"),
        },
        "amzn" if major == 2 => format!("yum reinstall kernel-{release}"),
        "amzn" => format!("dnf install kernel-modules-extra-{release}, or dnf reinstall kernel-{release}"),
        "photon" => match release.rsplit_once('-').map(|(_, flavour)| flavour) {
            Some("esx") => "the esx kernel has no IPVS modules: tdnf install linux, then reboot into it".to_owned(),
            _ => format!("tdnf reinstall linux-{}", release.strip_suffix("-generic").unwrap_or(release)),
        },
        "flatcar" => "Flatcar ships its modules with the system: update it (update_engine_client -update), then reboot"
            .to_owned(),
        "alpine" => match release.rsplit_once('-').map(|(_, flavour)| flavour) {
            Some("virt") => "apk add linux-lts, then reboot into it (or apk fix linux-virt)".to_owned(),
            Some(flavour) => format!("apk fix linux-{flavour}"),
            None => "apk add linux-lts, then reboot into it".to_owned(),
        },
        "arch" => "pacman -S linux, then reboot into it".to_owned(),
        _ if host.is_like("suse") || host.distro.starts_with("opensuse") || host.distro == "sles" => {
            let flavour = release.rsplit('-').next().unwrap_or("default");
            format!(
                "zypper install kernel-{flavour} (kernel-{flavour}-base is a minimal build without IPVS), then reboot into it"
            )
        }
        _ if host.is_like("rhel") || host.is_like("fedora") => match major {
            ..8 if host.distro != "fedora" => format!("yum reinstall kernel-{release}"),
            8 | 9 => format!(
                "dnf install kernel-modules-{release} (and, if it is still missing, kernel-modules-extra-{release})"
            ),
            _ => format!("dnf install kernel-modules-{release} kernel-modules-extra-{release}"),
        },
        _ if host.is_like("ubuntu") => ubuntu(release),
        _ if host.is_like("arch") => "pacman -S linux, then reboot into it".to_owned(),
        _ if host.is_like("debian") => format!("apt-get install --reinstall linux-image-{release}"),
        _ => format!(
            "install the package of this distribution that holds the netfilter/ipvs modules of kernel {release}"
        ),
    }
}

fn ubuntu(release: &str) -> String {
    if release.ends_with("-kvm") {
        "the -kvm kernel has no IPVS modules: apt-get install linux-image-generic, then reboot into it".to_owned()
    } else {
        format!("apt-get install linux-modules-extra-{release}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_distribution_names_a_package() {
        let cases = [
            ("debian", "", "12", "6.1.0-18-amd64", "linux-image-6.1.0-18-amd64"),
            ("ubuntu", "debian", "22.04", "5.15.0-100-generic", "linux-modules-extra-5.15.0-100-generic"),
            ("ubuntu", "debian", "20.04", "5.4.0-1090-kvm", "linux-image-generic"),
            ("rhel", "fedora", "7.9", "3.10.0-1160.el7.x86_64", "kernel-3.10.0-1160.el7.x86_64"),
            ("rocky", "rhel centos fedora", "8.9", "4.18.0-513.el8.x86_64", "kernel-modules-4.18.0-513.el8.x86_64"),
            (
                "almalinux",
                "rhel centos fedora",
                "9.4",
                "5.14.0-427.el9.x86_64",
                "kernel-modules-extra-5.14.0-427.el9.x86_64",
            ),
            ("rhel", "fedora", "10.0", "6.12.0-55.el10.x86_64", "kernel-modules-extra-6.12.0-55.el10.x86_64"),
            ("amzn", "fedora", "2023", "6.1.79-99.amzn2023.x86_64", "kernel-modules-extra-6.1.79-99.amzn2023.x86_64"),
            ("sles", "suse", "15.5", "5.14.21-150500.55.49-default", "kernel-default"),
            ("opensuse-leap", "suse opensuse", "15.6", "6.4.0-150600.21-default", "kernel-default"),
            ("ol", "fedora", "9.3", "5.15.0-200.el9uek.x86_64", "kernel-uek-modules-extra-5.15.0-200.el9uek.x86_64"),
            ("photon", "", "4.0", "5.10.210-1.ph4-esx", "tdnf install linux"),
            ("flatcar", "coreos", "3815.2.0", "6.1.77-flatcar", "update"),
            ("alpine", "", "3.19.1", "6.6.14-0-virt", "linux-lts"),
            ("arch", "", "", "6.7.4-arch1-1", "pacman -S linux"),
            ("linuxmint", "ubuntu debian", "21", "5.15.0-100-generic", "linux-modules-extra-5.15.0-100-generic"),
            ("unheard-of", "", "", "6.6.6", "6.6.6"),
        ];
        for (distro, like, version, release, package) in cases {
            let host = Host {
                distro: distro.to_owned(),
                distro_like: like.split_whitespace().map(str::to_owned).collect(),
                distro_version: version.to_owned(),
                ..Host::default()
            };
            let hint = hint(&host, release);
            assert!(hint.contains(package), "{distro} {version}: {hint}");
        }
    }
}
