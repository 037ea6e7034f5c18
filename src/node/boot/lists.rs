//! The files that name modules to load at boot, and how each reader parses a line.

use std::collections::BTreeSet;

use crate::node::modules::name::{canonical, is_module_name};

/// The reader of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// systemd-modules-load: the whole line, trimmed, is one name; a comment is a line that starts with `#` or `;`
    /// (`read_stripped_line` and `COMMENTS`, systemd's src/modules-load/modules-load.c and src/basic/fileio.c). Compared with
    /// systemd 252: it looks for a module `ip_vs_wrr # text`, and for one called `ip_vs_sh nf_conntrack`.
    Systemd,
    /// `OpenRC`: `while read m x`, so the first word of a line (init.d/modules.in, and Alpine's own
    /// main/openrc/modules.initd). A last line without a newline is not read.
    Openrc,
    /// Debian's `kmod` script for sysvinit: `modprobe MODULE ARGS` for each line that does not start with `#`
    /// (debian/kmod.init).
    Sysvinit,
    /// Readers that pass each line unchanged to modprobe, such as Void's `modules-load` (void-runit) and dinit's on Chimera.
    WholeLine,
}

/// The modules that a list certainly names.
pub fn names_in_list(text: &str, grammar: Grammar) -> BTreeSet<String> {
    text.split_inclusive('\n').filter_map(|line| name_in_line(line, grammar)).collect()
}

fn name_in_line(line: &str, grammar: Grammar) -> Option<String> {
    let blank = [' ', '\t', '\n', '\r'];
    let whole = line.strip_suffix('\n');
    let name = match grammar {
        Grammar::Systemd => line.trim_matches(blank),
        Grammar::Openrc => whole?.split([' ', '\t']).find(|word| !word.is_empty())?,
        Grammar::Sysvinit => {
            let mut words = whole.unwrap_or(line).split([' ', '\t']).filter(|word| !word.is_empty());
            let name = words.next()?;
            // Anything but a parameter might make modprobe refuse the line.
            words.all(|word| word.split_once('=').is_some_and(|(key, _)| is_module_name(key))).then_some(name)?
        }
        Grammar::WholeLine => whole?,
    };
    is_module_name(name).then(|| canonical(name))
}

/// The modules of `modules="…"` in /etc/conf.d/modules, which `OpenRC`'s script also loads; none if the file contains
/// anything else, such as a list for one kernel only, which would replace it.
pub fn names_in_conf_d(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // Module arguments do not change which modules are loaded.
        if line.starts_with("module_") && !line.contains(['$', '`', ';']) {
            continue;
        }
        let value = line.strip_prefix("modules=").and_then(|value| {
            let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
            quoted('"').or_else(|| quoted('\''))
        });
        let Some(value) = value.filter(|value| !value.contains(['$', '`', '"', '\'', '\\'])) else {
            return BTreeSet::new();
        };
        names = value.split_whitespace().filter(|name| is_module_name(name)).map(canonical).collect();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Grammar; 4] = [Grammar::Systemd, Grammar::Openrc, Grammar::Sysvinit, Grammar::WholeLine];

    #[test]
    fn lines_by_reader() {
        // line, and whether each of the four loads ip_vs because of it
        for (line, expected) in [
            ("ip_vs\n", [true, true, true, true]),
            ("ip-vs\n", [true, true, true, true]),
            ("  ip_vs \t\n", [true, true, true, false]),
            ("ip_vs # text\n", [false, true, false, false]),
            ("ip_vs ip_vs_rr\n", [false, true, false, false]),
            ("ip_vs conn_tab_bits=16\n", [false, true, true, false]),
            ("ip_vs# text\n", [false, false, false, false]),
            ("# ip_vs\n", [false, false, false, false]),
            ("; ip_vs\n", [false, false, false, false]),
            (" # ip_vs\n", [false, false, false, false]),
            ("ip_vs\r\n", [true, false, false, false]),
            ("ip_vs", [true, false, true, false]),
            ("ip_vs.ko\n", [false, false, false, false]),
            ("ip_vs,ip_vs_rr\n", [false, false, false, false]),
            ("modprobe ip_vs\n", [false, false, false, false]),
            ("\"ip_vs\"\n", [false, false, false, false]),
            ("\u{feff}ip_vs\n", [false, false, false, false]),
            ("-a ip_vs\n", [false, false, false, false]),
        ] {
            let loads = ALL.map(|grammar| names_in_list(line, grammar).contains("ip_vs"));
            assert_eq!(loads, expected, "{line:?}");
        }
    }

    #[test]
    fn conf_d_of_openrc() {
        let names = |text: &str| names_in_conf_d(text).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names("# x\nmodules=\"ip_vs ip-vs-rr\"\nmodule_ip_vs_args=\"conn_tab_bits=16\"\n"),
            ["ip_vs", "ip_vs_rr"]
        );
        for text in ["modules_6_6=\"ip_vs\"\n", "modules=\"$modules ip_vs\"\n", "modules=ip_vs\nif x\n", "ip_vs\n"] {
            assert_eq!(names(text), Vec::<String>::new(), "{text}");
        }
    }
}
