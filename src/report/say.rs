//! Lines on standard error: what happens, and what is waited for. Nobody may be listening: a terminal that went away or a full
//! disk is no reason to stop.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::foreign::visible;
use super::levels;
use crate::boot_clock::BootInstant;

/// So long without news, and a line says what is waited for.
pub const NEWS: Duration = Duration::from_secs(10);

/// When something was said last, in milliseconds of the clock since boot.
static LAST: AtomicU64 = AtomicU64::new(0);

/// One line or several on standard error. What cannot be written is lost.
pub fn say(text: &str) {
    say_part(&format!("{text}\n"));
}

/// A part of a line on standard error, such as a question.
pub fn say_part(text: &str) {
    LAST.store(milliseconds(), Ordering::Relaxed);
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(levels(&visible(text)).as_bytes());
    let _ = stderr.flush();
}

fn milliseconds() -> u64 {
    u64::try_from(BootInstant::now().since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// How long ago the last line was; before there was one, the first question counts.
fn silent_for() -> Duration {
    let now = milliseconds();
    let _ = LAST.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    Duration::from_millis(now.saturating_sub(LAST.load(Ordering::Relaxed)))
}

/// Says what is waited for and how long still, if nothing was said for [`NEWS`].
pub fn still_waiting(what: &str, left: Option<Duration>) {
    if silent_for() < NEWS {
        return;
    }
    let left = left.map(|left| format!(", for {} s at most", left.as_secs())).unwrap_or_default();
    say(&format!("still waiting for {what}{left}"));
}

/// Notes that something was said or shown in another way.
pub fn news() {
    LAST.store(milliseconds(), Ordering::Relaxed);
}

/// Does the work, and says what is waited for whenever nothing was said for [`NEWS`]. `limit`: how long it may take.
pub async fn patiently<T>(what: &str, limit: Option<Duration>, work: impl Future<Output = T>) -> T {
    let from = BootInstant::now();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(NEWS.saturating_sub(silent_for()).max(Duration::from_millis(100))) => {
                still_waiting(what, limit.map(|limit| limit.saturating_sub(from.elapsed())));
            }
        }
    }
}

/// Where log lines go: to standard error, through the same function.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        say_part(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
