use super::*;

fn names(script: &str) -> Vec<String> {
    names_in_script(script).into_iter().collect()
}

#[test]
fn plain_lines_count() {
    let cases: [(&str, &[&str]); 12] = [
        ("modprobe -- ip_vs\n/sbin/modprobe ip_vs_rr", &["ip_vs", "ip_vs_rr"]),
        ("modprobe -a ip_vs ip-vs-sh > /dev/null 2>&1", &["ip_vs", "ip_vs_sh"]),
        ("modprobe -qa ip_vs ip_vs_sh &>/dev/null", &["ip_vs", "ip_vs_sh"]),
        ("modprobe ip_vs numa=1", &["ip_vs"]),
        ("modprobe ip_vs ip_vs_rr", &["ip_vs"]),
        ("modprobe \"ip_vs\"; modprobe 'ip_vs_rr' # both", &["ip_vs", "ip_vs_rr"]),
        ("modprobe -a ip_vs \\\n  ip_vs_rr", &["ip_vs", "ip_vs_rr"]),
        ("# a comment \\\nmodprobe ip_vs", &["ip_vs"]),
        ("modules=\"a b\"\nPATH=/sbin:/bin\nset -x\necho loading $modules\nmodprobe ip_vs", &["ip_vs"]),
        ("modprobe nf_conntrack_ipv4 || modprobe nf_conntrack\nmodprobe ip_vs", &["ip_vs", "nf_conntrack_ipv4"]),
        ("modprobe ip_vs && modprobe ip_vs_rr", &["ip_vs"]),
        ("modprobe $first\nmodprobe ip_vs", &["ip_vs"]),
    ];
    for (script, expected) in cases {
        assert_eq!(names(&format!("#!/bin/bash\n{script}\n")), expected, "{script}");
    }
}

#[test]
fn uncertain_lines_are_ignored() {
    for script in [
        // Nothing runs it, or it is not a shell script.
        "modprobe ip_vs\n",
        "#!/usr/bin/python3\nmodprobe ip_vs\n",
        "#!/bin/sh\r\nmodprobe ip_vs\r\n",
        "#!/bin/sh -n\nmodprobe ip_vs\n",
        // Not at the top level.
        "#!/bin/sh\nload() {\n  modprobe ip_vs\n}\n",
        "#!/bin/sh\nfunction load {\nmodprobe ip_vs\n}\n",
        "#!/bin/sh\nif true; then\nmodprobe ip_vs\nfi\n",
        "#!/bin/sh\nfor i in ip_vs; do\nmodprobe $i\ndone\nmodprobe ip_vs\n",
        "#!/bin/sh\ncase $1 in\nstart)\nmodprobe ip_vs\n;;\nesac\n",
        "#!/bin/sh\n(modprobe ip_vs)\n",
        "#!/bin/sh\n{ modprobe ip_vs; }\n",
        "#!/bin/sh\n[ -d /x ] && modprobe ip_vs\n",
        "#!/bin/sh\n! modprobe ip_vs\n",
        // Not commands at all.
        "#!/bin/sh\ncat <<EOF\nmodprobe ip_vs\nEOF\n",
        "#!/bin/sh\n: <<'EOF'\nmodprobe ip_vs\nEOF\n",
        "#!/bin/sh\necho '\nmodprobe ip_vs\n'\n",
        "#!/bin/sh\necho \\\nmodprobe ip_vs\n",
        // It ends before the line, or may end.
        "#!/bin/sh\nexit 0\nmodprobe ip_vs\n",
        "#!/bin/sh\nexec true\nmodprobe ip_vs\n",
        "#!/bin/sh\nreturn 0\nmodprobe ip_vs\n",
        "#!/bin/sh\n. /etc/kpx\nmodprobe ip_vs\n",
        "#!/bin/sh\nsource /etc/kpx\nmodprobe ip_vs\n",
        "#!/bin/sh\neval \"$x\"\nmodprobe ip_vs\n",
        "#!/bin/sh\nset -e\nlsmod\nmodprobe ip_vs\n",
        "#!/bin/sh -e\ndepmod\nmodprobe ip_vs\n",
        "#!/bin/sh\nset -u\necho $x\nmodprobe ip_vs\n",
        "#!/bin/sh\nset -n\nmodprobe ip_vs\n",
        "#!/bin/sh\n: ${x:?}\nmodprobe ip_vs\n",
        "#!/bin/sh\ntrap exit DEBUG\nmodprobe ip_vs\n",
        "#!/bin/sh\ntrue || exit\nmodprobe ip_vs\n",
        "#!/bin/sh\nexit; modprobe ip_vs\n",
        // Another modprobe, or other options.
        "#!/bin/sh\nalias modprobe=true\nmodprobe ip_vs\n",
        "#!/bin/sh\nPATH=/opt\nmodprobe ip_vs\n",
        "#!/bin/sh\nexport MODPROBE_OPTIONS=-n\nmodprobe ip_vs\n",
        "#!/bin/sh\nmodprobe -n ip_vs\n",
        "#!/bin/sh\nmodprobe --dry-run ip_vs\n",
        "#!/bin/sh\nmodprobe -b ip_vs\n",
        "#!/bin/sh\nmodprobe -C /etc/x ip_vs\n",
        "#!/bin/sh\nmodprobe ip_vs\nmodprobe -r ip_vs\n",
        "#!/bin/sh\nmodprobe ip_vs\nrmmod ip_vs\n",
        "#!/bin/sh\nmodprobe ip_vs &\n",
        "#!/bin/sh\nmodprobe ip_vs | logger\n",
        "#!/bin/sh\necho modprobe ip_vs\n",
        "#!/bin/sh\nmodprobe ${ip_vs}\n",
        "#!/bin/sh\nmodprobe ip_{vs,vs_rr}\n",
        "#!/bin/sh\nif true; then exit; fi; modprobe ip_vs\n",
    ] {
        assert_eq!(names(script), Vec::<String>::new(), "{script}");
    }
}

#[test]
fn set_e_ends_at_a_command_that_may_fail() {
    let script = "#!/bin/bash\nset -e\nmodprobe -- nf_conntrack_ipv4\nmodprobe -- ip_vs\n";
    assert_eq!(names(script), ["nf_conntrack_ipv4"]);
    let script =
        "#!/bin/bash\nset -euo pipefail\necho x\nmodprobe a || true\nmodprobe ip_vs || :\nset +e\nmodprobe b\n";
    assert_eq!(names(script), ["a", "b", "ip_vs"]);
}
