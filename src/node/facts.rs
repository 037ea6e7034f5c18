//! The observed state of a node, on which decisions are based.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::boot::files::Existing;
use super::boot::lists::{Grammar, names_in_list};
use super::boot::request::NodeRequest;
use super::boot::{self, Boot};
use super::host::nft::NftFacts;
use super::host::{self, Host};
use super::modules::kernel::{self, Kernel};
use super::modules::kernel_config::KernelConfig;
use super::modules::modprobe_config::{self, ModprobeConfig};
use super::mounts::Mounts;
use super::root::Root;
use crate::mode::ProxyMode;

/// The observed state of a node.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// The host.
    pub host: Host,
    /// The installed kernels, by release.
    pub kernels: BTreeMap<String, Kernel>,
    /// modprobe's configuration.
    pub config: ModprobeConfig,
    /// What loads modules at boot.
    pub boot: Boot,
    /// What exists at the paths that kpx-prep may write.
    pub existing: BTreeMap<&'static str, Existing>,
    /// Folders that a killed run had created, or was about to create or remove.
    pub unfinished_folders: BTreeSet<String>,
    /// What the `nft` programs say, if they were asked.
    pub nft: Option<NftFacts>,
}

impl HostFacts {
    /// Observes a node.
    ///
    /// # Errors
    /// If a required file exists and cannot be read.
    pub fn observe(
        root: &Root,
        existing: BTreeMap<&'static str, Existing>,
        request: &NodeRequest,
    ) -> anyhow::Result<Self> {
        let host = host::observe(root)?;
        // A container's init does not load kernel modules.
        let boot = if host.container.is_some() {
            Boot::default()
        } else {
            boot::observe(root, &host, &Mounts::observe(root), request.mechanism)
        };
        let kernels = kernels(root, &host, request);
        let config = modprobe_config::read(root);
        let mut facts = Self { host, kernels, config, boot, existing, ..Self::default() };
        if !facts.is_plain(request) {
            facts.host.observe_packages(root);
            let asked = &request.names();
            let with_folder = facts.kernels.values_mut().filter(|kernel| !kernel.is_bare());
            with_folder.for_each(|kernel| kernel.read_index(root, asked));
        }
        if facts.host.lockdown.is_some() {
            facts.kernels.values_mut().for_each(|kernel| kernel.look_at_signatures(root));
        }
        tracing::debug!("observed: {facts:?}");
        Ok(facts)
    }

    /// Whether depmod's large index is not needed: there is only the running kernel, all requested modules are loaded, and
    /// kpx-prep's list names all of them. Only the modules of ipvs are found without it.
    fn is_plain(&self, request: &NodeRequest) -> bool {
        if request.mode != ProxyMode::Ipvs {
            return false;
        }
        let Some(kernel) = self.kernel() else { return false };
        let Some(Existing::File { content, .. }) = self.existing.get(boot::files::LIST) else { return false };
        // Where something else loads the modules at boot, no reader of the list is known, and nothing else is concluded from it.
        let listed = if self.boot.is_elsewhere() {
            names_in_list(content, Grammar::Systemd)
        } else {
            self.boot.loaded_by(boot::files::LIST, content)
        };
        let wanted = request.modules(Some(kernel), &self.host);
        self.kernels.len() == 1 && wanted.keys().all(|name| self.host.loaded.contains(name) && listed.contains(name))
    }

    /// [`HostFacts::observe`], including the files.
    ///
    /// # Errors
    /// If a required file exists and cannot be read.
    pub fn observe_all(root: &Root, request: &NodeRequest) -> anyhow::Result<Self> {
        Self::observe(root, boot::existing::observe(root)?, request)
    }

    /// The kernel to check: the running one; in an image that is not running, the newest.
    pub fn kernel(&self) -> Option<&Kernel> {
        match &self.host.release {
            Some(release) => self.kernels.get(release),
            None => self.newest(None),
        }
    }

    /// Another installed kernel than the running one, the newest of them, which would boot next.
    pub fn other_kernel(&self) -> Option<&Kernel> {
        self.newest(self.host.release.as_deref())
    }

    fn newest(&self, but: Option<&str>) -> Option<&Kernel> {
        let others = self.kernels.values().filter(|kernel| Some(kernel.release.as_str()) != but);
        others.max_by(|a, b| by_version(&a.release, &b.release))
    }
}

/// The installed kernels, and the running one if anything is known about it.
fn kernels(root: &Root, host: &Host, request: &NodeRequest) -> BTreeMap<String, Kernel> {
    let mut kernels = kernel::installed(root, &request.names());
    let nothing = BTreeSet::new();
    for kernel in kernels.values_mut() {
        let running = host.release.as_ref() == Some(&kernel.release);
        let config = KernelConfig::read(root, &kernel.release, running);
        kernel.learn(config, if running { &host.live_built_in } else { &nothing });
    }
    if let Some(release) = host.release.as_ref().filter(|release| !kernels.contains_key(*release)) {
        let config = KernelConfig::read(root, release, true);
        if config.is_some() || !host.live_built_in.is_empty() {
            let mut kernel = Kernel::bare(release);
            kernel.learn(config, &host.live_built_in);
            kernels.insert(release.clone(), kernel);
        }
    }
    kernels
}

/// Natural sort order: digits are compared by value. Used only to find the newest kernel.
fn by_version(a: &str, b: &str) -> Ordering {
    let parts = |release: &str| -> Vec<(u64, String)> {
        let mut parts = vec![(0_u64, String::new())];
        let mut in_digits = false;
        for c in release.chars() {
            match (c.to_digit(10), in_digits) {
                (Some(digit), true) => {
                    if let Some(last) = parts.last_mut() {
                        last.0 = last.0.saturating_mul(10).saturating_add(u64::from(digit));
                    }
                }
                (Some(digit), false) => parts.push((u64::from(digit), String::new())),
                (None, _) => {
                    if let Some(last) = parts.last_mut() {
                        last.1.push(c);
                    }
                }
            }
            in_digits = c.is_ascii_digit();
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::boot::mechanism::Mechanism;
    use crate::node::modules::kernel::Index;

    #[test]
    fn depmods_index_is_read_only_where_it_matters() {
        let folder = tempfile::tempdir().unwrap();
        let modules = "usr/lib/modules/6.1/kernel/net/netfilter/ipvs";
        for (path, content) in [
            ("proc/sys/kernel/osrelease", "6.1\n"),
            ("proc/modules", "ip_vs 1 0 - Live 0x0\nip_vs_rr 1 0 - Live 0x0\nnf_conntrack 1 0 - Live 0x0\n"),
            ("usr/lib/modules/6.1/modules.builtin", ""),
            ("usr/lib/modules/6.1/modules.dep", "kernel/net/netfilter/ipvs/ip_vs.ko:\n"),
            (&format!("{modules}/ip_vs.ko"), ""),
            (&format!("{modules}/ip_vs_rr.ko"), ""),
            ("usr/lib/modules/6.1/kernel/net/netfilter/nf_conntrack.ko", ""),
            ("usr/lib/systemd/system/systemd-modules-load.service", "x"),
            (&boot::files::LIST[1..], "ip_vs\nip_vs_rr\nnf_conntrack\n"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = Root::new(folder.path()).unwrap();
        let index = |mechanism| {
            let request = NodeRequest::default().with(Some(30), mechanism, None);
            let facts = HostFacts::observe_all(&root, &request).unwrap();
            facts.kernels["6.1"].index.clone()
        };
        let prepared = [None, Some(Mechanism::Other), Some(Mechanism::Openrc)];
        assert!(prepared.iter().all(|mechanism| matches!(index(*mechanism), Index::Unread)));
        // The script does not name conntrack's module, which follows from the index.
        assert!(matches!(index(Some(Mechanism::SysconfigModules)), Index::Read(_)));
        for (path, content) in [(&boot::files::LIST[1..], "ip_vs\n"), ("proc/modules", "ip_vs 1 0 - Live 0x0\n")] {
            let path = folder.path().join(path);
            let before = std::fs::read(&path).unwrap();
            std::fs::write(&path, content).unwrap();
            assert!(prepared.iter().all(|mechanism| matches!(index(*mechanism), Index::Read(_))), "{content}");
            std::fs::write(&path, before).unwrap();
        }
    }

    #[test]
    fn newest_by_number() {
        assert_eq!(by_version("6.1.0-9-amd64", "6.1.0-18-amd64"), Ordering::Less);
        assert_eq!(by_version("5.14.0-427.el9.x86_64", "5.14.0-70.el9.x86_64"), Ordering::Greater);
        assert_eq!(by_version("6.1.0", "6.1.0"), Ordering::Equal);
    }
}
