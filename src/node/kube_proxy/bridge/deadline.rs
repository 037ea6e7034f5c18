//! When a bridge ends, in the forms that the kernel's own checks of the time take. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970 at which a bridge ends that is put now.
pub(super) fn after(keep: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + keep).as_secs()
}

/// In UTC, as `iptables -m time --datestop` takes it: `2026-01-31T12:00:00`.
pub(super) fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years from 1 March, so that a leap day is the last one; eras of 400 years
    // (https://howardhinnant.github.io/date_algorithms.html, civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // By date -u -d @N +%FT%T
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_769_860_800, "2026-01-31T12:00:00"),
            (1_798_761_599, "2026-12-31T23:59:59"),
            (2_147_483_647, "2038-01-19T03:14:07"),
        ] {
            assert_eq!(date(seconds), expected);
        }
        assert!(after(Duration::from_secs(60)) > after(Duration::ZERO) + 50);
    }
}
