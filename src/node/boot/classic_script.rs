//! Detects faults in an `ipvs.modules` that kpx-prep did not write, from its text.
//!
//! The script of the classic procedure is usually written by an unquoted shell here-document, which expands the current
//! kernel version into it, and it takes module names from file names that end in `.ko.xz`.

use crate::node::modules::kernel::Kernel;
use crate::node::root::conf_files::has_extension;

/// The faults of a foreign script on this host, worst first; empty if none is recognised.
pub fn faults(content: &str, mode: u32, kernel: Option<&Kernel>, honoured: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let active: String =
        content.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    if let Some(release) = frozen_release(&active) {
        faults.push(match kernel {
            Some(kernel) if kernel.release != release => {
                format!("it searches only /lib/modules/{release}, but kernel {} is running", kernel.release)
            }
            _ => format!("it searches only /lib/modules/{release}, so it finds nothing after a kernel update"),
        });
    }
    let suffixes = |kernel: &Kernel| kernel.files.values().all(|file| has_extension(file, "xz"));
    if active.contains(".ko.xz") && !kernel.is_some_and(suffixes) {
        faults
            .push("it accepts only .ko.xz files as modules, but this kernel's modules have another suffix".to_owned());
    }
    if let Some(kernel) = kernel
        && active.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "nf_conntrack_ipv4")
        && !kernel.has("nf_conntrack_ipv4")
    {
        faults.push(format!("it loads nf_conntrack_ipv4, which kernel {} does not have", kernel.release));
    }
    if honoured && mode & 0o111 == 0 {
        faults.push("it is not executable, so nothing runs it at boot".to_owned());
    }
    if !honoured {
        faults.push("nothing runs it at boot on this host".to_owned());
    }
    faults
}

/// A literal kernel release in a modules path, instead of `$(uname -r)`.
fn frozen_release(text: &str) -> Option<&str> {
    text.split("lib/modules/").skip(1).find_map(|rest| {
        let end = rest.find(|c: char| c == '/' || c.is_whitespace() || "\"')|;".contains(c)).unwrap_or(rest.len());
        let release = &rest[..end];
        release.starts_with(|c: char| c.is_ascii_digit()).then_some(release)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(release: &str, suffix: &str) -> Kernel {
        let mut kernel = Kernel { release: release.to_owned(), ..Kernel::default() };
        kernel.files.insert("ip_vs".to_owned(), format!("/x/ip_vs.ko{suffix}"));
        kernel
    }

    #[test]
    fn faults_of_the_classic_script() {
        let frozen = "for i in $(ls /lib/modules/5.14.0-70.el9.x86_64/kernel/net/netfilter/ipvs); do modprobe $i; done";
        let live = "for i in $(ls /lib/modules/$(uname -r)/kernel/net/netfilter/ipvs | sed 's/.ko.xz//'); do modprobe $i; done";
        let k = kernel("5.14.0-427.el9.x86_64", ".xz");
        assert_eq!(faults(frozen, 0o755, Some(&k), true).len(), 1);
        assert!(faults(frozen, 0o755, Some(&k), true)[0].contains("5.14.0-427"));
        assert_eq!(faults(live, 0o755, Some(&k), true), Vec::<String>::new());
        assert!(faults(live, 0o755, Some(&kernel("6.1.0-18-amd64", "")), true)[0].contains(".ko.xz"));
        assert!(faults("modprobe nf_conntrack_ipv4", 0o755, Some(&k), true)[0].contains("nf_conntrack_ipv4"));
        assert!(faults("modprobe ip_vs", 0o644, Some(&k), true)[0].contains("executable"));
        assert!(faults("modprobe ip_vs", 0o755, Some(&k), false)[0].contains("nothing runs it"));
        assert!(faults("# /lib/modules/5.1.0/x .ko.xz", 0o755, Some(&k), true).is_empty());
    }
}
