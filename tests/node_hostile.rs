//! `kpx-prep node` on hosts that are not friendly: trees whose owner exchanges folders for links, files that are no
//! files, locks that others made, limits, and file systems that change their mind.
//!
//! What needs root is counted as ignored without it.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial, run};

#[path = "support/golden.rs"]
mod golden;
#[path = "support/host.rs"]
mod host;
#[path = "node_hostile/irregular.rs"]
mod irregular;
#[path = "node_hostile/limits.rs"]
mod limits;
#[path = "node_hostile/locks.rs"]
mod locks;
#[path = "node_hostile/seccomp.rs"]
mod seccomp;
#[path = "node_hostile/step.rs"]
mod step;
#[path = "node_hostile/swap.rs"]
mod swap;
#[path = "support/tree.rs"]
mod tree;

/// A host on which `install` writes all three files. Nothing is to be loaded.
const HOST: &str = "os debian 12\nrunning 6.1.0\nloaded\nkernel 6.1.0 .ko lib/modules @16 nf_conntrack\nsystemd\n\
                    file usr/sbin/NetworkManager 0755\ndir proc/1\n";

/// What only root may read, outside of the tree.
const SECRET: &str = "the-secret-of-root";

/// Says which job this process is to do in place of the tests; see [`limits::jobs`].
const JOB: &str = "KPX_PREP_TEST_JOB";

fn main() -> ExitCode {
    if let Ok(job) = std::env::var(JOB) {
        match limits::jobs().into_iter().find(|(name, _)| *name == job) {
            Some((_, work)) => work(),
            None => panic!("no job {job}"),
        }
        return ExitCode::SUCCESS;
    }
    let is_root = nix::unistd::geteuid().is_root();
    let trial = |name: &str, needs_root: bool, test: fn()| {
        let test = move || {
            test();
            Ok::<(), Failed>(())
        };
        Trial::test(name, test).with_ignored_flag(needs_root && !is_root)
    };
    let trials = vec![
        trial("openat2_can_be_refused", false, seccomp::openat2_can_be_refused),
        trial("links_that_come_and_go", false, swap::with_openat2),
        trial("links_that_come_and_go_without_openat2", false, swap::without_openat2),
        trial("links_at_some_system_calls", false, step::some_with_openat2),
        trial("links_at_some_system_calls_without_openat2", false, step::some_without_openat2),
        trial("links_at_every_system_call", false, step::every).with_ignored_flag(true),
        trial("the_walk_does_what_openat2_does", false, swap::the_walk_does_what_openat2_does),
        trial("files_that_are_no_files", false, irregular::any_user),
        trial("files_that_are_devices", true, irregular::devices),
        trial("locks_of_others_hold_nobody_up", false, locks::of_others),
        trial("a_lock_that_is_not_ours_is_refused", false, locks::not_ours),
        trial("a_lock_of_another_user_is_refused", true, locks::of_another_user),
        trial("one_holder_at_a_time", false, locks::one_at_a_time),
        trial("a_killed_run_leaves_a_note", false, locks::note_of_a_killed_run),
        trial("a_limit_of_file_size", false, limits::file_size),
        trial("a_remount_while_modules_are_loaded", false, limits::remount),
        trial("append_only_and_immutable", true, limits::append_only),
    ];
    run(&Arguments::from_args(), trials).exit_code()
}

/// `kpx-prep` with a tree as its root.
fn kpx_prep(root: &Path, arguments: &str) -> Command {
    // KPX_PREP names another build, to see what it does.
    let program = std::env::var_os("KPX_PREP").unwrap_or_else(|| env!("CARGO_BIN_EXE_kpx-prep").into());
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).arg("--root").arg(root).env_clear().stdin(Stdio::null());
    command
}

/// A new folder, in memory where that is possible: thousands of files are waited for until they are on the disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// A new tree in a new folder.
fn miniature() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = folder();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    host::build(&root, HOST);
    (folder, root)
}

/// How `after` differs from `before`, the files' content left out.
fn differences(before: &tree::Tree, after: &tree::Tree) -> Vec<String> {
    let text = tree::difference(before, after, |_| true);
    text.lines().filter(|line| !line.starts_with('|') && *line != "tree unchanged").map(str::to_owned).collect()
}

/// What a command said on both streams, and its exit status; -1 for a signal.
fn said(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}
