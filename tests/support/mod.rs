//! Cases as folders: `args` (one a line) and the expected `stdout`, `stderr` and `exit`; where it needs them, `stdin`,
//! `env` (NAME=VALUE lines), files that the arguments name, and `bin/`, which is all of `PATH`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use golden::Goldens;

pub(crate) mod golden;

/// The folders below `tests/NAME` that hold a case.
pub(crate) fn folders(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut folders: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("args").exists())
        .collect();
    folders.sort();
    folders
}

/// `kpx-prep COMMAND` in a folder, with nothing of this machine's environment.
pub(crate) fn kpx_prep(command: &str, folder: &Path) -> Command {
    let mut kpx_prep = Command::cargo_bin("kpx-prep").unwrap();
    kpx_prep.env_clear().env("PATH", "bin").current_dir(folder).arg(command);
    kpx_prep
}

/// Runs a case.
pub(crate) fn run(command: &str, folder: &Path) -> Output {
    let mut kpx_prep = kpx_prep(command, folder);
    kpx_prep.args(fs::read_to_string(folder.join("args")).unwrap().lines());
    if let Ok(env) = fs::read_to_string(folder.join("env")) {
        kpx_prep.envs(env.lines().filter_map(|line| line.split_once('=')));
    }
    kpx_prep.write_stdin(fs::read(folder.join("stdin")).unwrap_or_default());
    kpx_prep.output().unwrap()
}

/// Runs every case and compares; all differences are reported at once.
pub(crate) fn compare(command: &str, folders: &[PathBuf]) {
    let mut goldens = Goldens::default();
    for folder in folders {
        let output = run(command, folder);
        let exit = format!("{}\n", output.status.code().unwrap_or(-1));
        for (name, got) in [("stdout", output.stdout), ("stderr", output.stderr), ("exit", exit.into_bytes())] {
            goldens.compare(&folder.join(name), got);
        }
    }
    goldens.end(3);
}
