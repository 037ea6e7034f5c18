//! What happened to each node when, from the events of a run.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::report::event::What;
use crate::report::recorded::Recorded;

/// Nodes that have a lane of their own; of more, those that failed come first.
pub const LANES: usize = 100;

/// The time of a run, and its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The first event.
    pub from: Timestamp,
    /// How long it took, in milliseconds; at least 1.
    pub length: i64,
    /// The nodes, in the order in which something happened to them.
    pub lanes: Vec<Lane>,
    /// How many nodes are not among them.
    pub more: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name.
    pub node: String,
    /// What took time.
    pub spans: Vec<Span>,
    /// What happened.
    pub marks: Vec<Mark>,
}

/// What takes time on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Its kube-proxy is replaced, and not verified yet.
    Switching,
    /// The same on the way back.
    RollingBack,
    /// Connections through IPVS are drained.
    Draining,
}

/// A stretch of time, in milliseconds since the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is.
    pub kind: SpanKind,
    /// Its start.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// An instant, in milliseconds since the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What happened.
    pub what: What,
    /// In a word.
    pub word: &'static str,
    /// When.
    pub at: i64,
}

impl Lane {
    /// Whether it failed at some time.
    pub fn failed(&self) -> bool {
        self.marks.iter().any(|mark| mark.what == What::Failed)
    }

    /// What happened when, as text: `replaced +0:03, verified +0:08`.
    pub fn words(&self) -> String {
        let words: Vec<_> = self.marks.iter().map(|mark| format!("{} +{}", mark.word, clock(mark.at))).collect();
        words.join(", ")
    }

    /// How long each replacement took until it was verified, in milliseconds.
    pub fn switches(&self) -> impl Iterator<Item = i64> + '_ {
        let verified = |span: &&Span| self.marks.iter().any(|mark| mark.what == What::Verified && mark.at == span.to);
        self.spans
            .iter()
            .filter(|span| span.kind == SpanKind::Switching)
            .filter(verified)
            .map(|span| span.to - span.from)
    }
}

/// Minutes and seconds, `1:05`, or with hours, `1:00:05`.
pub fn clock(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

impl Timeline {
    /// The timeline of these events; `None` if nothing happened to a node.
    pub fn new(events: &[Recorded]) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        let length = (last.time.as_millisecond() - first.time.as_millisecond()).max(1);
        let mut lanes: Vec<Open> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let (mut back, mut draining) = (false, None);
        for event in events {
            // A clock that is set back makes nothing end before it began.
            let at = (event.time.as_millisecond() - first.time.as_millisecond()).clamp(0, length);
            match event.what {
                What::RollingBack => back = true,
                What::Started => back = false,
                What::Draining => draining = Some(at),
                _ => {}
            }
            let (Some(node), Some(word)) = (&event.node, word(event.what, back)) else { continue };
            let index = *known.entry(node).or_insert_with(|| {
                lanes.push(Open::new(node));
                lanes.len() - 1
            });
            lanes[index].happened(event.what, word, at, back, draining);
        }
        let mut lanes: Vec<_> = lanes.into_iter().map(|open| open.ended(length)).collect();
        if lanes.is_empty() {
            return None;
        }
        let more = lanes.len().saturating_sub(LANES);
        if more > 0 {
            // Stable: otherwise in the order in which it happened.
            lanes.sort_by_key(|lane| !lane.failed());
            lanes.truncate(LANES);
        }
        Some(Self { from: first.time, length, lanes, more })
    }
}

/// What an event is called on a node's lane; `None` for what does not concern one.
fn word(what: What, back: bool) -> Option<&'static str> {
    Some(match what {
        What::Prepared => "prepared",
        What::Replacing if back => "rolled back",
        What::Replacing => "replaced",
        What::Verified => "verified",
        What::Failed => "failed",
        What::RolledBack => "verified again",
        What::Skipped => "skipped",
        What::Joined => "joined",
        What::Cleaned => "cleaned",
        What::Drained => "drained",
        _ => return None,
    })
}

/// A lane, and since when its kube-proxy is being replaced.
struct Open {
    lane: Lane,
    since: Option<(SpanKind, i64)>,
}

impl Open {
    fn new(node: &str) -> Self {
        Self { lane: Lane { node: node.to_owned(), spans: Vec::new(), marks: Vec::new() }, since: None }
    }

    fn happened(&mut self, what: What, word: &'static str, at: i64, back: bool, draining: Option<i64>) {
        match what {
            What::Replacing => {
                self.close(at);
                self.since = Some((if back { SpanKind::RollingBack } else { SpanKind::Switching }, at));
            }
            What::Verified | What::Failed | What::RolledBack | What::Skipped => self.close(at),
            What::Drained => {
                self.lane.spans.extend(draining.map(|from| Span { kind: SpanKind::Draining, from, to: at }));
            }
            _ => {}
        }
        self.lane.marks.push(Mark { what, word, at });
    }

    fn close(&mut self, at: i64) {
        self.lane.spans.extend(self.since.take().map(|(kind, from)| Span { kind, from, to: at }));
    }

    fn ended(mut self, length: i64) -> Lane {
        self.close(length);
        self.lane
    }
}
