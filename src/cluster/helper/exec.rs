//! One command in one helper pod: `kpx-prep node …` there, JSON back.

use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Helper;
use super::manifest::{CONTAINER, HOST};
use crate::boot_clock::BootInstant;
use crate::cluster::api::errors::{chain, plain};
use crate::cluster::api::lock::Lost;
use crate::image::PROGRAM;
use crate::report::foreign::{foreign, shortened};
use crate::report::say::patiently;

/// How much a node may answer.
const LONGEST: u64 = 16 << 20;
/// The most characters of one text in it: a rule of a firewall may be long.
const LONGEST_TEXT: usize = 2000;
/// So many of its beats a command on a node may miss until it counts as dead.
const BEATS_MISSED: u32 = 5;
/// How often a command on a node is told how long it may still act: so often within each third of the lock's time.
const BEATS: u32 = 4;
/// A connection that breaks is tried once more: every command on a node may be repeated.
const TRIES: usize = 2;
/// What the node has to notice that it broke, and to end what nobody waits for: it holds the node's lock.
const TO_NOTICE: Duration = Duration::from_secs(3);

/// What a command on a node came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit status.
    pub exit: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
}

impl Helper {
    /// Runs `kpx-prep node ARGUMENTS --root /host -o json` on a node, `input` on its standard input, and reads the JSON
    /// that it answers. At most [`super::AT_A_TIME`] run at once.
    ///
    /// # Errors
    /// Why there is no such answer, in the node's own words where it has any.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        node: &str,
        arguments: &[&str],
        input: Option<&str>,
        patience: Duration,
    ) -> Result<T, String> {
        let pod = {
            let pods = self.pods();
            let why =
                || pods.missing.get(node).cloned().unwrap_or_else(|| "the node helper does not run there".to_owned());
            pods.ready.get(node).cloned().ok_or_else(why)?
        };
        let _turn = self.turns.acquire().await.map_err(|_| "the run is over".to_owned())?;
        let heartbeat = format!("{}ms", self.heartbeat.as_millis().max(1));
        let mut last = String::new();
        for attempt in 1..=TRIES {
            self.lock.ask().await.map_err(|lost| lost.to_string())?;
            // What the node hears later adds to it.
            let lease = format!("{}ms", self.lock.left().as_millis());
            let before = [PROGRAM, "node", "--heartbeat", &heartbeat, "--lease", &lease];
            let command: Vec<&str> =
                before.iter().chain(arguments).copied().chain(["--root", HOST, "-o", "json"]).collect();
            let what = format!("kpx-prep node {} on {node}", arguments.first().unwrap_or(&""));
            let answered = tokio::time::timeout(patience, self.exec(&pod, &command, input));
            let answer = patiently(&what, Some(patience), answered).await;
            match answer {
                Ok(Ok(answer)) => return read(arguments, &answer),
                Ok(Err(why)) => last = why,
                Err(_) => return Err(format!("kpx-prep node {}: no answer within {patience:?}", arguments.join(" "))),
            }
            if attempt < TRIES {
                tracing::info!("{node}: {last}; trying again");
                tokio::time::sleep(TO_NOTICE).await;
            }
        }
        Err(last)
    }

    async fn exec(&self, pod: &str, command: &[&str], input: Option<&str>) -> Result<Answer, String> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let params = AttachParams::default().container(CONTAINER).stdin(true).stdout(true).stderr(true);
        let mut process = pods
            .exec(pod, command.iter().copied(), &params)
            .await
            .map_err(|error| format!("exec in pod {pod}: {}", plain(&error)))?;
        let (status, stdin) = (process.take_status(), process.stdin());
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let ended = async { status.ok_or(())?.await.ok_or(()) };
        let heard = Mutex::new(BootInstant::now());
        let output = async { Ok(futures::join!(collect(stdout, &heard), collect(stderr, &heard))) };
        let answered = tokio::select! {
            // Without a status the connection broke, whatever came before; kube leaves the streams open then.
            answered = async { futures::try_join!(output, ended) } => answered,
            silence = self.silence(&heard) => {
                process.abort();
                return Err(format!("exec in pod {pod}: nothing was heard for {silence:?}"));
            }
            lost = self.drive(stdin, input) => {
                // The end of its input ends the command.
                process.abort();
                return Err(lost.to_string());
            }
        };
        let Ok(((stdout, stderr), status)) = answered else {
            let why = process.join().await.err().map(|error| format!(": {}", chain(&error))).unwrap_or_default();
            return Err(format!("exec in pod {pod}: the connection broke off{why}"));
        };
        let exit = if status.status.as_deref() == Some("Success") {
            0
        } else {
            let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
            let code = causes
                .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
                .find_map(|cause| cause.message.as_ref()?.parse().ok());
            code.ok_or_else(|| format!("exec in pod {pod}: {}", foreign(&status.message.unwrap_or_default())))?
        };
        Ok(Answer { exit, stdout, stderr })
    }

    /// Returns when the command, which says regularly that it runs, has said nothing for too long. What is written to it keeps
    /// the connection's own limit from noticing.
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

    /// Sends the input, one line, and then again and again for how many milliseconds the command may still act: as long as
    /// the lock is held without being renewed. No end of the input is sent: a WebSocket cannot close one direction, and
    /// closing it all would lose the answer. Returns once the lock is lost.
    async fn drive<W: AsyncWrite + Unpin>(&self, stdin: Option<W>, input: Option<&str>) -> Lost {
        let Some(mut stdin) = stdin else { return std::future::pending().await };
        let mut line = input.map(|input| format!("{input}\n")).unwrap_or_default();
        loop {
            if let Err(lost) = self.lock.ask().await {
                return lost;
            }
            line.push_str(&format!("{}\n", self.lock.left().as_millis()));
            // A command that does not read it has ended, and its answer says why.
            let _ = stdin.write_all(line.as_bytes()).await;
            let _ = stdin.flush().await;
            line.clear();
            tokio::time::sleep(self.lock.duration() / 3 / BEATS).await;
        }
    }
}

async fn collect(stream: Option<impl AsyncRead + Unpin>, heard: &Mutex<BootInstant>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(LONGEST);
        // What came before a broken connection is worth reading all the same.
        while let Ok(1..) = stream.read_buf(&mut bytes).await {
            *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = BootInstant::now();
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the JSON that a command on a node printed.
///
/// # Errors
/// The command's own words, if it printed none.
pub fn read<T: DeserializeOwned>(arguments: &[&str], answer: &Answer) -> Result<T, String> {
    let value = serde_json::from_str(&answer.stdout).map(foreign_texts);
    value.and_then(serde_json::from_value).map_err(|error| {
        // Heartbeats are empty lines.
        let said = foreign(&answer.stderr.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"));
        let said = if said.is_empty() { format!("an unreadable answer ({error})") } else { said };
        format!("kpx-prep node {}: {said} (exit status {})", arguments.join(" "), answer.exit)
    })
}

/// A node's words, none of which a terminal obeys.
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
