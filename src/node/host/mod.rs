//! Properties of the host: distribution, running kernel, its restrictions, and whether it is a container.

pub mod immutable;
pub mod nft;
pub mod packages;

use std::collections::BTreeSet;

use anyhow::Context as _;
use etc_os_release::OsRelease;

use super::modules::name::canonical;
use super::root::Root;

/// Package tools to look for on a host; the first existing one is used in hints.
pub const PACKAGE_TOOLS: [&str; 10] =
    ["rpm-ostree", "tdnf", "dnf", "yum", "zypper", "apt-get", "apk", "pacman", "xbps-install", "emerge"];

/// Files that show that a module is active, loaded or built in (`net/netfilter/ipvs/ip_vs_ctl.c`, `ip_vs_control_net_init`;
/// `net/netfilter/nf_conntrack_standalone.c`).
const SIGNS: [(&str, &[&str]); 2] = [
    ("ip_vs", &["/proc/net/ip_vs", "/proc/sys/net/ipv4/vs"]),
    ("nf_conntrack", &["/proc/sys/net/netfilter/nf_conntrack_max", "/proc/net/nf_conntrack"]),
];
/// Files that identify the vendor of an image where os-release does not.
const BOARDS: [(&str, &str); 3] = [
    ("/etc/armbian-release", "armbian"),
    // https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/
    ("/etc/nv_tegra_release", "jetson"),
    ("/etc/rpi-issue", "raspberry-pi"),
];

/// A host as observed through its root.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// `ID` of os-release; `linux` if the file is missing, as specified in os-release(5).
    pub distro: String,
    /// `ID_LIKE` of os-release.
    pub distro_like: Vec<String>,
    /// `VERSION_ID` of os-release, or empty.
    pub distro_version: String,
    /// `uname -r` of the running kernel; `None` if the root has no `/proc` (an image that is not running).
    pub release: Option<String>,
    /// Modules that are live, from `/proc/modules`.
    pub loaded: BTreeSet<String>,
    /// `kernel.modules_disabled` is 1: no module can be loaded until the next boot.
    pub modules_disabled: bool,
    /// The kernel's lockdown level, unless it is `none`.
    pub lockdown: Option<String>,
    /// The kind of container, if this is one; modules belong to its host.
    pub container: Option<String>,
    /// SELinux is enforcing.
    pub selinux: bool,
    /// NetworkManager is installed.
    pub network_manager: bool,
    /// Modules that are visible in `/proc` and `/sys` but not in `/proc/modules`: built into the running kernel.
    pub live_built_in: BTreeSet<String>,
    /// Whether the kernel's network files are visible, so that a built-in module would be found.
    pub sees_network: bool,
    /// Whether the running kernel certainly serves no IPv6: its network files are visible, and those of IPv6 are not.
    pub without_ipv6: bool,
    /// `ARMBIAN` of /etc/armbian-release, or another mark of the kernel's vendor where os-release does not name it; `None`
    /// before [`Host::observe_packages`].
    pub board: Option<&'static str>,
    /// The installed package tools; none before [`Host::observe_packages`].
    pub package_tools: Vec<&'static str>,
}

impl Host {
    /// Whether the distribution is `id` or names it in `ID_LIKE`.
    pub fn is_like(&self, id: &str) -> bool {
        self.distro == id || self.distro_like.iter().any(|like| like == id)
    }

    /// Observes what names the package of a missing module; where none is missing, these are only system calls.
    pub fn observe_packages(&mut self, root: &Root) {
        self.board = BOARDS.iter().find(|(path, _)| root.exists(path)).map(|(_, board)| *board);
        let is_installed = |tool: &&str| root.exists(&format!("/usr/bin/{tool}"));
        self.package_tools = PACKAGE_TOOLS.iter().copied().filter(is_installed).collect();
    }

    /// The first number of `VERSION_ID`, or 0.
    pub fn major(&self) -> u32 {
        self.distro_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }
}

/// Observes the host.
///
/// # Errors
/// If `/proc/modules` or the kernel's release exists and cannot be read.
pub fn observe(root: &Root) -> anyhow::Result<Host> {
    let os = ["/etc/os-release", "/usr/lib/os-release"]
        .into_iter()
        .find_map(|path| root.read(path).ok().flatten())
        .and_then(|text| text.parse::<OsRelease>().ok());
    let table = module_table(root)?;
    let mut host = Host {
        distro: "linux".to_owned(),
        loaded: loaded_in(root, table.as_deref()),
        live_built_in: live_built_in(root, table.as_deref().unwrap_or_default()),
        release: text_of(root, "/proc/sys/kernel/osrelease")?,
        modules_disabled: text_of(root, "/proc/sys/kernel/modules_disabled").ok().flatten().as_deref() == Some("1"),
        lockdown: root.read("/sys/kernel/security/lockdown").ok().flatten().and_then(|text| lockdown_level(&text)),
        container: container(root),
        selinux: text_of(root, "/sys/fs/selinux/enforce").ok().flatten().as_deref() == Some("1"),
        network_manager: ["/usr/sbin/NetworkManager", "/usr/bin/NetworkManager"].iter().any(|p| root.exists(p)),
        sees_network: root.is_dir("/proc/net") || root.is_dir("/proc/sys/net/ipv4"),
        without_ipv6: root.is_dir("/proc/sys/net/ipv4") && !root.is_dir("/proc/sys/net/ipv6"),
        ..Host::default()
    };
    if let Some(os) = os {
        os.id().clone_into(&mut host.distro);
        host.distro_like = os.id_like().map(|like| like.map(str::to_owned).collect()).unwrap_or_default();
        os.version_id().unwrap_or_default().clone_into(&mut host.distro_version);
    }
    Ok(host)
}

/// The loaded modules, from `/proc/modules` or, if that is missing, from `/sys/module`.
///
/// # Errors
/// If the file exists and cannot be read.
pub fn loaded_modules(root: &Root) -> anyhow::Result<BTreeSet<String>> {
    Ok(loaded_in(root, module_table(root)?.as_deref()))
}

/// The text of `/proc/modules`; `None` if it does not exist.
fn module_table(root: &Root) -> anyhow::Result<Option<String>> {
    root.read("/proc/modules").with_context(|| format!("reading {}", root.display("/proc/modules").display()))
}

fn loaded_in(root: &Root, table: Option<&str>) -> BTreeSet<String> {
    if let Some(table) = table {
        return table.lines().filter_map(live_module).collect();
    }
    // Some containers do not have that file; every loaded module has a folder here with its state.
    let is_live = |name: &String| {
        let state = root.read(&format!("/sys/module/{name}/initstate")).ok().flatten();
        state.is_some_and(|state| state.trim() == "live")
    };
    root.list("/sys/module").into_iter().filter(is_live).map(|name| canonical(&name)).collect()
}

/// Active modules that are built into the kernel. A loadable module that is loaded, or being loaded, is in
/// `/proc/modules` and has an `initstate` (kernel/module/sysfs.c); a built-in one has neither.
fn live_built_in(root: &Root, table: &str) -> BTreeSet<String> {
    let listed: BTreeSet<String> =
        table.lines().filter_map(|line| line.split_whitespace().next().map(canonical)).collect();
    let mut live: BTreeSet<String> = root.list("/sys/module").into_iter().map(|name| canonical(&name)).collect();
    live.retain(|name| name.starts_with("ip_vs") || name.starts_with("nf_conntrack"));
    for (name, signs) in SIGNS {
        if signs.iter().any(|sign| root.exists(sign)) {
            live.insert(name.to_owned());
        }
    }
    live.retain(|name| !listed.contains(name) && !root.exists(&format!("/sys/module/{name}/initstate")));
    live
}

/// The loaded modules that are not in use, from the third field of `/proc/modules`.
///
/// # Errors
/// If the file exists and cannot be read.
pub fn unused_modules(root: &Root) -> anyhow::Result<BTreeSet<String>> {
    let text = module_table(root)?;
    let unused = |line: &&str| line.split_whitespace().nth(2) == Some("0");
    Ok(text.unwrap_or_default().lines().filter(unused).filter_map(live_module).collect())
}

/// `NAME SIZE USERS DEPS STATE ADDRESS`; a module that is being loaded or unloaded does not count.
fn live_module(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let name = fields.next()?;
    let state = fields.nth(3).unwrap_or("Live");
    (state == "Live").then(|| canonical(name))
}

fn text_of(root: &Root, path: &str) -> anyhow::Result<Option<String>> {
    let text = root.read(path).with_context(|| format!("reading {}", root.display(path).display()))?;
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// `none [integrity] confidentiality`: the brackets mark the active level.
fn lockdown_level(text: &str) -> Option<String> {
    let level = text.split('[').nth(1)?.split(']').next()?;
    (level != "none").then(|| level.to_owned())
}

/// Detects container managers by their marker files, like `systemd-detect-virt --container`.
///
/// A machine may boot a file tree that was a container image: if kernel threads are visible, this is not a container,
/// regardless of marker files.
fn container(root: &Root) -> Option<String> {
    let named = |path: &str| text_of(root, path).ok().flatten();
    if !root.is_dir("/proc/1") || named("/proc/2/comm").as_deref() == Some("kthreadd") {
        return None;
    }
    if let Some(kind) = named("/run/systemd/container") {
        return Some(kind);
    }
    if let Ok(Some(environment)) = root.read("/proc/1/environ")
        && let Some(kind) = environment.split('\0').find_map(|pair| pair.strip_prefix("container="))
        && !kind.is_empty()
    {
        return Some(kind.to_owned());
    }
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman"), ("/dev/.lxc", "lxc")];
    if let Some((_, kind)) = marks.into_iter().find(|(path, _)| root.exists(path)) {
        return Some(kind.to_owned());
    }
    (root.exists("/proc/vz") && !root.exists("/proc/bc")).then(|| "openvz".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loaded_modules_count() {
        assert_eq!(live_module("ip_vs 196608 2 ip_vs_rr, Live 0x0000000000000000").as_deref(), Some("ip_vs"));
        assert_eq!(live_module("ip_vs 196608 0 - Loading 0x0").as_deref(), None);
        assert_eq!(live_module("ip_vs 196608 0 - Unloading 0x0").as_deref(), None);
        assert_eq!(live_module(""), None);
    }

    #[test]
    fn level_of_lockdown() {
        assert_eq!(lockdown_level("[none] integrity confidentiality\n"), None);
        assert_eq!(lockdown_level("none [integrity] confidentiality\n").as_deref(), Some("integrity"));
        assert_eq!(lockdown_level(""), None);
    }
}
