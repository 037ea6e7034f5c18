//! Modules blocked by the administrator: `blacklist` and `install` in modprobe.d, and the kernel's command line.
//!
//! Rules of modprobe.d(5): files `*.conf` of several folders, a file in an earlier folder overrides one of the same name in
//! a later one, a backslash at the end continues a line.

use std::collections::BTreeMap;

use super::name::canonical;
use crate::node::root::Root;
use crate::node::root::conf_files::ConfFiles;

/// modprobe's configuration folders, by priority; `modprobe.d` in [`Root::lib_folders`] comes last.
const FOLDERS: [&str; 3] = ["/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d"];

const COMMAND_LINE: &str = "/proc/cmdline";

/// A rule that blocks a module, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// File and line, or `/proc/cmdline`.
    pub place: String,
    /// The rule, on one line.
    pub text: String,
}

/// The rules that block modules on a host.
#[derive(Clone, Debug, Default)]
pub struct ModprobeConfig {
    /// `blacklist NAME`: ignored by modprobe with an explicit name, but not by systemd-modules-load and OpenRC.
    pub blacklisted: BTreeMap<String, Rule>,
    /// `install NAME /bin/true` or `/bin/false`: nothing can load it.
    pub overridden: BTreeMap<String, Rule>,
    /// `module_blacklist=` on the kernel's command line: the kernel refuses it.
    pub refused_by_kernel: BTreeMap<String, Rule>,
    /// Files that could not be read, with the reason.
    pub unreadable: Vec<(String, String)>,
}

/// Reads the host's modprobe configuration and kernel command line.
pub fn read(root: &Root) -> ModprobeConfig {
    let mut config = ModprobeConfig::default();
    let mut files = ConfFiles::new(root, &FOLDERS, "modprobe.d");
    files.add(root, COMMAND_LINE.to_owned());
    for (path, text) in files.read {
        if path == COMMAND_LINE {
            parse_command_line(&mut config, &text);
        } else {
            parse_file(&mut config, &path, &text);
        }
    }
    config.unreadable = files.unreadable;
    config
}

fn parse_file(config: &mut ModprobeConfig, path: &str, text: &str) {
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next);
        }
        let mut words = whole.split_whitespace();
        let (verb, name) = (words.next(), words.next().map(canonical));
        let rule = || Rule {
            place: format!("{path} line {}", number + 1),
            text: whole.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        match (verb, name) {
            (Some("blacklist"), Some(name)) => {
                config.blacklisted.entry(name).or_insert_with(rule);
            }
            (Some("install"), Some(name)) if words.next().is_some_and(does_nothing) => {
                config.overridden.entry(name).or_insert_with(rule);
            }
            _ => {}
        }
    }
}

/// Whether an `install` command does nothing. Other commands may load the module.
fn does_nothing(command: &str) -> bool {
    matches!(command, "true" | "false" | ":" | "/bin/true" | "/bin/false" | "/usr/bin/true" | "/usr/bin/false")
}

fn parse_command_line(config: &mut ModprobeConfig, line: &str) {
    for word in line.split_whitespace() {
        let Some((key, names)) = word.split_once('=') else { continue };
        let target = match key {
            "module_blacklist" => &mut config.refused_by_kernel,
            // kmod's libkmod-config.c reads this one.
            "modprobe.blacklist" => &mut config.blacklisted,
            _ => continue,
        };
        for name in names.split(',').filter(|name| !name.is_empty()) {
            target
                .entry(canonical(name))
                .or_insert_with(|| Rule { place: COMMAND_LINE.to_owned(), text: word.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_modprobe_d() {
        let mut config = ModprobeConfig::default();
        let text = "# blacklist ip_vs\nblacklist ip-vs-rr\ninstall \\\n  ip_vs /bin/false\ninstall ip_vs_sh /sbin/modprobe -i ip_vs_sh\n";
        parse_file(&mut config, "/etc/modprobe.d/a.conf", text);
        assert_eq!(config.blacklisted.keys().collect::<Vec<_>>(), ["ip_vs_rr"]);
        let rule = &config.overridden["ip_vs"];
        assert_eq!(
            (rule.place.as_str(), rule.text.as_str()),
            ("/etc/modprobe.d/a.conf line 3", "install ip_vs /bin/false")
        );
        assert_eq!(config.overridden.len(), 1);
    }

    #[test]
    fn names_on_the_command_line() {
        let mut config = ModprobeConfig::default();
        parse_command_line(&mut config, "quiet module_blacklist=ip_vs,floppy modprobe.blacklist=ip_vs_rr\n");
        assert!(config.refused_by_kernel.contains_key("ip_vs"));
        assert!(config.blacklisted.contains_key("ip_vs_rr"));
    }
}
