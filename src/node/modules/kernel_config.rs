//! The kernel configuration, if readable: for kernels whose modules folder is missing or incomplete.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::name::canonical;
use crate::bounded;
use crate::mode::nftables;
use crate::node::root::Root;

/// The configuration of the running kernel (`CONFIG_IKCONFIG_PROC`).
const OF_RUNNING: &str = "/proc/config.gz";
/// The size limit of an unpacked configuration. Real ones have 300 KiB.
const MOST: u64 = 8 << 20;

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `y`: built in.
    BuiltIn,
    /// `m`: a module.
    Module,
    /// Not set.
    Off,
}

/// The options of a kernel's configuration for IPVS, nftables and connection tracking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelConfig {
    /// The path it was read from.
    pub place: String,
    options: BTreeMap<String, Setting>,
}

impl KernelConfig {
    /// The configuration of the kernel `release`; `running`: it is the running one, so `/proc/config.gz` is its
    /// configuration.
    ///
    /// `None` if there is none, or if it does not mention IPVS: then it is only a fragment.
    pub fn read(root: &Root, release: &str, running: bool) -> Option<Self> {
        // A release is a name, not a path.
        if release.is_empty() || release.contains('/') {
            return None;
        }
        if running
            && let Ok(file) = root.open_file(OF_RUNNING)
            && let Some(text) = unpacked(file)
            && let Some(config) = Self::parse(OF_RUNNING, &text)
        {
            return Some(config);
        }
        let own = root.lib_folders().iter().map(|lib| format!("{lib}/modules/{release}/config"));
        let mut places = std::iter::once(format!("/boot/config-{release}"))
            .chain(own)
            // From the headers for building modules for this kernel.
            .chain([format!("/lib/modules/{release}/build/.config")]);
        places.find_map(|place| Self::parse(&place, &root.read(&place).ok().flatten()?))
    }

    fn parse(place: &str, text: &str) -> Option<Self> {
        let mut options = BTreeMap::new();
        for line in text.lines() {
            let off = line.strip_prefix("# CONFIG_").and_then(|rest| rest.strip_suffix(" is not set"));
            let (name, setting) = match off {
                Some(name) => (name, Setting::Off),
                None => match line.strip_prefix("CONFIG_").and_then(|rest| rest.split_once('=')) {
                    Some((name, "y")) => (name, Setting::BuiltIn),
                    Some((name, "m")) => (name, Setting::Module),
                    _ => continue,
                },
            };
            if ["IP_VS", "NF_CONNTRACK", "NF_TABLES", "NFT_"].iter().any(|start| name.starts_with(start)) {
                options.insert(name.to_owned(), setting);
            }
        }
        options.contains_key("IP_VS").then(|| Self { place: place.to_owned(), options })
    }

    /// The value of `CONFIG_NAME`. An option that is not mentioned is off, because one that it depends on is off.
    pub fn option(&self, name: &str) -> Setting {
        self.options.get(name).copied().unwrap_or(Setting::Off)
    }

    /// The value for a module, such as `ip_vs_rr`; `None` for modules other than those of IPVS, nftables and connection
    /// tracking.
    pub fn module(&self, name: &str) -> Option<Setting> {
        let ours = name == "ip_vs" || name.starts_with("ip_vs_") || name.starts_with("nf_conntrack");
        let of_nftables = name == "nf_tables" || name.starts_with("nft_");
        (ours || of_nftables).then(|| self.option(&nftables::kernel_option(name)))
    }

    /// The built-in modules of IPVS, nftables and connection tracking.
    pub fn built_in(&self) -> impl Iterator<Item = String> {
        /// Options of `ip_vs` and `nf_tables` themselves, which are not modules (net/netfilter/ipvs/Kconfig, net/netfilter/Kconfig).
        const NO_MODULES: [&str; 5] = ["IP_VS_IPV6", "IP_VS_DEBUG", "IP_VS_NFCT", "IP_VS_PROTO", "NF_TABLES_"];
        let is_module = |name: &&String| !NO_MODULES.iter().any(|other| name.starts_with(other));
        let options = self.options.iter().filter(|(_, setting)| **setting == Setting::BuiltIn);
        let names = options.map(|(name, _)| name).filter(is_module).map(|name| canonical(&name.to_ascii_lowercase()));
        // Two modules belong to one option.
        names.flat_map(|name| if name == "nft_nat" { vec![name, "nft_chain_nat".to_owned()] } else { vec![name] })
    }
}

// Apart: its frame is a dozen pages of stack, which most hosts need not pay for.
#[inline(never)]
fn unpacked(file: File) -> Option<String> {
    let packed = bounded::read(file, bounded::MOST).ok()?;
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(packed.as_slice()).take(MOST + 1).read_to_end(&mut text);
    (read.is_ok() && text.len() as u64 <= MOST).then(|| String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TEXT: &str = "CONFIG_IP_VS=y\nCONFIG_IP_VS_RR=y\nCONFIG_IP_VS_WRR=m\n# CONFIG_IP_VS_SH is not set\n\
        # CONFIG_IP_VS_IPV6 is not set\nCONFIG_IP_VS_NFCT=y\nCONFIG_IP_VS_TAB_BITS=12\nCONFIG_NF_CONNTRACK=y\nCONFIG_NET=y\n";

    #[test]
    fn options_of_a_configuration() {
        let config = KernelConfig::parse("/boot/config-6.1", TEXT).unwrap();
        for (module, setting) in [
            ("ip_vs", Setting::BuiltIn),
            ("ip_vs_rr", Setting::BuiltIn),
            ("ip_vs_wrr", Setting::Module),
            ("ip_vs_sh", Setting::Off),
            ("ip_vs_lc", Setting::Off),
            ("nf_conntrack", Setting::BuiltIn),
        ] {
            assert_eq!(config.module(module), Some(setting), "{module}");
        }
        assert_eq!(config.module("br_netfilter"), None);
        assert_eq!(config.option("IP_VS_IPV6"), Setting::Off);
        assert_eq!(config.built_in().collect::<Vec<_>>(), ["ip_vs", "ip_vs_rr", "nf_conntrack"]);
        for fragment in ["", "CONFIG_NET=y\n", "CONFIG_IP_VS_RR=y\n", "CONFIG_IP_VS=maybe\n"] {
            assert_eq!(KernelConfig::parse("x", fragment), None, "{fragment}");
        }
    }

    #[test]
    fn options_of_nftables() {
        let text = "# CONFIG_IP_VS is not set\nCONFIG_NF_TABLES=y\nCONFIG_NF_TABLES_IPV4=y\nCONFIG_NFT_NAT=y\nCONFIG_NFT_FIB_IPV4=m\n# CONFIG_NFT_FIB_IPV6 is not set\n";
        let config = KernelConfig::parse("x", text).unwrap();
        for (module, setting) in [
            ("nf_tables", Setting::BuiltIn),
            ("nft_chain_nat", Setting::BuiltIn),
            ("nft_fib_ipv4", Setting::Module),
            ("nft_fib_ipv6", Setting::Off),
            ("nft_masq", Setting::Off),
        ] {
            assert_eq!(config.module(module), Some(setting), "{module}");
        }
        assert_eq!(config.built_in().collect::<Vec<_>>(), ["nft_nat", "nft_chain_nat", "nf_tables"]);
    }

    #[test]
    fn compressed_configurations_are_read_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("proc")).unwrap();
        let put = |content: &[u8]| std::fs::write(folder.path().join("proc/config.gz"), content).unwrap();
        let pack = |text: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text).unwrap();
            packer.finish().unwrap()
        };
        put(&pack(TEXT.as_bytes()));
        assert_eq!(KernelConfig::read(&root, "6.1", true).unwrap().place, OF_RUNNING);
        assert_eq!(KernelConfig::read(&root, "6.1", false), None, "it belongs to the running kernel");
        put(b"no archive");
        assert_eq!(KernelConfig::read(&root, "6.1", true), None);
        let cut = pack(TEXT.as_bytes());
        put(&cut[..cut.len() / 2]);
        assert_eq!(KernelConfig::read(&root, "6.1", true), None, "a truncated archive is ignored");
        let mut bomb = TEXT.as_bytes().to_vec();
        bomb.resize(usize::try_from(MOST).unwrap() + 2, b'\n');
        put(&pack(&bomb));
        assert_eq!(KernelConfig::read(&root, "6.1", true), None, "larger than any configuration");
        assert_eq!(KernelConfig::read(&root, "../../etc", false), None);
    }
}
