//! `kpx-prep status` with a kubeconfig of its own, and how it ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `cluster` and `user` are flow mappings.
pub(crate) fn kubeconfig(folder: &Path, cluster: &str, user: &str) -> PathBuf {
    let path = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters: [{{name: one, cluster: {cluster}}}]\n\
         users: [{{name: one, user: {user}}}]\ncontexts: [{{name: one, context: {{cluster: one, user: one}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}

pub(crate) struct Ended {
    pub(crate) output: Output,
    took: Duration,
}

impl Ended {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn says(&self, status: i32, words: &[&str]) -> &Self {
        let stderr = self.stderr();
        assert_eq!(self.output.status.code(), Some(status), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "nothing about {word:?}: {stderr}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn within(&self, limit: Duration) -> &Self {
        assert!(self.took < limit, "{:?}: {}", self.took, self.stderr());
        self
    }
}

pub(crate) fn run(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let from = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(environment.iter().copied());
    command.arg("status").arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let output = command.output().unwrap();
    Ended { output, took: from.elapsed() }
}

pub(crate) fn plain(port: u16) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = kubeconfig(folder.path(), &format!("{{server: \"http://127.0.0.1:{port}\"}}"), "{}");
    (folder, path)
}

pub(crate) const SOON: Duration = Duration::from_secs(15);
