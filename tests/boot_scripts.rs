//! What kpx-prep believes of a boot script, against what real shells do with it: nothing that counts may fail to be loaded.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kpx_prep::node::boot::script::names_in_script;

/// Lines as people write them, and what may go wrong around them.
const LINES: [&str; 70] = [
    "modprobe -- ip_vs",
    "modprobe ip_vs_rr",
    "modprobe -a ip_vs_wrr ip_vs_sh",
    "modprobe \"ip_vs_lc\"",
    "modprobe 'ip_vs_nq' >/dev/null 2>&1",
    "modprobe missing",
    "modprobe missing || true",
    "modprobe missing || modprobe ip_vs_dh",
    "modprobe ip_vs_mh && modprobe ip_vs_fo",
    "modprobe missing && modprobe ip_vs_ovf",
    "modprobe ip_vs_sed; modprobe ip_vs_wlc",
    "modprobe -qa ip_vs_lblc missing ip_vs_lblcr",
    "modprobe -n ip_vs_ftp",
    "modprobe $UNSET ip_vs_pe_sip",
    "modprobe -a ip_vs_rr \\",
    "  ip_vs_twos",
    "set -e",
    "set +e",
    "set -u",
    "set -eu",
    "set -o errexit",
    "set -x",
    "echo $UNSET",
    "echo loading # modprobe ip_vs",
    "# modprobe ip_vs",
    "#\\",
    "echo 'text",
    "'",
    "echo \"text",
    "\"",
    "echo \\",
    "load() {",
    "}",
    "load",
    "function load {",
    "if false; then",
    "if true; then",
    "fi",
    "else",
    "for i in ip_vs; do",
    "while false; do",
    "done",
    "case x in",
    "y)",
    ";;",
    "esac",
    "cat <<EOF >/dev/null",
    ": <<'EOF'",
    "EOF",
    "exit 0",
    "exit",
    "true || exit",
    "false || exit 0",
    "false && exit",
    "[ -d /nowhere ] || exit 0",
    "return 0",
    "exec true",
    "( exit 1 )",
    "(",
    ")",
    "{ true",
    "! true",
    "false",
    "true",
    ":",
    "false | true",
    "modprobe ip_vs_tunnel &",
    "alias modprobe=true",
    "modprobe() { :; }",
    "x=$(modprobe ip_vs_sub)",
];

/// The next number of a fixed sequence (xorshift): a failure is the same at every run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap_or_default()
}

/// The modules that `modprobe` was asked to load, and which there are, when a shell runs the script.
fn loaded(folder: &Path, shell: &str, script: &str) -> BTreeSet<String> {
    let (log, file) = (folder.join("log"), folder.join("script"));
    fs::write(&log, "").unwrap();
    fs::write(&file, script).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    // The options of the first line are the interpreter's.
    let option = script.lines().next().and_then(|line| line.split_once(' ')).map(|(_, option)| option.to_owned());
    let mut command = Command::new(shell);
    command.args(option).arg(&file).env_clear().env("PATH", path).env("LOG", &log).current_dir(folder);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect()
}

/// Loads what does not start with `missing`; without `-a`, the first name only.
const MODPROBE: &str = "#!/bin/sh
all= dry= status=0
while :; do
    case $1 in
        --) shift; break ;;
        -n) dry=1; shift ;;
        -a|-qa) all=1; shift ;;
        -*) shift ;;
        *) break ;;
    esac
done
for name in \"$@\"; do
    case $name in
        missing*) status=1 ;;
        *) [ -n \"$dry\" ] || echo \"$name\" >> \"$LOG\" ;;
    esac
    [ -n \"$all\" ] || break
done
exit $status
";

#[test]
fn real_shells_load_what_is_read_from_a_script() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    let modprobe = folder.path().join("bin/modprobe");
    fs::write(&modprobe, MODPROBE).unwrap();
    fs::set_permissions(&modprobe, fs::Permissions::from_mode(0o755)).unwrap();
    let shells: Vec<&str> =
        ["/bin/sh", "/bin/bash", "/bin/dash"].into_iter().filter(|shell| Path::new(shell).exists()).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut believed = 0;
    for _ in 0..300 {
        let first = ["#!/bin/sh", "#!/bin/bash", "#!/bin/sh -e", "#!/bin/bash -eu"][next(&mut state) % 4];
        let mut script = format!("{first}\n");
        for _ in 0..=next(&mut state) % 9 {
            // Half of the lines load something: else the first strange one would end most scripts.
            let range = if next(&mut state).is_multiple_of(2) { 12 } else { LINES.len() };
            script.push_str(LINES[next(&mut state) % range]);
            script.push('\n');
        }
        // What is asked for and is not there at all is none of the script's faults.
        let names: Vec<String> = names_in_script(&script).into_iter().filter(|name| name != "missing").collect();
        believed += names.len();
        if names.is_empty() {
            continue;
        }
        for shell in &shells {
            let loaded = loaded(folder.path(), shell, &script);
            let wrong: Vec<_> = names.iter().filter(|name| !loaded.contains(*name)).collect();
            assert!(wrong.is_empty(), "{shell} does not load {wrong:?}, only {loaded:?}, of\n{script}");
        }
    }
    assert!(believed > 200, "only {believed} names were believed: this shows nothing");
}
