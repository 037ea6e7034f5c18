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
        ("photon", "", "5.0", "6.1.10-11.ph5", "tdnf provides '*/6.1.10-11.ph5/*/ip_vs.ko*'"),
        (
            "amzn",
            "fedora",
            "2023",
            "6.12.40-64.114.amzn2023.x86_64",
            "kernel6.12-modules-extra-6.12.40-64.114.amzn2023",
        ),
        ("amzn", "fedora", "2023", "6.18.1-1.1.amzn2023.aarch64", "kernel6.18-modules-extra-"),
        ("amzn", "centos rhel fedora", "2", "5.10.210-201.852.amzn2.x86_64", "yum reinstall kernel-5.10.210"),
        (
            "alinux",
            "rhel fedora centos anolis",
            "3",
            "5.10.134-16.al8.x86_64",
            "dnf provides '*/5.10.134-16.al8.x86_64/",
        ),
        ("anolis", "rhel fedora centos", "8.8", "5.10.134-13.an8.x86_64", "dnf provides"),
        ("openEuler", "", "22.03", "5.10.0-60.18.0.50.oe2203.x86_64", "dnf provides"),
        ("kylin", "", "V10", "4.19.90-24.4.v2101.ky10.x86_64", "netfilter/ipvs modules of kernel"),
        ("ubuntu", "debian", "24.04", "6.8.0-1013-raspi", "linux-modules-6.8.0-1013-raspi"),
        ("ubuntu", "debian", "24.04", "6.17.0-20-generic", "linux-modules-6.17.0-20-generic"),
        ("rocky", "rhel centos fedora", "10.0", "6.12.0-55.el10_0.x86_64", "kernel-modules-extra-6.12.0-55.el10_0"),
        ("rocky", "rhel centos fedora", "8.9", "6.9.1-1.el8.elrepo.x86_64", "dnf provides"),
        ("fedora", "", "40", "6.8.5-301.fc40.x86_64", "kernel-modules-6.8.5"),
        ("ubuntu", "debian", "26.04", "7.0.0-10-generic", "linux-modules-7.0.0-10-generic"),
        ("ubuntu", "debian", "25.10", "6.17.0-5-generic", "linux-modules-6.17.0-5-generic"),
        ("ubuntu", "debian", "25.04", "6.14.0-15-generic", "linux-modules-extra-6.14.0-15-generic"),
        ("ubuntu", "debian", "22.04", "5.15.0-1034-raspi", "linux-modules-extra-5.15.0-1034-raspi"),
        ("ubuntu", "debian", "22.04", "5.15.90.1-microsoft-standard-WSL2", "apt-file"),
        ("ubuntu", "debian", "22.04", "5.15.148-tegra", "nvidia-l4t-kernel"),
        ("debian", "", "12", "6.6.31+rpt-rpi-v8", "linux-image-6.6.31+rpt-rpi-v8"),
        ("debian", "", "12", "6.8.12-4-pve", "proxmox-kernel-6.8.12-4-pve"),
        ("debian", "", "9", "4.4.132-1075-rockchip-ayufan", "apt-file"),
        ("debian", "", "12", "6.6.6-custom", "apt-file"),
        ("sl-micro", "suse", "6.0", "6.4.0-20-default", "zypper install kernel-default"),
        ("ol", "fedora", "8.9", "5.4.17-2136.el8uek.x86_64", "dnf reinstall kernel-uek-5.4.17"),
        ("ol", "fedora", "10.0", "6.12.0-107.59.3.3.el10uek.x86_64", "kernel-uek-modules-extra-netfilter-6.12.0"),
        ("arch", "", "", "6.6.10-1-lts", "pacman -S linux-lts"),
        ("void", "", "", "6.6.30_1", "linux6.6"),
        ("gentoo", "", "2.15", "6.6.30-gentoo-dist", "gentoo-kernel-bin"),
        ("bottlerocket", "", "1.19.0", "6.1.72", "image"),
        ("nixos", "", "24.05", "6.6.30", "boot.kernelPackages"),
        ("flatcar", "coreos", "3815.2.0", "6.1.77-flatcar", "update"),
        ("alpine", "", "3.19.1", "6.6.14-0-virt", "linux-lts"),
        ("arch", "", "", "6.7.4-arch1-1", "pacman -S linux"),
        ("linuxmint", "ubuntu debian", "21", "5.15.0-100-generic", "linux-modules-extra-5.15.0-100-generic"),
        ("unheard-of", "", "", "6.6.6", "6.6.6"),
        ("azurelinux", "", "3.0", "6.6.51.1-5.azl3", "tdnf provides '*/6.6.51.1-5.azl3/*/ip_vs.ko*'"),
        ("mariner", "", "2.0", "5.15.148.2-2.cm2", "tdnf provides"),
        ("rhcos", "rhel fedora", "4.15", "5.14.0-284.52.1.el9_2.x86_64", "ships its modules with its image"),
        ("ubuntu", "debian", "24.04", "6.8.12-x64v3-xanmod1", "apt-file"),
        ("ubuntu", "debian", "22.04", "6.8.0-12.1-liquorix-amd64", "apt-file"),
        ("ubuntu", "debian", "22.04", "6.9.1-060901-generic", "apt-file"),
        ("pop", "ubuntu debian", "22.04", "6.9.3-76060903-generic", "apt-file"),
        ("alpine", "", "3.19.1", "6.6.14-0-lts", "apk fix linux-lts"),
    ];
    for (distro, like, version, release, package) in cases {
        let host = Host {
            distro: distro.to_owned(),
            distro_like: like.split_whitespace().map(str::to_owned).collect(),
            distro_version: version.to_owned(),
            ..Host::default()
        };
        let hint = hint(&host, ProxyMode::Ipvs, release);
        assert!(hint.contains(package), "{distro} {version}: {hint}");
    }
}

#[test]
fn hints_by_installed_tool_and_board() {
    let host = |distro: &str, tool, board| Host {
        distro: distro.to_owned(),
        package_tools: vec![tool],
        board,
        ..Host::default()
    };
    for (host, release, part) in [
        (host("kylin", "yum", None), "4.19.90-24.4.v2101.ky10.x86_64", "yum provides"),
        (host("kylin", "apt-get", None), "5.4.18-85-generic", "apt-file"),
        (host("fedora", "rpm-ostree", None), "6.8.9-300.fc40.x86_64", "rpm-ostree install kernel-modules-extra-6.8.9"),
        (host("rancheros", "apk", None), "5.10.0", "pkgs.alpinelinux.org"),
        (host("debian", "apt-get", Some("armbian")), "6.6.30-current-rockchip64", "linux-image-current-rockchip64"),
        (host("debian", "apt-get", Some("armbian")), "6.6.30-mine", "apt-file"),
        (host("ubuntu", "apt-get", Some("jetson")), "5.15.148-rt-tegra", "nvidia-l4t-kernel"),
        (host("raspbian", "apt-get", Some("raspberry-pi")), "5.10.103-v7l+", "raspberrypi-kernel"),
    ] {
        let hint = hint(&host, ProxyMode::Ipvs, release);
        assert!(hint.contains(part), "{release}: {hint}");
    }
}

/// Another package than that of IPVS, or the search for a file of nftables.
#[test]
fn hints_for_nftables() {
    for (distro, like, version, release, part) in [
        ("debian", "", "12", "6.1.0-18-amd64", "linux-image-6.1.0-18-amd64"),
        ("ubuntu", "debian", "22.04", "5.15.0-100-generic", "--reinstall linux-modules-5.15.0-100-generic"),
        ("ubuntu", "debian", "24.04", "6.8.0-12.1-liquorix-amd64", "grep nft_fib.ko"),
        (
            "rocky",
            "rhel centos fedora",
            "9.4",
            "5.14.0-427.el9.x86_64",
            "dnf provides '*/5.14.0-427.el9.x86_64/*/nft_fib.ko*'",
        ),
        ("amzn", "fedora", "2023", "6.12.40-64.114.amzn2023.x86_64", "nft_fib.ko*'"),
        ("sles", "suse", "15.5", "5.14.21-150500.55.49-default", "zypper search --file-list"),
        ("ol", "fedora", "9.3", "5.15.0-200.el9uek.x86_64", "nft_fib.ko*'"),
        ("photon", "", "5.0", "6.1.10-11.ph5-esx", "tdnf provides"),
        ("gentoo", "", "2.15", "6.6.30-gentoo-dist", "CONFIG_NF_TABLES"),
        ("nixos", "", "24.05", "6.6.30", "built with nftables"),
        ("unheard-of", "", "", "6.6.6", "netfilter modules of kernel 6.6.6"),
    ] {
        let host = Host {
            distro: distro.to_owned(),
            distro_like: like.split_whitespace().map(str::to_owned).collect(),
            distro_version: version.to_owned(),
            ..Host::default()
        };
        let hint = hint(&host, ProxyMode::Nftables, release);
        assert!(hint.contains(part) && !hint.contains("ip_vs") && !hint.contains("IPVS"), "{distro}: {hint}");
    }
}
