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

/// When the machine did not run its guests, as far as they noticed.
struct Machine<'a> {
    /// What went straight to a pod and was slow or lost: from, to.
    starved: Vec<(f64, f64)>,
    /// By client: from, to.
    pauses: HashMap<(&'a str, &'a str), Vec<(f64, f64)>>,
}

impl<'a> Machine<'a> {
    fn of(run: &'a Run) -> Self {
        let slow = run.slow.iter().map(|slow| (slow.at - seconds(slow.after_ms), slow.at));
        let direct = run.lost.iter().filter(|lost| lost.direct && !lost.kept);
        let starved = slow.chain(direct.map(|lost| (began(lost), lost.at))).collect();
        let mut pauses: HashMap<_, Vec<_>> = HashMap::new();
        for pause in &run.pauses {
            let span = (pause.at - seconds(pause.ms), pause.at);
            pauses.entry((pause.node.as_str(), pause.place.as_str())).or_default().push(span);
        }
        Self { starved, pauses }
    }

    fn stood_still(&self, from: f64, to: f64) -> bool {
        let (from, to) = (from - 1.0, to + 1.0);
        let paused = |spans: &Vec<(f64, f64)>| {
            spans.iter().map(|span| (span.1.min(to) - span.0.max(from)).max(0.0)).sum::<f64>() >= 1.0
        };
        self.starved.iter().any(|span| span.1 > from && span.0 < to) || self.pauses.values().any(paused)
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
    fn causes_are_the_names_of_figures() {
        assert_eq!(
            Cause::ALL.map(|cause| serde_json::to_value(cause).unwrap()),
            ["unserved", "direct", "still", "switch"]
        );
    }
}
