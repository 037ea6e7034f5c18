//! What goes from step to step: lines of JSON, each an object that begins with `"record"`, its kind.
//!
//! Times (`at`, `from`, `to`, `uptime`) are seconds since a node started, on its own clock until
//! `figures by-one-clock` makes them those of one node.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    New(New),
    Kept(Kept),
    Summary(Summary),
    Lost(Lost),
    Slow(Slow),
    Pause(Pause),
    Now(Now),
    Unserved(Unserved),
    Clock(Clock),
    Busy(Busy),
    Took(Took),
    Goal(Goal),
    Load(Load),
    Time(Time),
}

/// New connections of a client to a target, by how they ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct New {
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) service: String,
    /// No rule of kube-proxy is in its way.
    pub(crate) direct: bool,
    /// It must not be answered.
    pub(crate) deny: bool,
    pub(crate) ok: u64,
    pub(crate) refused: u64,
    pub(crate) reset: u64,
    /// Not answered in time.
    pub(crate) hanging: u64,
    pub(crate) other: u64,
    /// Answered, though it must not be.
    pub(crate) leaked: u64,
    /// Of `ok`, those that took more than a second: a packet was lost on the way, or the machine was busy.
    pub(crate) slow: u64,
    pub(crate) longest_ms: u64,
    /// How many different ones answered.
    pub(crate) backends: u64,
}

impl New {
    pub(crate) fn lost(&self) -> u64 {
        self.refused + self.reset + self.hanging + self.other + self.leaked
    }
}

/// Long-lived connections of a client to a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Kept {
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) service: String,
    pub(crate) opened: u64,
    pub(crate) broken: u64,
    pub(crate) stalled: u64,
    pub(crate) longest_silence_ms: u64,
}

/// A client as a whole; the last that it writes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Summary {
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) asked: u64,
    pub(crate) lost: u64,
    pub(crate) seconds: u64,
    pub(crate) cpu_ms: u64,
    /// The longest time that the client itself did not run.
    pub(crate) longest_pause_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Ok,
    Refused,
    Reset,
    Hanging,
    Other,
    Leaked,
    /// Of a long-lived one.
    Stalled,
}

/// The end of a connection that nobody wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Lost {
    pub(crate) at: f64,
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) service: String,
    pub(crate) direct: bool,
    /// A long-lived one.
    pub(crate) kept: bool,
    pub(crate) outcome: Outcome,
    /// Since it was asked; of a long-lived one since it was last heard of.
    pub(crate) after_ms: u64,
    pub(crate) port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, node, place, service, after_ms, port, .. } = self;
        if self.kept {
            let how = self.error.as_deref().unwrap_or("stalled");
            return write!(f, "{at:.3} {node}/{place} {service} kept connection {how}");
        }
        let outcome = serde_json::to_value(self.outcome).unwrap_or_default();
        let outcome = outcome.as_str().unwrap_or_default();
        write!(f, "{at:.3} {node}/{place} {service} {outcome} after {after_ms} ms, from port {port}")?;
        self.error.as_deref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

/// An answer that took more than a second where nothing but the machine is in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Slow {
    pub(crate) at: f64,
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) service: String,
    pub(crate) after_ms: u64,
}

/// A client did not get to run for so long, and then does again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Pause {
    pub(crate) at: f64,
    pub(crate) node: String,
    pub(crate) place: String,
    pub(crate) ms: u64,
}

/// How far a client is, once a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Now {
    pub(crate) asked: u64,
    pub(crate) lost: u64,
    /// Long-lived connections that are open.
    pub(crate) keeping: u64,
}

/// kube-proxy on that node itself says that a Service has no endpoints, though it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Unserved {
    pub(crate) at: f64,
    pub(crate) node: String,
    pub(crate) service: String,
}

/// A node's own clock, and what time it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Clock {
    pub(crate) node: String,
    pub(crate) uptime: f64,
    pub(crate) unix: f64,
}

/// How much of a node's processor was in use under load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Busy {
    pub(crate) node: String,
    pub(crate) percent: u64,
}

/// When that was done which the load was for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Took {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// A figure that has a goal, for the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Goal {
    pub(crate) figure: String,
    /// Like ≤ 4.
    pub(crate) limit: String,
    pub(crate) measured: String,
    pub(crate) holds: bool,
    pub(crate) detail: String,
}

/// A run under load, for the tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Load {
    pub(crate) how: String,
    /// New connections a second, from everywhere.
    pub(crate) rate: String,
    pub(crate) asked: u64,
    pub(crate) lost: u64,
    /// Of `lost`, while kube-proxy had not heard of the endpoints.
    pub(crate) unserved: u64,
    pub(crate) hanging: u64,
    pub(crate) slow: u64,
    pub(crate) kept: u64,
    pub(crate) kept_lost: u64,
    pub(crate) leftovers: u64,
    pub(crate) seconds: u64,
    pub(crate) services: Vec<Service>,
}

/// Of a run under load, one Service from one kind of place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) asked: u64,
    pub(crate) lost: u64,
}

/// How long a command took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Time {
    pub(crate) round: String,
    pub(crate) what: String,
    pub(crate) nanoseconds: u64,
}

impl Record {
    /// One line.
    pub(crate) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *to, self)?;
        to.write_all(b"\n")
    }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since a start: far below 2^52")]
pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_as_people_read_it() {
        let mut lost = Lost {
            at: 12.5,
            node: "node-1".into(),
            place: "pod".into(),
            service: "cluster-ip".into(),
            direct: false,
            kept: false,
            outcome: Outcome::Refused,
            after_ms: 3,
            port: 10007,
            error: Some("Connection refused".into()),
        };
        assert_eq!(
            lost.to_string(),
            "12.500 node-1/pod cluster-ip refused after 3 ms, from port 10007: Connection refused"
        );
        lost = Lost { kept: true, outcome: Outcome::Stalled, error: None, ..lost };
        assert_eq!(lost.to_string(), "12.500 node-1/pod cluster-ip kept connection stalled");
    }
}
