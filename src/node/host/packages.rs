//! Which package provides a missing kernel module on this distribution for this kernel.
//!
//! Package names are from the distribution's documentation or from reports of its users; each arm has its source. If the
//! name cannot be derived from the kernel's release, the hint is the distribution's command to search for the file.

mod search;

use super::Host;
use crate::mode::ProxyMode;
use search::{IPVS, NFTABLES, OSTREE, Wanted, is_suse, search};

/// The hint for installing the modules of the kernel `release` for a mode.
pub fn hint(host: &Host, mode: ProxyMode, release: &str) -> String {
    match mode {
        ProxyMode::Ipvs => package(host, IPVS, release),
        ProxyMode::Nftables | ProxyMode::Iptables => package(host, NFTABLES, release),
    }
}

fn package(host: &Host, wanted: Wanted, release: &str) -> String {
    let major = host.major();
    if let Some(hint) = of_board(host, wanted, release) {
        return hint;
    }
    // Distributions that split their kernels keep nftables in the package that every host has, whose name differs.
    let ipvs = wanted.file == IPVS.file;
    match host.distro.as_str() {
        "ubuntu" => ubuntu(host, wanted, release),
        "ol" if ipvs && release.contains("uek") => oracle_uek(major, release),
        // https://docs.aws.amazon.com/linux/al2/ug/kernel.html: all modules are in `kernel`.
        "amzn" if major == 2 => format!("yum reinstall kernel-{release}"),
        "amzn" if ipvs => amazon_linux_2023(host, release),
        // https://github.com/vmware/photon/issues/735, 939 (esx), 543: `linux` has the modules, some `linux-esx` do not.
        "photon" if ipvs => match release.rsplit_once('-').map(|(_, flavour)| flavour) {
            Some("esx") => {
                "tdnf update linux-esx, then reboot into it; if it has no IPVS modules either: tdnf install linux"
                    .to_owned()
            }
            _ => search(host, wanted, release),
        },
        // https://www.flatcar.org/docs/latest/setup/releases/update-strategies/
        "flatcar" => "Flatcar ships its modules with the system: update it (update_engine_client -update), then reboot"
            .to_owned(),
        // https://docs.openshift.com/container-platform/4.15/architecture/architecture-rhcos.html: packages are part of the image.
        "bottlerocket" | "talos" | "cos" | "rhcos" | "scos" => {
            "this system ships its modules with its image; use a newer image or another variant".to_owned()
        }
        "nixos" => format!(
            "choose a kernel built with {} in boot.kernelPackages, then run nixos-rebuild boot and reboot",
            wanted.name
        ),
        // https://pkgs.alpinelinux.org/contents?file=ip_vs.ko*: linux-lts and linux-virt.
        "alpine" => match release.rsplit_once('-').map(|(_, flavour)| flavour) {
            Some("virt") => "apk add linux-lts, then reboot into it (or apk fix linux-virt)".to_owned(),
            Some(flavour) if flavour.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                format!("apk fix linux-{flavour}")
            }
            _ => "apk add linux-lts, then reboot into it".to_owned(),
        },
        "arch" => arch(release),
        // https://wiki.gentoo.org/wiki/Project:Distribution_Kernel
        "gentoo" => format!(
            "build kernel {release} with {}{} (savedconfig or /etc/kernel/config.d), or emerge sys-kernel/gentoo-kernel-bin, then reboot into it",
            wanted.option,
            if ipvs { " and its schedulers" } else { " and what kube-proxy uses of it" }
        ),
        // https://docs.voidlinux.org/config/kernel.html: `linuxX.Y`, such as linux6.6
        "void" => match series(release) {
            Some(series) => format!("xbps-install -f linux{series}, then reboot into it"),
            None => search(host, wanted, release),
        },
        _ if ipvs && is_suse(host) => suse(host, release),
        // These have different kernel packages: Alibaba Cloud Linux and Anolis, openEuler and its derivatives, Kylin, TencentOS,
        // OpenCloudOS.
        "alinux" | "anolis" | "openEuler" | "openeuler" | "kylin" | "hce" | "euleros" | "uos" | "tencentos"
        | "opencloudos" => search(host, wanted, release),
        _ if ipvs && (host.is_like("rhel") || host.is_like("fedora")) => red_hat(host, release),
        _ if host.is_like("ubuntu") => ubuntu(host, wanted, release),
        _ if host.is_like("arch") => arch(release),
        _ if host.is_like("debian") => debian(host, wanted, release),
        _ => search(host, wanted, release),
    }
}

/// Kernels of boards, whose packages cannot be derived from os-release.
fn of_board(host: &Host, wanted: Wanted, release: &str) -> Option<String> {
    // https://github.com/k3s-io/k3s/issues/491: a `-tegra` kernel has only what NVIDIA built, and no package adds modules.
    if host.board == Some("jetson") || release.ends_with("-tegra") {
        return Some(format!(
            "kernel {release} is NVIDIA's (Jetson Linux): apt-get install --reinstall nvidia-l4t-kernel; if it has no {}, build it with {} from the Jetson Linux sources",
            wanted.name, wanted.option
        ));
    }
    // https://docs.armbian.com/User-Guide_Armbian-Software/: linux-image-BRANCH-FAMILY, the suffix of the release.
    if host.board == Some("armbian") {
        let parts: Vec<&str> = release.split('-').collect();
        let branch =
            parts.iter().position(|part| matches!(*part, "current" | "edge" | "legacy" | "vendor" | "bleedingedge"));
        return Some(match branch {
            Some(at) if at + 1 < parts.len() => {
                format!("apt-get install --reinstall linux-image-{}, then reboot into it", parts[at..].join("-"))
            }
            _ => search(host, wanted, release),
        });
    }
    // https://www.raspberrypi.com/documentation/computers/linux_kernel.html: `+rpt-rpi-FLAVOUR` since bookworm, before that
    // the package raspberrypi-kernel.
    if let Some((_, flavour)) = release.split_once("+rpt-rpi-") {
        return Some(format!(
            "apt-get install --reinstall linux-image-{release}, or linux-image-rpi-{flavour} and reboot into it"
        ));
    }
    if host.board == Some("raspberry-pi")
        && (release.ends_with('+') || release.contains("-v7") || release.contains("-v8"))
    {
        return Some("apt-get install --reinstall raspberrypi-kernel, then reboot into it".to_owned());
    }
    None
}

fn ubuntu(host: &Host, wanted: Wanted, release: &str) -> String {
    let flavour = release.rsplit('-').next().unwrap_or_default();
    // Releases look like 5.15.0-100-generic; these are not Ubuntu's: 6.8.12-x64v3-xanmod1, 6.8.0-12.1-liquorix-amd64,
    // 6.9.1-060901-generic of its mainline archive, 6.9.3-76060903-generic of Pop!_OS.
    let build = release.split('-').nth(1).unwrap_or_default();
    let is_build = (1..=4).contains(&build.len()) && build.bytes().all(|byte| byte.is_ascii_digit());
    let is_own = is_build && release.split('-').count() >= 3 && flavour.starts_with(|c: char| c.is_ascii_lowercase());
    if !is_own {
        return search(host, wanted, release);
    }
    // https://packages.ubuntu.com: nftables is in linux-modules of every release.
    if wanted.file == NFTABLES.file {
        return format!("apt-get install --reinstall linux-modules-{release}");
    }
    if flavour == "kvm" {
        // https://github.com/onedr0p/cluster-template/pull/612
        return "the -kvm kernel has no IPVS modules: apt-get install linux-image-generic, then reboot into it"
            .to_owned();
    }
    // Since Ubuntu 25.10 (and its HWE kernels for 24.04) all modules are in linux-modules. Kernels of some clouds are still
    // split. https://github.com/NVIDIA/NV-Kernels/pull/191, https://github.com/kairos-io/kairos/pull/3610;
    // -raspi since 24.04: https://bugs.launchpad.net/ubuntu/+source/linux-raspi/+bug/2048862.
    let of_later = host.distro == "ubuntu" && (host.major() > 25 || host.distro_version == "25.10");
    let numbers: Vec<u32> = release.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    if of_later || numbers.as_slice() >= &[6, 15][..] || (flavour == "raspi" && host.major() >= 24) {
        return if matches!(flavour, "generic" | "raspi" | "lowlatency") {
            format!("apt-get install --reinstall linux-modules-{release}")
        } else {
            format!(
                "apt-get install linux-modules-extra-{release}; if it does not exist: apt-get install --reinstall linux-modules-{release}"
            )
        };
    }
    // https://packages.ubuntu.com/search?keywords=linux-modules-extra
    format!("apt-get install linux-modules-extra-{release}")
}

fn debian(host: &Host, wanted: Wanted, release: &str) -> String {
    // https://packages.debian.org/search?keywords=linux-image: the package name contains the release and ends in the flavour.
    let flavours =
        ["amd64", "arm64", "armmp", "686", "686-pae", "armhf", "riscv64", "powerpc64le", "s390x", "marvell", "loong64"];
    let flavour = release.rsplit('-').next().unwrap_or_default();
    if flavours.contains(&flavour) || release.ends_with("-lpae") || release.ends_with("-pve") {
        // https://packages.debian.org; Proxmox: https://pve.proxmox.com/wiki/Proxmox_VE_Kernel
        let name = if release.ends_with("-pve") { "proxmox-kernel" } else { "linux-image" };
        return format!("apt-get install --reinstall {name}-{release}");
    }
    search(host, wanted, release)
}

fn arch(release: &str) -> String {
    // https://wiki.archlinux.org/title/Kernel: linux, and linux-lts, linux-zen, linux-hardened, by the suffix of the release.
    let flavour =
        ["lts", "zen", "hardened", "rt"].into_iter().find(|flavour| release.ends_with(&format!("-{flavour}")));
    let package = flavour.map_or_else(|| "linux".to_owned(), |flavour| format!("linux-{flavour}"));
    format!("pacman -S {package}, then reboot into it")
}

fn suse(host: &Host, release: &str) -> String {
    let flavour = release.rsplit('-').next().unwrap_or_default();
    if !flavour.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return search(host, IPVS, release);
    }
    // https://documentation.suse.com/sles/15-SP6/html/SLES-all/cha-tuning-kernel.html: a -base build has few modules.
    format!(
        "zypper install kernel-{flavour} (kernel-{flavour}-base is a minimal build without IPVS), then reboot into it"
    )
}

fn oracle_uek(major: u32, release: &str) -> String {
    match series(release).as_deref() {
        // https://docs.oracle.com/en/operating-systems/uek/8/relnotes8.0/ (packaging; modules.packages names the package of each)
        Some("6.12") => format!(
            "dnf install kernel-uek-modules-{release} kernel-uek-modules-extra-netfilter-{release} (grep ip_vs /lib/modules/{release}/modules.packages shows which)"
        ),
        // https://docs.oracle.com/en/operating-systems/uek/7/relnotes7.0/
        Some("5.15") => format!("dnf install kernel-uek-modules-{release} kernel-uek-modules-extra-{release}"),
        // Up to UEK 6 all modules are in kernel-uek.
        _ if major < 8 => format!("yum reinstall kernel-uek-{release}"),
        _ => format!("dnf reinstall kernel-uek-{release}"),
    }
}

fn amazon_linux_2023(host: &Host, release: &str) -> String {
    // https://docs.aws.amazon.com/linux/al2023/release-notes: kernel and kernel-modules-extra for 6.1; for every later line the
    // packages carry its number, kernel6.12 and kernel6.12-modules-extra.
    let line = match series(release).as_deref() {
        Some("6.1") => "kernel".to_owned(),
        Some(series) => format!("kernel{series}"),
        None => return search(host, IPVS, release),
    };
    format!(
        "dnf install {line}-modules-extra-{release}; if it is still missing: dnf provides '*/{release}/*/ip_vs.ko*'"
    )
}

fn red_hat(host: &Host, release: &str) -> String {
    // A distribution kernel has .el9_4, .el8 or .fc40 in its release; others, such as ELRepo's (kernel-ml) or a cloud's, do not.
    if !(release.contains(".el") || release.contains(".fc")) || release.contains(".elrepo") {
        return search(host, IPVS, release);
    }
    // https://docs.fedoraproject.org/en-US/fedora-coreos/os-extensions/
    if host.package_tools.contains(&OSTREE) {
        return format!("rpm-ostree install kernel-modules-extra-{release}, then reboot");
    }
    match host.major() {
        ..8 if host.distro != "fedora" => format!("yum reinstall kernel-{release}"),
        // https://access.redhat.com/solutions/3812741 (kernel-modules-extra)
        8 | 9 => format!(
            "dnf install kernel-modules-{release} (and, if it is still missing, kernel-modules-extra-{release})"
        ),
        // https://github.com/kubernetes/kops/issues/17915; ip_vs: https://github.com/dyrnq/install-docker/issues/24
        _ => format!("dnf install kernel-modules-{release} kernel-modules-extra-{release}"),
    }
}

/// `6.12` of `6.12.40-64.114.amzn2023.x86_64`.
fn series(release: &str) -> Option<String> {
    let mut numbers = release.split('.');
    let (first, second) = (numbers.next()?, numbers.next()?);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(first) && is_number(second)).then(|| format!("{first}.{second}"))
}

#[cfg(test)]
mod tests;
