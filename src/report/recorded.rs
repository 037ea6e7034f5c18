//! The events of this run, kept for a report at its end (`--report`).

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::event::{Event, What};

/// More are not kept: some for each of many thousand nodes.
const MOST: usize = 200_000;

/// An event that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When, by this machine's clock.
    pub time: Timestamp,
    /// What.
    pub what: What,
    /// The node.
    pub node: Option<String>,
}

static EVENTS: Mutex<Option<Vec<Recorded>>> = Mutex::new(None);

/// From now on, events are kept.
pub fn start_recording() {
    *EVENTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Keeps an event, if events are kept.
pub fn record(event: &Event<'_>) {
    if let Some(events) = &mut *EVENTS.lock().unwrap_or_else(PoisonError::into_inner)
        && events.len() < MOST
    {
        let node = event.node.map(ToOwned::to_owned);
        events.push(Recorded { time: Timestamp::now(), what: event.event, node });
    }
}

/// The events so far.
pub fn recorded() -> Vec<Recorded> {
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}
