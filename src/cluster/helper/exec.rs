//! Runs `kpx-prep node …` in a helper pod and reads its JSON.

use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::Helper;
use super::manifest::{CONTAINER, HOST};
use crate::boot_clock::BootInstant;
use crate::cluster::api::errors::chain;
use crate::cluster::api::lock::Lost;
use crate::cluster::api::patience::patiently;
use crate::cluster::api::streams::{Refusals, Unopened, is_about_all};
use crate::report::foreign::{foreign, shortened};

/// Size limit of a node's answer.
const LONGEST: u64 = 16 << 20;
/// Limit for each text in it, in characters: a firewall rule may be long.
const LONGEST_TEXT: usize = 2000;
/// Number of missed heartbeats after which a command on a node counts as dead.
const BEATS_MISSED: u32 = 5;
/// How often the lease of a command on a node is extended within each third of the lock's duration.
const BEATS: u32 = 4;
/// A broken connection is retried once: every command on a node is idempotent.
const TRIES: usize = 2;
/// What a busy API server loses is asked for more often.
const TRIES_OF_LOST: usize = 5;
/// Time for the node to notice a broken connection and to stop the command, which holds the node's lock.
const TO_NOTICE: Duration = Duration::from_secs(3);

/// Why there is no answer.
enum Broken {
    /// The API server could not connect to the node, for a reason that is not the node's.
    Refused(String),
    /// Another reason.
    Failed(String),
}

/// The result of a command on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status; 0 if it was not waited for, because the answer was there.
    pub exit: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Helper {
    /// Runs `kpx-prep node ARGUMENTS --root /host -o json` on a node with `input` on its standard input, and parses its JSON
    /// output. A bounded number run in parallel; while the API server refuses more, it waits.
    ///
    /// # Errors
    /// If there is no valid answer; with the node's own message, if any.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        node: &str,
        arguments: &[&str],
        input: Option<&str>,
        patience: Duration,
    ) -> Result<T, String> {
        let heartbeat = format!("{}ms", self.heartbeat.as_millis().max(1));
        let what = format!("kpx-prep node {} on {node}", arguments.first().unwrap_or(&""));
        let mut refusals = Refusals::within(self.refusals);
        let mut attempt = 1;
        loop {
            // It may have been replaced since the last attempt.
            let pod = self.pod_on(node)?;
            let opened = self.streams.open(&mut refusals, async || {
                self.lock.ask().await.map_err(|lost| Unopened::Failed(lost.to_string()))?;
                let command = self.command(&heartbeat, arguments);
                let process = tokio::time::timeout(patience, self.exec(&pod, &command)).await;
                Ok(process.map_err(|_| Unopened::Failed(format!("no answer within {patience:?}")))??)
            });
            let (process, turn) = opened.await.map_err(|not| format!("exec in pod {pod}: {}", not.into_reason()))?;
            let answered = tokio::time::timeout(patience, self.talk(&pod, process, input));
            let (why, tries) = match patiently(&what, Some(patience), answered).await {
                Ok(Ok(answer)) => match read(arguments, &answer) {
                    Err(why) if output_lost(&answer) => (why, TRIES_OF_LOST),
                    read => return read,
                },
                Ok(Err(Broken::Refused(why))) => {
                    let refused = self.streams.refused(turn, &mut refusals, &why, Duration::ZERO).await;
                    refused.map_err(|not| format!("exec in pod {pod}: {}", not.into_reason()))?;
                    continue;
                }
                Ok(Err(Broken::Failed(why))) => (why, TRIES),
                Err(_) => return Err(format!("kpx-prep node {}: no answer within {patience:?}", arguments.join(" "))),
            };
            drop(turn);
            if attempt >= tries {
                return Err(why);
            }
            attempt += 1;
            refusals = Refusals::within(self.refusals);
            tracing::info!("{node}: {why}; retrying");
            tokio::time::sleep(TO_NOTICE).await;
        }
    }

    /// The command line of a command on a node. Its lease is as long as the lock is held now; it is extended later.
    fn command(&self, heartbeat: &str, arguments: &[&str]) -> Vec<String> {
        let lease = format!("{}ms", self.lock.left().as_millis());
        // Loading modules needs none of kube-proxy's programs.
        let tools = if arguments.first() == Some(&"install") { &[] } else { self.setup.tools() };
        let mut command = self.setup.program();
        command.extend(["--heartbeat", heartbeat, "--lease", &lease]);
        command.extend(arguments.iter().chain(tools).copied().chain(["--root", HOST, "-o", "json"]));
        command.into_iter().map(str::to_owned).collect()
    }

    async fn exec(&self, pod: &str, command: &[String]) -> kube::Result<AttachedProcess> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let params = AttachParams::default().container(CONTAINER).stdin(true).stdout(true).stderr(true);
        pods.exec(pod, command, &params).await
    }

    async fn talk(&self, pod: &str, mut process: AttachedProcess, input: Option<&str>) -> Result<Answer, Broken> {
        let failed = |why: &str| Broken::Failed(format!("exec in pod {pod}: {why}"));
        let (status, stdin) = (process.take_status(), process.stdin());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let ended = async { status.ok_or(())?.await.ok_or(()) };
        let heard = Mutex::new(BootInstant::now());
        let (tell, whole) = oneshot::channel();
        let output = async { Ok(futures::join!(collect(stdout, &heard, Some(tell)), collect(stderr, &heard, None))) };
        let answered = tokio::select! {
            // It stays until its standard input closes, so that nothing is lost at its end: see `driven::linger`.
            Ok(stdout) = whole => {
                process.abort();
                let _ = process.join().await;
                return Ok(Answer { exit: 0, stdout, stderr: String::new() });
            }
            // Without a status the connection broke, whatever was received before; kube leaves the streams open then.
            answered = async { futures::try_join!(output, ended) } => answered,
            silence = self.silence(&heard) => {
                process.abort();
                return Err(failed(&format!("no heartbeat for {silence:?}")));
            }
            lost = self.drive(stdin, input) => {
                // Closing its standard input stops the command.
                process.abort();
                return Err(Broken::Failed(lost.to_string()));
            }
        };
        let Ok(((stdout, stderr), status)) = answered else {
            let why = process.join().await.err().map(|error| format!(": {}", chain(&error))).unwrap_or_default();
            return Err(failed(&format!("the connection was lost{why}")));
        };
        // Only then the connection is closed, and the turn can be another's.
        process.abort();
        let _ = process.join().await;
        if status.status.as_deref() == Some("Success") {
            return Ok(Answer { exit: 0, stdout, stderr });
        }
        let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
        let code = causes
            .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
            .find_map(|cause| cause.message.as_ref()?.parse().ok());
        if let Some(exit) = code {
            return Ok(Answer { exit, stdout, stderr });
        }
        // From 1.30 on, the API server connects to the kubelet after it has accepted the connection.
        let message = foreign(&status.message.unwrap_or_default());
        let code = status.code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default();
        Err(if is_about_all(code, &message) { Broken::Refused(message) } else { failed(&message) })
    }

    /// Returns when the command has not sent a heartbeat for too long. The connection's own timeout does not detect
    /// that, because this side keeps writing.
    async fn silence(&self, heard: &Mutex<BootInstant>) -> Duration {
        let limit = self.heartbeat * BEATS_MISSED;
        loop {
            let silent = heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed();
            if silent >= limit {
                return silent;
            }
            tokio::time::sleep(limit.saturating_sub(silent)).await;
        }
    }

    /// Sends the input, one line, and then repeatedly for how many milliseconds the command may still act: as long as the
    /// lock is held without renewal. The input is not closed: a WebSocket cannot close one direction, and closing both would
    /// lose the answer. Returns once the lock is lost.
    async fn drive<W: AsyncWrite + Unpin>(&self, stdin: Option<W>, input: Option<&str>) -> Lost {
        let Some(mut stdin) = stdin else { return std::future::pending().await };
        let mut line = input.map(|input| format!("{input}\n")).unwrap_or_default();
        loop {
            if let Err(lost) = self.lock.ask().await {
                return lost;
            }
            line.push_str(&format!("{}\n", self.lock.left().as_millis()));
            // If the command does not read it, it has ended, and its answer contains the reason.
            let _ = stdin.write_all(line.as_bytes()).await;
            let _ = stdin.flush().await;
            line.clear();
            tokio::time::sleep(self.lock.duration() / 3 / BEATS).await;
        }
    }
}

/// Everything until the stream ends. A whole answer is told as soon as it is there.
async fn collect(
    stream: Option<impl AsyncRead + Unpin>,
    heard: &Mutex<BootInstant>,
    mut tell: Option<oneshot::Sender<String>>,
) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(LONGEST);
        // Output received before the connection broke is still used.
        while let Ok(1..) = stream.read_buf(&mut bytes).await {
            *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = BootInstant::now();
            // Only the last line of indented JSON is a brace alone, because its texts have no line breaks. What else looks
            // like that is parsed once.
            if bytes.ends_with(b"\n}\n")
                && let Some(tell) = tell.take()
                && serde_json::from_slice::<IgnoredAny>(&bytes).is_ok()
            {
                let _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether the output of a command that ended was lost on the way, of which no error tells: it always prints an answer or a
/// reason. Seen on a busy API server: status `Success`, and no output.
fn output_lost(answer: &Answer) -> bool {
    let says_nothing = |text: &str| text.lines().all(|line| line.trim().is_empty());
    says_nothing(&answer.stdout) && (answer.exit == 0 || says_nothing(&answer.stderr))
        || answer.exit == 0 && serde_json::from_str::<Value>(&answer.stdout).is_err()
}

/// Parses the JSON output of a command on a node.
///
/// # Errors
/// The command's own message, if it printed no JSON.
pub fn read<T: DeserializeOwned>(arguments: &[&str], answer: &Answer) -> Result<T, String> {
    let value = serde_json::from_str(&answer.stdout).map(foreign_texts);
    value.and_then(serde_json::from_value).map_err(|error| {
        // Heartbeats are empty lines.
        let said = foreign(&answer.stderr.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
        let said = if said.is_empty() { format!("an unreadable answer ({error})") } else { said };
        format!("kpx-prep node {}: {said} (exit status {})", arguments.join(" "), answer.exit)
    })
}

/// Escapes all texts of a node's answer.
fn foreign_texts(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(shortened(&text, LONGEST_TEXT)),
        Value::Array(values) => Value::Array(values.into_iter().map(foreign_texts).collect()),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (foreign(&name), foreign_texts(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_whole_answer_is_told_before_the_stream_ends() {
        for (written, told) in [
            (&["{\n  \"a\": {\n", "  }\n}\n"][..], Some("{\n  \"a\": {\n  }\n}\n")),
            (&["{\n  \"a\": {}\n"], None),
            // Something else that ends so, and then an answer: nothing is parsed again and again.
            (&["[\n}\n", "]\n{\n}\n"], None),
        ] {
            let (mut node, stream) = tokio::io::duplex(1024);
            let (tell, mut whole) = oneshot::channel();
            let heard = Mutex::new(BootInstant::now());
            let write = async {
                for part in written {
                    node.write_all(part.as_bytes()).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // The stream is still open.
                let told = whole.try_recv().ok();
                drop(node);
                told
            };
            let (all, seen) = futures::join!(collect(Some(stream), &heard, Some(tell)), write);
            assert_eq!(all, written.concat());
            assert_eq!(seen.as_deref(), told, "{written:?}");
        }
    }

    #[test]
    fn lost_output() {
        for (exit, stdout, stderr, lost) in [
            (0, "", "", true),
            (0, "", "\n\n", true),
            (0, "{\"kind\": \"NodeRe", "", true),
            (0, "{}", "", false),
            (3, "{}", "", false),
            (3, "", "\n\n", true),
            (1, "", "error: /host: not a folder", false),
            (137, "", "", true),
        ] {
            let answer = Answer { exit, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
            assert_eq!(output_lost(&answer), lost, "{answer:?}");
        }
    }
}
