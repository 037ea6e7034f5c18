//! Progress on stderr: a bar on a terminal, one line per event in a log, one JSON object per event for programs.

use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::event::{Event, What, is_json};
use super::recorded::record;
use super::say::{above, news, say, say_event};
use crate::boot_clock::BootInstant;

/// An estimate is made from so many nodes on.
const ENOUGH: usize = 5;

/// The progress of a rollout.
pub struct Progress {
    bar: Option<ProgressBar>,
    count: Mutex<Count>,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
struct Count {
    done: usize,
    total: usize,
    /// Since when nodes are done at an even pace, and how many were done before.
    since: BootInstant,
    before: usize,
}

impl Progress {
    /// For this many nodes; a bar only on a terminal.
    pub fn new(nodes: usize) -> Self {
        let bar = (std::io::stderr().is_terminal() && !is_json()).then(|| {
            let bar = ProgressBar::new(nodes as u64).with_style(style(nodes));
            above(Some(bar.clone()));
            bar
        });
        Self { bar, count: Mutex::new(Count { done: 0, total: nodes, since: BootInstant::now(), before: 0 }) }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints an event.
    pub fn tell(&self, event: &Event<'_>) {
        record(event);
        if is_json() {
            say_event(event);
        } else {
            say(event.message);
        }
    }

    /// Prints an event about a node.
    pub fn node(&self, what: What, node: &str, text: &str) {
        let message = format!("{node}: {text}");
        self.tell(&Event { node: Some(node), ..Event::new(what, &message) });
    }

    /// An event that is too much for people: only as JSON, and beside the bar.
    pub fn detail(&self, what: What, node: &str, text: &str) {
        let message = format!("{node}: {text}");
        let event = Event { node: Some(node), ..Event::new(what, &message) };
        record(&event);
        match &self.bar {
            _ if is_json() => say_event(&event),
            Some(bar) => {
                bar.set_message(message.clone());
                news();
            }
            None => {}
        }
    }

    /// An event that people read elsewhere: only as JSON.
    pub fn detail_of_run(&self, event: &Event<'_>) {
        record(event);
        if is_json() {
            say_event(event);
        }
    }

    /// From now on the nodes are done at an even pace, from which the time left is estimated.
    pub fn at_an_even_pace(&self) {
        let mut count = self.count();
        (count.since, count.before) = (BootInstant::now(), count.done);
    }

    /// More nodes than expected.
    pub fn more(&self, nodes: usize) {
        let mut count = self.count();
        count.total += nodes;
        if let Some(bar) = &self.bar {
            bar.set_length(count.total as u64);
            bar.set_style(style(count.total));
        }
    }

    /// Prints the end of a node, with the number of nodes that are done and the estimated time left.
    pub fn node_done(&self, what: What, node: &str, mode: Option<&str>, text: &str) {
        let (Count { done, total, .. }, left) = {
            let mut count = self.count();
            count.done += 1;
            let left =
                time_left(count.done - count.before, count.total.saturating_sub(count.done), count.since.elapsed());
            (*count, left)
        };
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        let estimate = left.map(|left| format!(", about {} left", in_words(left))).unwrap_or_default();
        let message = format!("{node}: {text} ({done} of {total}{estimate})");
        let (done, total) = (Some(done), Some(total));
        let seconds_left = left.map(|left| left.as_secs());
        self.tell(&Event { node: Some(node), mode, done, total, seconds_left, ..Event::new(what, &message) });
    }

    /// From now on there are only so many nodes left, at an even pace.
    pub fn only(&self, nodes: usize) {
        let mut count = self.count();
        (count.total, count.since, count.before) = (count.done + nodes, BootInstant::now(), count.done);
        if let Some(bar) = &self.bar {
            bar.set_length(count.total as u64);
        }
    }

    /// Ends the progress display.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            above(None);
            bar.finish_and_clear();
        }
    }
}

/// Where a run ends with an error, too.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A bar without nodes would look as if all was done.
fn style(nodes: usize) -> ProgressStyle {
    let template = if nodes == 0 { "{elapsed}  {msg}" } else { "{bar:30} {pos}/{len} nodes  {elapsed}  {msg}" };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The estimated time for the nodes that are left, once enough are done.
fn time_left(done: usize, left: usize, elapsed: Duration) -> Option<Duration> {
    if done < ENOUGH || left == 0 {
        return None;
    }
    let each = elapsed / u32::try_from(done).ok()?;
    each.checked_mul(u32::try_from(left).ok()?)
}

/// A duration for people: `40 s`, `4 min`, `1 h 20 min`.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds, seconds.div_ceil(60)) {
        (..90, _) => format!("{} s", seconds.max(1)),
        (_, minutes @ ..60) => format!("{minutes} min"),
        (_, minutes) => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_estimated_after_five_nodes() {
        let seconds = Duration::from_secs;
        for (done, left, elapsed, expected) in [
            (0, 50, 0, None),
            (4, 46, 40, None),
            (5, 45, 50, Some(450)),
            (49, 1, 98, Some(2)),
            (50, 0, 100, None),
            (5, 5000, 10, Some(10_000)),
        ] {
            assert_eq!(time_left(done, left, seconds(elapsed)), expected.map(seconds), "{done} {left} {elapsed}");
        }
    }

    #[test]
    fn durations_for_people() {
        for (seconds, expected) in [
            (0, "1 s"),
            (1, "1 s"),
            (89, "89 s"),
            (90, "2 min"),
            (600, "10 min"),
            (3541, "1 h 0 min"),
            (4800, "1 h 20 min"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), expected);
        }
    }
}
