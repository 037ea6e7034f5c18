//! Builds a miniature root from a case's `host` file.
//!
//! Lines of a `host` file (`#` starts a comment):
//! ```text
//! os ID VERSION [LIKE...]          /etc/os-release
//! running RELEASE                  /proc/sys/kernel/osrelease
//! loaded [MODULE...]               /proc/modules
//! kernel RELEASE SUFFIX FOLDER MODULE...   modules with files and modules.dep; @16 and @17 are whole ipvs folders, @nft
//!                                  what kube-proxy uses of nftables, with conntrack
//! builtin RELEASE FOLDER MODULE...         lines of modules.builtin
//! systemd                          a systemd with systemd-modules-load.service
//! unit NAME [TARGET]               another systemd unit, wanted by TARGET
//! file PATH [MODE]                 a file; its content follows in lines that start with "| "
//! packed PATH                      the same, packed by gzip
//! dir PATH / link PATH TARGET
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// The ipvs folder of Linux 6.1; 6.12 adds `ip_vs_twos`.
const IPVS: [&str; 16] = [
    "ip_vs",
    "ip_vs_dh",
    "ip_vs_fo",
    "ip_vs_ftp",
    "ip_vs_lblc",
    "ip_vs_lblcr",
    "ip_vs_lc",
    "ip_vs_mh",
    "ip_vs_nq",
    "ip_vs_ovf",
    "ip_vs_pe_sip",
    "ip_vs_rr",
    "ip_vs_sed",
    "ip_vs_sh",
    "ip_vs_wlc",
    "ip_vs_wrr",
];

/// What kube-proxy uses of nftables.
const NFT: [&str; 13] = [
    "nf_conntrack",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_reject",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
];

/// Makes the tree that `host` describes below `root`.
pub(crate) fn build(root: &Path, host: &str) {
    let mut file = None;
    let mut packed = false;
    for (number, line) in host.lines().enumerate() {
        if let Some(content) = line.strip_prefix('|') {
            let path = file.as_ref().unwrap_or_else(|| panic!("line {}: content without a file", number + 1));
            let line = content.strip_prefix(' ').unwrap_or(content);
            let mut content = fs::read(path).unwrap();
            if packed {
                // Members one after the other are one file to gzip.
                let mut gzip = flate2::write::GzEncoder::new(&mut content, flate2::Compression::fast());
                writeln!(gzip, "{line}").unwrap();
                gzip.finish().unwrap();
            } else {
                writeln!(content, "{line}").unwrap();
            }
            fs::write(path, content).unwrap();
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let write = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            path
        };
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["os", id, version, like @ ..] => {
                write(
                    "etc/os-release",
                    &format!("ID={id}\nVERSION_ID=\"{version}\"\nID_LIKE=\"{}\"\n", like.join(" ")),
                );
            }
            ["running", release] => {
                write("proc/sys/kernel/osrelease", &format!("{release}\n"));
            }
            ["loaded", modules @ ..] => {
                let line = |module: &String| format!("{module} 16384 0 - Live 0x0000000000000000\n");
                write("proc/modules", &expand(modules).iter().map(line).collect::<String>());
            }
            ["kernel", release, suffix, folder, modules @ ..] => {
                kernel(&root.join(folder).join(release), suffix, &expand(modules));
            }
            ["builtin", release, folder, modules @ ..] => {
                let lines: String =
                    expand(modules).iter().map(|module| format!("{}\n", path_of(module, ".ko"))).collect();
                write(&format!("{folder}/{release}/modules.builtin"), &lines);
            }
            ["systemd"] => {
                write("usr/lib/systemd/system/systemd-modules-load.service", "[Service]\n");
                fs::create_dir_all(root.join("run/systemd/system")).unwrap();
            }
            ["unit", name, target @ ..] => {
                write(&format!("usr/lib/systemd/system/{name}"), "[Service]\n");
                for target in target {
                    let wants = root.join(format!("etc/systemd/system/{target}.wants"));
                    fs::create_dir_all(&wants).unwrap();
                    symlink(format!("/usr/lib/systemd/system/{name}"), wants.join(name)).unwrap();
                }
            }
            ["file", path, mode @ ..] => {
                let place = write(path, "");
                if let [mode] = mode {
                    let mode = u32::from_str_radix(mode, 8).unwrap();
                    fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
                }
                file = Some(place);
                packed = false;
            }
            ["packed", path] => {
                file = Some(write(path, ""));
                packed = true;
            }
            ["dir", path] => fs::create_dir_all(root.join(path)).unwrap(),
            ["link", path, target] => {
                fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
                symlink(target, root.join(path)).unwrap();
            }
            _ => panic!("line {}: not understood: {line}", number + 1),
        }
    }
}

fn expand(modules: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    for module in modules {
        match *module {
            "@16" => names.extend(IPVS.map(str::to_owned)),
            "@17" => names.extend(IPVS.iter().chain(&["ip_vs_twos"]).map(|name| (*name).to_owned())),
            "@nft" => names.extend(NFT.map(str::to_owned)),
            name => names.push(name.to_owned()),
        }
    }
    names
}

fn path_of(module: &str, suffix: &str) -> String {
    let folder = match module {
        "nf_conntrack_ipv4" | "nft_fib_ipv4" | "nft_reject_ipv4" | "ip_tables" => "kernel/net/ipv4/netfilter",
        "nft_fib_ipv6" | "nft_reject_ipv6" => "kernel/net/ipv6/netfilter",
        name if name.starts_with("ip_vs") => "kernel/net/netfilter/ipvs",
        _ => "kernel/net/netfilter",
    };
    format!("{folder}/{module}{suffix}")
}

fn kernel(folder: &Path, suffix: &str, modules: &[String]) {
    let mut index = String::new();
    for module in modules {
        let path = path_of(module, suffix);
        fs::create_dir_all(folder.join(&path).parent().unwrap()).unwrap();
        fs::write(folder.join(&path), "").unwrap();
        let needs: &[&str] = match module.as_str() {
            "ip_vs" => &["nf_conntrack"],
            name if name.starts_with("ip_vs_") => &["ip_vs", "nf_conntrack"],
            "nft_fib_ipv4" | "nft_fib_ipv6" => &["nft_fib", "nf_tables"],
            "nft_reject_ipv4" | "nft_reject_ipv6" => &["nft_reject", "nf_tables"],
            "nft_ct" | "nft_chain_nat" | "nft_nat" | "nft_masq" => &["nf_tables", "nf_conntrack"],
            name if name.starts_with("nft_") => &["nf_tables"],
            _ => &[],
        };
        let needs: String = needs
            .iter()
            .filter(|name| modules.iter().any(|m| m == *name))
            .map(|n| format!(" {}", path_of(n, suffix)))
            .collect();
        index.push_str(&format!("{path}:{needs}\n"));
    }
    fs::create_dir_all(folder.join("kernel")).unwrap();
    fs::write(folder.join("modules.dep"), index).unwrap();
    if !folder.join("modules.builtin").exists() {
        fs::write(folder.join("modules.builtin"), "").unwrap();
    }
}
