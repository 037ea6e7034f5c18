//! Progress lines on standard error, as text or as JSON. Write errors are ignored: a closed terminal or a full disk must not
//! stop the run.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "full")]
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[cfg(feature = "full")]
use indicatif::ProgressBar;

#[cfg(feature = "full")]
use super::event::{Event, What, is_json};
use super::foreign::visible;
use super::{levels, stderr};
use crate::boot_clock::BootInstant;

/// After this time without output, a line names what is waited for.
pub const NEWS: Duration = Duration::from_secs(10);

/// Time of the last output, in milliseconds since boot.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Prints one or more lines to standard error; write errors are ignored.
pub fn say(text: &str) {
    #[cfg(feature = "full")]
    if is_json() {
        return say_event(&Event::new(What::Message, text));
    }
    say_part(&format!("{text}\n"));
}

/// Prints why the command failed.
pub fn say_error(text: &str) {
    #[cfg(feature = "full")]
    if is_json() {
        return say_event(&Event::new(What::Error, text));
    }
    say(&format!("error: {text}"));
}

/// Prints that the run ends at once.
#[cfg(feature = "full")]
pub fn say_interrupted(text: &str) {
    if is_json() {
        let exit = Some(crate::exit_code::Exit::Interrupted as i32);
        return say_event(&Event { exit, ..Event::new(What::Error, text) });
    }
    say(text);
}

/// From now on, every line on standard error is one JSON object, that of a panic included.
#[cfg(feature = "full")]
pub fn use_json() {
    super::event::use_json();
    std::panic::set_hook(Box::new(|panic| say_error(&format!("internal error: {panic}"))));
}

/// Prints an event as a line of JSON.
#[cfg(feature = "full")]
pub fn say_event(event: &Event<'_>) {
    write(&event.line());
}

/// Prints a part of a line to standard error, such as a prompt.
pub fn say_part(text: &str) {
    #[cfg(feature = "full")]
    if is_json() {
        return say_event(&Event::new(What::Message, text.trim_end()));
    }
    write(&levels(&visible(text)));
}

/// The bar that is shown on the terminal. Lines go above it: written across it, parts of it would stay.
#[cfg(feature = "full")]
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on lines go above this bar.
#[cfg(feature = "full")]
pub fn above(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

fn write(text: &str) {
    LAST.store(milliseconds(), Ordering::Relaxed);
    #[cfg(feature = "full")]
    {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bar) = bar {
            return bar.suspend(|| put(text));
        }
    }
    put(text);
}

fn put(text: &str) {
    let mut stderr = stderr();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

fn milliseconds() -> u64 {
    u64::try_from(BootInstant::now().since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// Time since the last output; before the first output, since the first call of this function.
pub fn silent_for() -> Duration {
    let now = milliseconds();
    let _ = LAST.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    Duration::from_millis(now.saturating_sub(LAST.load(Ordering::Relaxed)))
}

/// Prints what is waited for, and for how much longer, if there was no output for [`NEWS`].
pub fn still_waiting(what: &str, left: Option<Duration>) {
    if silent_for() < NEWS {
        return;
    }
    let left = left.filter(|left| left.as_secs() > 0);
    let left = left.map(|left| format!(" (up to {} s)", left.as_secs())).unwrap_or_default();
    let text = format!("still waiting for {what}{left}");
    #[cfg(feature = "full")]
    if is_json() {
        return say_event(&Event::new(What::Waiting, &text));
    }
    say(&text);
}

/// Records that something was printed in another way.
pub fn news() {
    LAST.store(milliseconds(), Ordering::Relaxed);
}

/// The writer for log lines: standard error, as everything else here.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        #[cfg(feature = "full")]
        if is_json() {
            say_event(&Event::new(What::Log, text.trim()));
            return Ok(line.len());
        }
        say_part(&text);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
