//! All that was recorded of a run under load, and its totals.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::causes::{self, Cause};
use crate::lines::{Line, lines};
use crate::record::{Busy, Kept, Lost, New, Pause, Record, Slow, Summary, Took, Unserved};

/// What shells said between the records: nobody needs more.
const SAID: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) new: Vec<New>,
    pub(crate) kept: Vec<Kept>,
    pub(crate) places: Vec<Summary>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) slow: Vec<Slow>,
    pub(crate) pauses: Vec<Pause>,
    pub(crate) unserved: Vec<Unserved>,
    pub(crate) busy: Vec<Busy>,
    pub(crate) took: Option<Took>,
    pub(crate) said: Vec<String>,
}

/// Sums over all clients of a run. Which are new connections, which are long-lived: see [`Record`].
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Totals {
    /// Clients that said what became of theirs.
    pub(crate) places: u64,
    pub(crate) asked: u64,
    pub(crate) lost: u64,
    pub(crate) hanging: u64,
    pub(crate) leaked: u64,
    pub(crate) slow: u64,
    pub(crate) longest_ms: u64,
    pub(crate) kept: u64,
    pub(crate) kept_lost: u64,
    pub(crate) longest_pause_ms: u64,
    pub(crate) lost_to: BTreeMap<Cause, u64>,
    pub(crate) kept_lost_to: BTreeMap<Cause, u64>,
}

impl Run {
    /// # Errors
    /// If there is no such file, or a record in it was cut off.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        Self::read(BufReader::new(file)).with_context(|| format!("in {}", path.display()))
    }

    pub(crate) fn read(from: impl BufRead) -> anyhow::Result<Self> {
        let mut run = Self::default();
        for line in lines(from) {
            match line? {
                Line::Said(line) if run.said.len() < SAID => run.said.push(line),
                Line::Said(_) => {}
                Line::Record(record) => run.add(*record),
            }
        }
        Ok(run)
    }

    fn add(&mut self, record: Record) {
        match record {
            Record::New(record) => self.new.push(record),
            Record::Kept(record) => self.kept.push(record),
            Record::Summary(record) => self.places.push(record),
            Record::Lost(record) => self.lost.push(record),
            Record::Slow(record) => self.slow.push(record),
            Record::Pause(record) => self.pauses.push(record),
            Record::Unserved(record) => self.unserved.push(record),
            Record::Busy(record) => self.busy.push(record),
            Record::Took(record) => self.took = Some(record),
            Record::Now(_) | Record::Clock(_) | Record::Goal(_) | Record::Load(_) | Record::Time(_) => {}
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let new = |of: fn(&New) -> u64| self.new.iter().map(of).sum();
        let mut totals = Totals {
            places: self.places.len() as u64,
            asked: self.places.iter().map(|place| place.asked).sum(),
            lost: new(New::lost),
            hanging: new(|new| new.hanging),
            leaked: new(|new| new.leaked),
            slow: new(|new| new.slow),
            longest_ms: self.new.iter().map(|new| new.longest_ms).max().unwrap_or_default(),
            kept: self.kept.iter().map(|kept| kept.opened).sum(),
            kept_lost: self.kept.iter().map(|kept| kept.broken + kept.stalled).sum(),
            longest_pause_ms: self.places.iter().map(|place| place.longest_pause_ms).max().unwrap_or_default(),
            lost_to: Cause::ALL.map(|cause| (cause, 0)).into(),
            kept_lost_to: Cause::ALL.map(|cause| (cause, 0)).into(),
        };
        for (cause, lost) in causes::of(self) {
            let to = if lost.kept { &mut totals.kept_lost_to } else { &mut totals.lost_to };
            *to.entry(cause).or_default() += 1;
        }
        totals
    }
}

impl Totals {
    /// A figure by its name in JSON; `lost-to/still` is one of a map.
    pub(crate) fn value(&self, name: &str) -> anyhow::Result<u64> {
        let all = serde_json::to_value(self)?;
        all.pointer(&format!("/{name}"))
            .and_then(serde_json::Value::as_u64)
            .with_context(|| format!("no figure {name}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::Outcome;

    /// Two nodes with three places each, where so many of each were lost.
    pub(crate) fn six(asked: u64, lost: u64, broken: u64) -> Run {
        let mut run = Run::default();
        for node in ["node-1", "node-2"].map(String::from) {
            run.busy.push(Busy { node: node.clone(), percent: 80 });
            for place in ["pod", "host", "outside"].map(String::from) {
                let (node, service) = (node.clone(), "cluster-ip".to_owned());
                let ok = asked - lost;
                run.new.push(New {
                    node: node.clone(),
                    place: place.clone(),
                    service: service.clone(),
                    ok,
                    hanging: lost,
                    longest_ms: 20,
                    backends: 2,
                    ..New::default()
                });
                run.kept.push(Kept {
                    node: node.clone(),
                    place: place.clone(),
                    service: service.clone(),
                    opened: 9,
                    broken,
                    ..Kept::default()
                });
                run.places.push(Summary {
                    node: node.clone(),
                    place: place.clone(),
                    asked,
                    lost,
                    seconds: 20,
                    cpu_ms: 100,
                    longest_pause_ms: 20,
                });
                for _ in 0..lost {
                    let outcome = Outcome::Hanging;
                    run.lost.push(Lost {
                        at: 10.0,
                        node: node.clone(),
                        place: place.clone(),
                        service: service.clone(),
                        direct: false,
                        kept: false,
                        outcome,
                        after_ms: 5000,
                        port: 10000,
                        error: None,
                    });
                }
            }
        }
        run
    }

    const RUN: &str = r#"{"record":"busy","node":"node-1","percent":85}
no summary from node-2/host
{"record":"new","node":"node-1","place":"pod","service":"a","direct":false,"deny":false,"ok":90,"refused":1,"reset":2,"hanging":3,"other":0,"leaked":4,"slow":5,"longest-ms":700,"backends":2}
{"record":"new","node":"node-2","place":"pod","service":"a","direct":false,"deny":false,"ok":100,"refused":0,"reset":0,"hanging":0,"other":0,"leaked":0,"slow":1,"longest-ms":900,"backends":2}
{"record":"kept","node":"node-1","place":"pod","service":"a","opened":9,"broken":1,"stalled":2,"longest-silence-ms":10}
{"record":"summary","node":"node-1","place":"pod","asked":100,"lost":10,"seconds":20,"cpu-ms":100,"longest-pause-ms":20}
{"record":"summary","node":"node-2","place":"pod","asked":100,"lost":0,"seconds":20,"cpu-ms":100,"longest-pause-ms":250}
{"record":"lost","at":1.0,"node":"node-1","place":"pod","service":"a","direct":false,"kept":false,"outcome":"refused","after-ms":1,"port":1}
{"record":"took","from":5.5,"to":70.25}
"#;

    #[test]
    fn totals_are_sums_over_all_clients() {
        let run = Run::read(RUN.as_bytes()).unwrap();
        let totals = run.totals();
        let values = [
            "places",
            "asked",
            "lost",
            "hanging",
            "leaked",
            "slow",
            "longest-ms",
            "kept",
            "kept-lost",
            "longest-pause-ms",
        ]
        .map(|name| totals.value(name).unwrap());
        assert_eq!(values, [2, 200, 10, 3, 4, 6, 900, 9, 3, 250]);
        assert_eq!(totals.value("lost-to/switch").unwrap(), 1);
        assert_eq!(totals.value("kept-lost-to/still").unwrap(), 0);
        assert!(totals.value("found").is_err());
        assert_eq!(run.said, ["no summary from node-2/host"]);
    }

    #[test]
    fn a_file_that_was_cut_off_is_no_run() {
        assert!(Run::read(&RUN.as_bytes()[..200]).is_err());
    }
}
