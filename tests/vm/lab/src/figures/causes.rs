//! Whose fault a lost connection is.

use std::collections::HashMap;

use serde::Serialize;

use super::run::Run;
use crate::record::{Lost, Outcome, seconds};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    /// kube-proxy, where the connection was to be served, had itself written that the Service has no endpoints. Started
    /// anew, for whatever reason, it may write its first rules before it has been told of all Services and endpoints
    /// (<https://github.com/kubernetes/kubernetes/issues/126468>, fixed in 2024 by 126532); on these slow nodes it stays so
    /// for five seconds. Who switches can do nothing about it.
    Unserved,
    /// It went straight to a pod (a headless Service): no rule of kube-proxy is in its way.
    Direct,
    /// No answer, at a time when the machine did not run the nodes: a client says that it did not run for a second in all,
    /// or what went straight to a pod took more than a second, or was lost. Not what was refused, or answered though it
    /// should not be: only rules do that.
    Still,
    /// What is left.
    Switch,
}

impl Cause {
    pub(crate) const ALL: [Self; 4] = [Self::Unserved, Self::Direct, Self::Still, Self::Switch];
}

/// A long-lived connection stalls after so many seconds.
const STALLED: f64 = 10.0;
/// kube-proxy's rules are looked at once a second.
const AROUND: f64 = 1.5;

/// Each failure, in the order of the records.
pub(crate) fn of(run: &Run) -> impl Iterator<Item = (Cause, &Lost)> {
    let machine = Machine::of(run);
    let mut unserved: HashMap<(&str, &str), Vec<f64>> = HashMap::new();
    for record in &run.unserved {
        unserved.entry((&record.node, &record.service)).or_default().push(record.at);
    }
    run.lost.iter().map(move |lost| {
        let from = began(lost);
        let seen = unserved
            .get(&served_by(lost))
            .is_some_and(|times| times.iter().any(|time| *time > from - AROUND && *time < lost.at + AROUND));
        let by_rules = matches!(lost.outcome, Outcome::Refused | Outcome::Leaked);
        let cause = if seen && !lost.kept && lost.outcome != Outcome::Leaked {
            Cause::Unserved
        } else if lost.direct {
            Cause::Direct
        } else if !by_rules && machine.stood_still(from, lost.at) {
            Cause::Still
        } else {
            Cause::Switch
        };
        (cause, lost)
    })
}

/// When the connection was asked, or when a long-lived one was last heard of, at the latest.
fn began(lost: &Lost) -> f64 {
    lost.at - if lost.kept { STALLED } else { seconds(lost.after_ms) }
}

/// The node whose kube-proxy serves it, and the Service's name there.
fn served_by(lost: &Lost) -> (&str, &str) {
    let node = match (lost.service.as_str(), lost.node.as_str()) {
        ("node-port-of-other", "node-1") => "node-2",
        ("node-port-of-other", _) => "node-1",
        (_, node) => node,
    };
    let service = match lost.service.as_str() {
        "node-port-of-other" => "node-port",
        name if name.starts_with("udp-") => "udp",
        name if name.starts_with("local-") => "local",
        name => name,
    };
    (node, service)
}

/// Spans of time in order, none of which overlaps another: a machine that stands still for minutes loses a hundred thousand
/// connections, and each is looked up.
#[derive(Default)]
struct Spans(Vec<(f64, f64)>);

impl Spans {
    fn of(mut spans: Vec<(f64, f64)>) -> Self {
        spans.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut merged: Vec<(f64, f64)> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// How much of that time they cover; None if they do not touch it.
    fn within(&self, from: f64, to: f64) -> Option<f64> {
        let first = self.0.partition_point(|span| span.1 <= from);
        let touching = self.0[first..].iter().take_while(|span| span.0 < to);
        touching.map(|span| span.1.min(to) - span.0.max(from)).reduce(|sum, more| sum + more)
    }
}

/// When the machine did not run its guests, as far as they noticed.
struct Machine {
    /// What went straight to a pod and was slow or lost.
    starved: Spans,
    /// Of each client.
    pauses: Vec<Spans>,
}

impl Machine {
    fn of(run: &Run) -> Self {
        let slow = run.slow.iter().map(|slow| (slow.at - seconds(slow.after_ms), slow.at));
        let direct = run.lost.iter().filter(|lost| lost.direct && !lost.kept);
        let starved = Spans::of(slow.chain(direct.map(|lost| (began(lost), lost.at))).collect());
        let mut pauses: HashMap<_, Vec<_>> = HashMap::new();
        for pause in &run.pauses {
            let span = (pause.at - seconds(pause.ms), pause.at);
            pauses.entry((pause.node.as_str(), pause.place.as_str())).or_default().push(span);
        }
        Self { starved, pauses: pauses.into_values().map(Spans::of).collect() }
    }

    fn stood_still(&self, from: f64, to: f64) -> bool {
        let (from, to) = (from - 1.0, to + 1.0);
        let second = |spans: &Spans| spans.within(from, to).is_some_and(|paused| paused >= 1.0);
        self.starved.within(from, to).is_some() || self.pauses.iter().any(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Pause, Slow, Unserved};

    /// `AT NODE/PLACE SERVICE OUTCOME MS`, `AT NODE/PLACE pause MS`, `AT NODE unserved SERVICE`.
    fn run(text: &str) -> Run {
        let mut run = Run::default();
        for line in text.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let at = words[0].parse().unwrap();
            let (node, place) = words[1].split_once('/').unwrap_or((words[1], ""));
            let (node, place, service) = (node.to_owned(), place.to_owned(), words[2].to_owned());
            let number = |index: usize| words[index].parse().unwrap();
            match words[2..] {
                ["pause", _] => run.pauses.push(Pause { at, node, place, ms: number(3) }),
                ["unserved", service] => run.unserved.push(Unserved { at, node, service: service.into() }),
                [_, "slow", _] => run.slow.push(Slow { at, node, place, service, after_ms: number(4) }),
                [_, outcome, ref rest @ ..] => {
                    let direct = service.starts_with("headless");
                    let kept = rest.is_empty();
                    let after_ms = if kept { 10_000 } else { number(4) };
                    let outcome = serde_json::from_value(outcome.into()).unwrap();
                    run.lost.push(Lost {
                        at,
                        node,
                        place,
                        service,
                        direct,
                        kept,
                        outcome,
                        after_ms,
                        port: 1,
                        error: None,
                    });
                }
                _ => panic!("{line}"),
            }
        }
        run
    }

    #[test]
    fn each_cause() {
        use Cause::{Direct, Still, Switch, Unserved};

        let run = run("\
            100.0 node-1/pod cluster-ip hanging 5000
            100.5 node-2/host headless hanging 5000
            150.0 node-1/pod cluster-ip refused 1
            150.2 node-1/pod headless refused 1
            200.0 node-1/host node-port hanging 5000
            197.0 node-2/pod pause 900
            199.0 node-2/pod pause 300
            300.0 node-1/host node-port hanging 5000
            297.0 node-2/pod pause 900
            297.0 node-2/host pause 900
            400.0 node-1/outside balancer reset 2
            400.1 node-1/outside balancer leaked 2
            400.2 node-1/outside balancer refused 2
            401.0 node-2/pod headless slow 1900
            500.0 node-1/outside balancer reset 2
            600.0 node-2/outside node-port refused 1
            600.9 node-2 unserved node-port
            700.0 node-2/host node-port-of-other refused 1
            699.2 node-1 unserved node-port
            800.0 node-2/host node-port refused 1
            799.2 node-1 unserved node-port
            900.0 node-1/pod cluster-ip stalled
            893.0 node-2/pod pause 4000
            950.0 node-1/pod cluster-ip stalled
            960.0 node-1/pod headless reset
            970.0 node-1/pod cluster-ip refused
            965.0 node-2/pod pause 4000
            980.0 node-1/pod udp-cluster-ip hanging 5000
            981.4 node-1 unserved udp
            990.0 node-1/pod local-balancer leaked 5
            990.0 node-1 unserved local");
        let found: Vec<_> = of(&run).map(|(cause, lost)| (lost.at, cause)).collect();
        let expected = [
            (100.0, Still),
            (100.5, Direct),
            (150.0, Switch),
            (150.2, Direct),
            (200.0, Still),
            (300.0, Switch),
            (400.0, Still),
            (400.1, Switch),
            (400.2, Switch),
            (500.0, Switch),
            (600.0, Unserved),
            (700.0, Unserved),
            (800.0, Switch),
            (900.0, Still),
            (950.0, Switch),
            (960.0, Direct),
            // Only rules refuse, whatever the machine did.
            (970.0, Switch),
            (980.0, Unserved),
            // Nor is it for want of endpoints that something is answered.
            (990.0, Switch),
        ];
        assert_eq!(found, expected);
        let totals = run.totals();
        assert_eq!(
            totals.lost_to[&Direct] + totals.lost_to[&Still] + totals.lost_to[&Switch] + totals.lost_to[&Unserved],
            15
        );
        assert_eq!(Cause::ALL.map(|cause| totals.kept_lost_to[&cause]), [0, 1, 1, 2]);
    }

    #[test]
    fn spans_of_time() {
        let spans = Spans::of(vec![(5.0, 6.0), (1.0, 2.0), (1.5, 3.0), (1.2, 1.3), (8.0, 9.0)]);
        assert_eq!(spans.0, [(1.0, 3.0), (5.0, 6.0), (8.0, 9.0)]);
        assert_eq!(spans.within(2.0, 8.5), Some(2.5));
        assert_eq!(spans.within(3.0, 5.0), None);
        assert_eq!(spans.within(9.0, 99.0), None);
        assert_eq!(Spans::default().within(0.0, 99.0), None);
    }

    /// In a second or two, where each of them compared with each other would take minutes.
    #[test]
    fn a_machine_that_stood_still_for_minutes() {
        let mut run = run(
            "0.0 node-1/pod cluster-ip hanging 5000\n0.0 node-1/pod headless hanging 5000\n0.0 node-1/pod pause 300",
        );
        let (lost, pauses) = (run.lost.clone(), run.pauses.clone());
        for hundredth in 0..50_000_u32 {
            let at = f64::from(hundredth) / 100.0;
            run.lost.extend(lost.iter().map(|lost| Lost { at, ..lost.clone() }));
            run.pauses.extend(pauses.iter().map(|pause| Pause { at, ..pause.clone() }));
        }
        assert_eq!(of(&run).filter(|(cause, _)| *cause == Cause::Still).count(), 50_001);
    }

    #[test]
    fn causes_are_the_names_of_figures() {
        assert_eq!(
            Cause::ALL.map(|cause| serde_json::to_value(cause).unwrap()),
            ["unserved", "direct", "still", "switch"]
        );
    }
}
