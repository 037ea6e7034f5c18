//! The program under test, run against a scenario's cluster.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::cluster_state::Cluster;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What was printed on stdout; null if it is no JSON.
    pub(crate) json: Value,
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct Run(Child);

/// So that a scenario takes seconds.
pub(crate) const QUICK: [[&str; 2]; 3] = [["--settle-time", "500ms"], ["--timeout", "4s"], ["--lease-duration", "3s"]];

impl Cluster {
    /// `kpx-prep status -o json`
    pub(crate) async fn status(&self, arguments: &[&str]) -> Outcome {
        let yes: &[&str] = if arguments.contains(&"--nodes") { &["--yes"] } else { &[] };
        start(&self.kubeconfig, "status", &[&["-o", "json"], yes, arguments].concat()).end().await
    }

    /// `kpx-prep remediate -o json` with confirmation given, and nothing to do on the nodes' hosts.
    pub(crate) async fn remediate(&self, arguments: &[&str]) -> Outcome {
        self.remediation(arguments).end().await
    }

    /// The same, not waited for.
    pub(crate) fn remediation(&self, arguments: &[&str]) -> Run {
        self.whole_remediation(&[&["--assume-nodes-prepared", "--no-clean"], arguments].concat())
    }

    /// `kpx-prep remediate -o json` with confirmation given, and the node helper.
    pub(crate) async fn whole(&self, arguments: &[&str]) -> Outcome {
        self.whole_remediation(arguments).end().await
    }

    /// The same, not waited for.
    pub(crate) fn whole_remediation(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["-o", "json", "--yes"];
        // Where there is no default: from 1.35 on.
        if !["--mode", "--rollback"].iter().any(|option| arguments.contains(option)) {
            all.extend(["--mode", "ipvs"]);
        }
        all.extend(QUICK.iter().filter(|[name, _]| !arguments.contains(name)).flatten());
        all.extend(arguments);
        start(&self.kubeconfig, "remediate", &all)
    }

    /// The same cluster through another kubeconfig.
    pub(crate) fn through(&self, kubeconfig: PathBuf) -> Self {
        Self { kubeconfig, ..self.clone() }
    }
}

/// Starts the program, its environment empty but for what finding other programs takes.
pub(crate) fn start(kubeconfig: &Path, command: &str, arguments: &[&str]) -> Run {
    // For figures, the binary that is shipped.
    let program = std::env::var_os("KPX_PREP").unwrap_or_else(|| env!("CARGO_BIN_EXE_kpx-prep").into());
    // What runs in the background inherits ignored signals, and those would stay ignored.
    let child = Command::new("env")
        .arg("--default-signal=HUP,INT,TERM")
        .arg(program)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("KPX_PREP_NODE_PROGRAM", node_program("amd64"))
        .arg(command)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    Run(child.expect("kpx-prep starts"))
}

/// A file that kpx-prep takes for the node program of an architecture. Simulated nodes run nothing.
pub(crate) fn node_program(architecture: &str) -> PathBuf {
    let machine: u16 = if architecture == "amd64" { 62 } else { 183 };
    // The head of a static program: elf(5).
    let mut file = vec![0; 64 + 56];
    file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    for (at, number) in [(16, 2), (18, machine), (20, 1), (52, 64), (54, 56), (56, 1)] {
        file[at..at + 2].copy_from_slice(&number.to_le_bytes());
    }
    file[32] = 64;
    file[64] = 1;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("node-program-{architecture}"));
    if !path.exists() {
        let part = path.with_extension(std::process::id().to_string());
        std::fs::write(&part, file).and_then(|()| std::fs::rename(&part, &path)).expect("written");
    }
    path
}

impl Run {
    /// Its process.
    pub(crate) fn id(&self) -> nix::unistd::Pid {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        nix::unistd::Pid::from_raw(id.expect("it has not been waited for"))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(self.id(), signal).expect("it runs");
    }

    /// Waits until this is on its stderr.
    pub(crate) async fn until_it_says(&mut self, word: &str) {
        let mut stderr = self.0.stderr.take().expect("a pipe");
        let mut said = String::new();
        let mut some = [0; 256];
        while !said.contains(word) {
            let read = stderr.read(&mut some).await.expect("a pipe");
            assert!(read > 0, "it never said {word:?}:\n{said}");
            said.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        self.0.stderr = Some(stderr);
    }

    /// Kills it as soon as this is on its stderr; what it had said by then.
    pub(crate) async fn killed_when_it_says(mut self, word: &str) -> String {
        let mut stderr = self.0.stderr.take().expect("a pipe");
        let mut said = String::new();
        let mut some = [0; 256];
        while !said.contains(word) {
            match stderr.read(&mut some).await {
                Ok(read) if read > 0 => said.push_str(&String::from_utf8_lossy(&some[..read])),
                _ => break,
            }
        }
        self.0.kill().await.expect("it could be killed");
        said
    }

    /// Waits for its end.
    pub(crate) async fn end(self) -> Outcome {
        self.end_within(Duration::from_secs(300)).await
    }

    /// Waits for its end, this long at most. What it said by then is in the failure.
    pub(crate) async fn end_within(mut self, limit: Duration) -> Outcome {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (self.0.stdout.take().expect("a pipe"), self.0.stderr.take().expect("a pipe"));
        let ended = tokio::time::timeout(limit, async {
            tokio::try_join!(all_of(out, &mut stdout), all_of(err, &mut stderr), self.0.wait())
        });
        let ended = ended.await;
        let [stdout, stderr] = [stdout, stderr].map(|said| String::from_utf8(said).expect("text"));
        let Ok(ended) = ended else {
            panic!("it has not ended within {limit:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        };
        let exit = ExitStatus::code(&ended.expect("its output").2);
        let json = serde_json::from_str(&stdout).unwrap_or_default();
        Outcome { exit, stdout, stderr, json }
    }
}

/// Reads to the end; what was read is kept if this is given up.
async fn all_of(mut pipe: impl tokio::io::AsyncRead + Unpin, said: &mut Vec<u8>) -> std::io::Result<()> {
    while pipe.read_buf(said).await? > 0 {}
    Ok(())
}

impl Outcome {
    /// It ended with this status.
    #[track_caller]
    pub(crate) fn exits(self, status: i32) -> Self {
        assert!(self.exit == Some(status), "exit status {:?} instead of {status}\n{self}", self.exit);
        self
    }

    /// The document on stdout has this at a JSON pointer.
    #[track_caller]
    pub(crate) fn says(self, pointer: &str, expected: impl Into<Value>) -> Self {
        let (found, expected) = (self.json.pointer(pointer), expected.into());
        assert!(found == Some(&expected), "{pointer} is {found:?} instead of {expected}\n{self}");
        self
    }

    /// A check or finding with this id and level is there.
    #[track_caller]
    pub(crate) fn finds(self, level: &str, id: &str) -> Self {
        assert!(self.has_finding(level, id), "no {level} {id}\n{self}");
        self
    }

    /// Whether there is a check or finding with this id and level.
    pub(crate) fn has_finding(&self, level: &str, id: &str) -> bool {
        let lists = ["/checks", "/findings"].into_iter().filter_map(|list| self.json.pointer(list)?.as_array());
        lists.flatten().any(|finding| finding["id"] == id && finding["level"] == level)
    }

    /// What was printed, whichever way, mentions this.
    #[track_caller]
    pub(crate) fn mentions(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "nothing about {text}\n{self}");
        self
    }

    /// The entry of a node in the document's list of nodes.
    #[track_caller]
    pub(crate) fn node(&self, name: &str) -> &Value {
        let nodes = self.json["nodes"].as_array().into_iter().flatten();
        let mut named = nodes.filter(|node| node["name"] == name);
        named.next().unwrap_or_else(|| panic!("no {name}\n{self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}
