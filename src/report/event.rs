//! Progress as JSON: one object per line, for programs that follow a run (`--progress json`).

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::API_VERSION;
use super::foreign::visible_json;

/// Whether progress is written as JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on, [`is_json`].
pub(super) fn use_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Whether progress is written as JSON.
pub fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// What happened. Part of the interface: names are added, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Something without a kind of its own; see `message`.
    Message,
    /// The run has been waiting for some time.
    Waiting,
    /// A log line (`-v`).
    Log,
    /// The command failed.
    Error,
    /// The configuration is written; `total` nodes will be switched to `mode`.
    Started,
    /// Nodes are being prepared.
    Preparing,
    /// A node was prepared.
    Prepared,
    /// The kube-proxy of a node is being replaced.
    Replacing,
    /// The canary was verified and is being watched.
    Watching,
    /// A node runs the mode, verified.
    Verified,
    /// A node was skipped: not ready, or deleted.
    Skipped,
    /// A node could not be verified.
    Failed,
    /// A node joined during the rollout.
    Joined,
    /// A node that was already up to date was cleaned.
    Cleaned,
    /// Connections are being drained.
    Draining,
    /// A node was drained.
    Drained,
    /// The original configuration is being restored.
    RollingBack,
    /// A node runs the old mode again, verified.
    RolledBack,
    /// The end of the run, with its outcome and exit status.
    Finished,
}

/// An event of a run. Its JSON form is an interface.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<'a> {
    /// The version of the interface.
    pub api_version: &'static str,
    /// Always `Progress`.
    pub kind: &'static str,
    /// When, in RFC 3339, by this machine's clock.
    pub time: String,
    /// What happened.
    pub event: What,
    /// The same as text.
    pub message: &'a str,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<&'a str>,
    /// The mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'a str>,
    /// Number of nodes that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<usize>,
    /// Number of nodes to switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
    /// Estimated time until the last node is done, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// The outcome of the run, as in its report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// The exit status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
}

impl<'a> Event<'a> {
    /// An event now, without details.
    pub fn new(event: What, message: &'a str) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "Progress",
            time: jiff::Timestamp::now().to_string(),
            event,
            message,
            node: None,
            mode: None,
            done: None,
            total: None,
            seconds_left: None,
            outcome: None,
            exit: None,
        }
    }

    /// The event as one line of JSON; terminal control characters are escaped.
    pub fn line(&self) -> String {
        // A struct of texts and numbers is always serialized.
        let json = serde_json::to_string(self).unwrap_or_default();
        visible_json(&json).into_owned() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_json() {
        let event = Event { node: Some("n"), done: Some(1), ..Event::new(What::RolledBack, "a\nb\u{1b}[2J\u{202e}") };
        let line = event.line();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.ends_with('\n') && !line.contains(['\u{1b}', '\u{202e}']), "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&json["event"], &json["node"], &json["done"]), (&"rolled-back".into(), &"n".into(), &1.into()));
        assert_eq!((&json["apiVersion"], &json["kind"]), (&"kpx-prep/v1".into(), &"Progress".into()));
        assert_eq!(json["message"], "a\nb\u{1b}[2J\u{202e}");
        assert!(json.get("total").is_none());
    }
}
