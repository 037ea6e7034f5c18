//! The hint where the package cannot be derived: the command that searches for it.

use crate::node::host::Host;

/// The tool of image-based systems, where no other tool can install packages.
pub(super) const OSTREE: &str = "rpm-ostree";

/// The modules that are missing, in words and by the names of one of their files and of their kernel option.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    pub(super) folder: &'static str,
    pub(super) file: &'static str,
    pub(super) option: &'static str,
}

pub(super) const IPVS: Wanted =
    Wanted { name: "IPVS", folder: "netfilter/ipvs", file: "ip_vs", option: "CONFIG_IP_VS" };
pub(super) const NFTABLES: Wanted =
    Wanted { name: "nftables", folder: "netfilter", file: "nft_fib", option: "CONFIG_NF_TABLES" };

/// The distribution's command to search for the package with the file, with the installed tool.
pub(super) fn search(host: &Host, wanted: Wanted, release: &str) -> String {
    let Wanted { file, folder, .. } = wanted;
    let by_family = || {
        // https://github.com/microsoft/azurelinux (mariner is its name up to 2.0)
        if matches!(host.distro.as_str(), "photon" | "azurelinux" | "mariner") {
            "tdnf"
        } else if is_suse(host) {
            "zypper"
        } else if host.is_like("debian") || host.is_like("ubuntu") {
            "apt-get"
        } else if host.is_like("alpine") {
            "apk"
        } else if host.is_like("arch") {
            "pacman"
        } else if host.is_like("rhel") || host.is_like("fedora") || host.is_like("centos") || host.is_like("openEuler")
        {
            "dnf"
        } else {
            match host.distro.as_str() {
                "void" => "xbps-install",
                "gentoo" => "emerge",
                "openEuler" | "openeuler" | "hce" | "euleros" | "alinux" | "anolis" | "tencentos" | "opencloudos" => {
                    "dnf"
                }
                _ => "",
            }
        }
    };
    // rpm-ostree cannot search for files.
    let tool = host.package_tools.iter().copied().find(|tool| *tool != OSTREE);
    let command = match tool.unwrap_or_else(by_family) {
        // Path patterns: dnf(8) provides, tdnf(8), yum(8) provides, zypper(8) search --file-list, apt-file(1), pacman(8) -F,
        // xbps-query(1) --ownedby.
        tool @ ("dnf" | "tdnf" | "yum") => format!("{tool} provides '*/{release}/*/{file}.ko*'"),
        "zypper" => format!("zypper search --file-list '*/{release}/*/{file}.ko*'"),
        "apt-get" => {
            format!("apt-get install apt-file && apt-file update && apt-file search {release} | grep {file}.ko")
        }
        "apk" => format!("https://pkgs.alpinelinux.org/contents?file={file}.ko*"),
        "pacman" => format!("pacman -Fy && pacman -F {file}.ko.zst"),
        "xbps-install" => format!("xbps-query -Ro '*/{file}.ko*'"),
        _ => {
            return format!(
                "install the package with the {folder} modules of kernel {release} on this distribution; if there is none, boot a kernel that has them"
            );
        }
    };
    format!(
        "search for the package with the module: {command}; if there is none, boot a kernel of this distribution that has it"
    )
}

/// SUSE's distributions, of which some do not name the others.
pub(super) fn is_suse(host: &Host) -> bool {
    host.is_like("suse")
        || host.distro.starts_with("opensuse")
        || matches!(host.distro.as_str(), "sles" | "sl-micro" | "sle-micro")
}
