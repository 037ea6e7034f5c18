//! Waiting with a word about what for.

use std::time::Duration;

use crate::boot_clock::BootInstant;
use crate::report::say::{NEWS, silent_for, still_waiting};

/// Runs `work`, and prints what is waited for after each [`NEWS`] without output. `limit`: how long it may take.
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
