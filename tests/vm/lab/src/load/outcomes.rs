//! What became of a client's connections: counted by target, and recorded where it was not wanted.

use std::io::Write;

use nix::errno::Errno;

use super::LATE;
use super::targets::Target;
use crate::record::{Kept, Lost, New, Now, Outcome, Pause, Record, Slow, Summary, seconds};

/// An answer that took longer is slow: TCP asks again after a second by itself.
const SLOW_MS: u64 = 1000;

/// The end of a connection; times in milliseconds.
pub(super) struct End {
    pub(super) time: i64,
    /// Since it was asked, without what this process did not run.
    pub(super) took: i64,
    pub(super) port: u16,
    pub(super) outcome: Outcome,
    pub(super) error: Option<Errno>,
}

impl Outcome {
    /// Of a connection that failed with that error.
    pub(super) fn of(error: Errno) -> Self {
        match error {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::ECONNRESET | Errno::EPIPE => Self::Reset,
            Errno::ETIMEDOUT => Self::Hanging,
            _ => Self::Other,
        }
    }
}

pub(super) struct Outcomes<W> {
    node: String,
    place: String,
    /// By target, in the order of the list.
    new: Vec<New>,
    kept: Vec<Kept>,
    now: Now,
    longest_pause_ms: u64,
    log: W,
}

impl<W: Write> Outcomes<W> {
    pub(super) fn new(node: &str, place: &str, targets: &[Target], log: W) -> Self {
        let new = |target: &Target| New {
            node: node.to_owned(),
            place: place.to_owned(),
            service: target.name.clone(),
            direct: target.direct,
            deny: target.deny,
            ..New::default()
        };
        let kept = |target: &Target| Kept {
            node: node.to_owned(),
            place: place.to_owned(),
            service: target.name.clone(),
            ..Kept::default()
        };
        Self {
            node: node.to_owned(),
            place: place.to_owned(),
            new: targets.iter().map(new).collect(),
            kept: targets.iter().map(kept).collect(),
            now: Now::default(),
            longest_pause_ms: 0,
            log,
        }
    }

    pub(super) fn now(&self) -> Now {
        self.now
    }

    /// This process runs again, `gap` after it did before.
    pub(super) fn ran(&mut self, time: i64, gap: i64) -> anyhow::Result<()> {
        self.longest_pause_ms = self.longest_pause_ms.max(ms(gap));
        if gap > LATE {
            let (node, place) = (self.node.clone(), self.place.clone());
            Record::Pause(Pause { at: seconds(ms(time)), node, place, ms: ms(gap) }).write(&mut self.log)?;
        }
        Ok(())
    }

    pub(super) fn asked(&mut self, lasting: bool) {
        *if lasting { &mut self.now.keeping } else { &mut self.now.asked } += 1;
    }

    /// A new connection came to its end.
    pub(super) fn ended(&mut self, target: usize, end: &End) -> anyhow::Result<()> {
        let new = &mut self.new[target];
        let outcome = match end.outcome {
            Outcome::Ok if new.deny => Outcome::Leaked,
            _ if new.deny => Outcome::Ok,
            outcome => outcome,
        };
        *match outcome {
            Outcome::Ok => &mut new.ok,
            Outcome::Refused => &mut new.refused,
            Outcome::Reset => &mut new.reset,
            Outcome::Hanging => &mut new.hanging,
            Outcome::Other | Outcome::Stalled => &mut new.other,
            Outcome::Leaked => &mut new.leaked,
        } += 1;
        if outcome != Outcome::Ok {
            self.now.lost += 1;
            return self.lost(target, false, outcome, end);
        }
        if new.deny {
            return Ok(());
        }
        let took = ms(end.took);
        new.longest_ms = new.longest_ms.max(took);
        if took > SLOW_MS {
            new.slow += 1;
            if new.direct {
                let New { node, place, service, .. } = new.clone();
                let slow = Slow { at: seconds(ms(end.time)), node, place, service, after_ms: took };
                Record::Slow(slow).write(&mut self.log)?;
            }
        }
        Ok(())
    }

    /// A long-lived connection got its first answer.
    pub(super) fn opened(&mut self, target: usize) {
        self.kept[target].opened += 1;
    }

    /// A long-lived connection answered after that time.
    pub(super) fn silent(&mut self, target: usize, took: i64) {
        let longest = &mut self.kept[target].longest_silence_ms;
        *longest = ms(took).max(*longest);
    }

    /// A long-lived connection came to an end that nobody wanted.
    pub(super) fn broke(&mut self, target: usize, opened: bool, end: &End) -> anyhow::Result<()> {
        let kept = &mut self.kept[target];
        // One that never got as far counts as well.
        kept.opened += u64::from(!opened);
        *if end.outcome == Outcome::Stalled { &mut kept.stalled } else { &mut kept.broken } += 1;
        self.now.keeping -= 1;
        self.lost(target, true, end.outcome, end)
    }

    fn lost(&mut self, target: usize, kept: bool, outcome: Outcome, end: &End) -> anyhow::Result<()> {
        let New { node, place, service, direct, .. } = self.new[target].clone();
        let lost = Lost {
            at: seconds(ms(end.time)),
            node,
            place,
            service,
            direct,
            kept,
            outcome,
            after_ms: ms(end.took),
            port: end.port,
            error: end.error.map(|error| error.desc().to_owned()),
        };
        Ok(Record::Lost(lost).write(&mut self.log)?)
    }

    /// What became of all, with how many backends each target was answered by.
    pub(super) fn sum_up(&self, targets: &[Target], ran_for: i64, cpu: i64, to: &mut impl Write) -> anyhow::Result<()> {
        for ((new, kept), target) in self.new.iter().zip(&self.kept).zip(targets) {
            Record::New(New { backends: target.backends.len() as u64, ..new.clone() }).write(to)?;
            if kept.opened > 0 {
                Record::Kept(kept.clone()).write(to)?;
            }
        }
        Record::Summary(Summary {
            node: self.node.clone(),
            place: self.place.clone(),
            asked: self.now.asked,
            lost: self.now.lost,
            seconds: ms(ran_for) / 1000,
            cpu_ms: ms(cpu),
            longest_pause_ms: self.longest_pause_ms,
        })
        .write(to)?;
        Ok(())
    }
}

/// Milliseconds that have passed: never fewer than none.
fn ms(passed: i64) -> u64 {
    u64::try_from(passed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::targets::parse;
    use super::*;

    const LIST: &str = "a tcp ::1 1\ndenied tcp ::1 2 deny\nheadless tcp ::1 3 direct\n";

    /// What is counted and what is recorded, after `with`.
    fn after(with: impl FnOnce(&mut Outcomes<Vec<u8>>)) -> (Outcomes<Vec<u8>>, String) {
        let mut outcomes = Outcomes::new("node-1", "pod", &parse(LIST).unwrap(), Vec::new());
        with(&mut outcomes);
        let log = String::from_utf8(outcomes.log.clone()).unwrap();
        (outcomes, log)
    }

    fn end(outcome: Outcome, took: i64) -> End {
        End { time: 10_000, took, port: 10_000, outcome, error: None }
    }

    #[test]
    fn each_end_is_counted_once() {
        let (outcomes, log) = after(|outcomes| {
            for error in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::EPIPE, Errno::ETIMEDOUT, Errno::EHOSTUNREACH] {
                outcomes.asked(false);
                let end = End { error: Some(error), ..end(Outcome::of(error), 1) };
                outcomes.ended(0, &end).unwrap();
            }
            outcomes.asked(false);
            outcomes.ended(0, &end(Outcome::Ok, 7)).unwrap();
        });
        let New { ok, refused, reset, hanging, other, leaked, slow, longest_ms, .. } = outcomes.new[0];
        assert_eq!([ok, refused, reset, hanging, other, leaked, slow, longest_ms], [1, 1, 2, 1, 1, 0, 0, 7]);
        assert_eq!(outcomes.now, Now { asked: 6, lost: 5, keeping: 0 });
        assert_eq!(log.lines().count(), 5);
        assert!(
            log.starts_with("{\"record\":\"lost\",\"at\":10.0,\"node\":\"node-1\",\"place\":\"pod\",\"service\":\"a\"")
        );
    }

    #[test]
    fn what_must_not_be_answered_is_lost_when_it_is() {
        let (outcomes, log) = after(|outcomes| {
            outcomes.ended(1, &end(Outcome::Hanging, 1001)).unwrap();
            outcomes.ended(1, &end(Outcome::Refused, 1)).unwrap();
            outcomes.ended(1, &end(Outcome::Ok, 1)).unwrap();
        });
        assert_eq!((outcomes.new[1].ok, outcomes.new[1].leaked, outcomes.now.lost), (2, 1, 1));
        assert!(log.contains("\"outcome\":\"leaked\""));
    }

    #[test]
    fn slow_answers_count_and_are_recorded_where_only_the_machine_is_in_the_way() {
        let (outcomes, log) = after(|outcomes| {
            for target in [0, 2] {
                outcomes.ended(target, &end(Outcome::Ok, 1000)).unwrap();
                outcomes.ended(target, &end(Outcome::Ok, 1001)).unwrap();
            }
        });
        assert_eq!((outcomes.new[0].slow, outcomes.new[2].slow, outcomes.now.lost), (1, 1, 0));
        assert_eq!(log.lines().count(), 1);
        assert!(log.contains("\"record\":\"slow\"") && log.contains("headless"));
    }

    #[test]
    fn long_lived_ones() {
        let (outcomes, log) = after(|outcomes| {
            for _ in 0..3 {
                outcomes.asked(true);
            }
            outcomes.opened(0);
            outcomes.opened(0);
            outcomes.silent(0, 30);
            outcomes.silent(0, 20);
            outcomes.broke(0, true, &end(Outcome::Stalled, 10_001)).unwrap();
            outcomes.broke(0, false, &end(Outcome::Refused, 1)).unwrap();
        });
        let Kept { opened, broken, stalled, longest_silence_ms, .. } = outcomes.kept[0];
        assert_eq!([opened, broken, stalled, longest_silence_ms], [3, 1, 1, 30]);
        assert_eq!(outcomes.now, Now { asked: 0, lost: 0, keeping: 1 });
        assert!(log.lines().all(|line| line.contains("\"kept\":true")));
    }

    #[test]
    fn times_in_which_it_did_not_run() {
        let (outcomes, log) = after(|outcomes| {
            outcomes.ran(1000, 200).unwrap();
            outcomes.ran(2000, 201).unwrap();
        });
        assert_eq!(outcomes.longest_pause_ms, 201);
        assert_eq!(log, "{\"record\":\"pause\",\"at\":2.0,\"node\":\"node-1\",\"place\":\"pod\",\"ms\":201}\n");
    }
}
