//! Runs `kpx-prep node` on miniature roots: each folder of `tests/node` is a case.
//!
//! `host` describes the host (see `support/host.rs`), `run` holds the commands, `expected` what they print, their exit
//! status and how the whole tree differs after each. `BLESS=1 cargo test --test node` writes `expected` anew: read
//! the difference before you commit it.
//!
//! A line of `run` is the arguments of `kpx-prep`; `--root` is added. In front of them may stand `as-nobody`,
//! `etc-read-only` or `etc-full`.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use golden::Goldens;

#[path = "support/golden.rs"]
mod golden;
#[path = "support/host.rs"]
mod host;
#[path = "support/tree.rs"]
mod tree;

const TEMPLATES: [&str; 5] = [
    include_str!("../src/node/boot/templates/ipvs.modules"),
    include_str!("../src/node/boot/templates/modules-load.conf"),
    include_str!("../src/node/boot/templates/networkmanager.conf"),
    include_str!("../src/node/boot/templates/nftables-modules-load.conf"),
    include_str!("../src/node/boot/templates/nftables.modules"),
];

#[test]
fn every_case() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
    let mut goldens = Goldens::default();
    let mut names: Vec<_> = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for case in &names {
        goldens.compare(&case.join("expected"), run_case(case));
    }
    println!("{} hosts", names.len());
    goldens.end(80);
}

fn run_case(case: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    let read =
        |name: &str| fs::read_to_string(case.join(name)).unwrap_or_else(|e| panic!("{}/{name}: {e}", case.display()));
    host::build(&root, &read("host"));

    let mut transcript = String::new();
    for line in read("run").lines() {
        // Who runs this is nobody, but its owner: what root owns, a user may not write either.
        let owned = line.starts_with("as-nobody ") && !is_root();
        if owned {
            writable(&root, false);
        }
        let before = tree::snapshot(&root);
        let output = command(line, &root).output().unwrap();
        let after = tree::snapshot(&root);
        if owned {
            writable(&root, true);
        }
        let place = root.display().to_string();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&place, "ROOT");
        let _ = writeln!(transcript, "$ {line}");
        transcript.push_str(&text(&output.stdout));
        for line in text(&output.stderr).lines() {
            let _ = writeln!(transcript, "! {line}");
        }
        let _ = writeln!(transcript, "exit {}", output.status.code().unwrap_or(-1));
        let known = |line: &str| TEMPLATES.iter().any(|t| t.lines().any(|known| known == line));
        transcript.push_str(&tree::difference(&before, &after, known));
        transcript.push('\n');
    }
    transcript
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Lets the owner write into each folder below and including this one, or not.
fn writable(folder: &Path, yes: bool) {
    for entry in walkdir::WalkDir::new(folder).contents_first(!yes) {
        let entry = entry.unwrap();
        if entry.file_type().is_dir() {
            let mode = entry.metadata().unwrap().permissions().mode();
            let mode = if yes { mode | 0o200 } else { mode & !0o222 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn command(line: &str, root: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_kpx-prep");
    let (manner, arguments) = match line.split_once(' ') {
        Some((manner @ ("as-nobody" | "etc-read-only" | "etc-full"), rest)) => (manner, rest),
        _ => ("", line),
    };
    let etc = root.join("etc").display().to_string();
    // Mounts live in a namespace of their own and end with the command.
    let inside = |mounts: &str| {
        let mut command = Command::new("unshare");
        let user: &[&str] = if is_root() { &[] } else { &["--map-root-user"] };
        command.args(user).args([
            "--mount",
            "sh",
            "-ec",
            &format!("{mounts}\nshift\nexec \"$@\""),
            "sh",
            &etc,
            program,
        ]);
        command
    };
    let mut command = match manner {
        "as-nobody" if is_root() => {
            // What the test may run, nobody may not: the binary is copied to where it can be reached.
            let copy = root.with_file_name("kpx-prep");
            fs::copy(program, &copy).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
            command
        }
        "etc-read-only" => inside("mount --bind \"$1\" \"$1\"\nmount -o remount,bind,ro \"$1\""),
        "etc-full" => inside(
            "cp -a \"$1\" \"$1.copy\"\nmount -t tmpfs -o size=16k tmpfs \"$1\"\ncp -a \"$1.copy/.\" \"$1\"\nrm -r \"$1.copy\"\n\
             dd if=/dev/zero of=\"$1/filler\" bs=4k count=3 2>/dev/null || true",
        ),
        // These ask for root before they do anything.
        "" if !is_root()
            && ["leftovers", "clean", "survey"].iter().any(|name| line.contains(&format!("node {name}"))) =>
        {
            let mut command = Command::new("unshare");
            command.arg("--map-root-user").arg(program);
            command
        }
        _ => Command::new(program),
    };
    command
        .args(arguments.split_whitespace())
        .arg("--root")
        .arg(root)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    command
}
