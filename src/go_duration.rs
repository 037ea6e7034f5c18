//! Durations in Go's format: `1h30m`, `900s`.

/// A Go duration (`metav1.Duration` in a config) in nanoseconds: `30s`, `1h30m`, `1.5s`, `0`.
///
/// # Errors
/// If it is not a duration.
pub fn duration(text: &str) -> Result<i128, String> {
    let not_a_duration = || format!("{text:?} is not a duration; use for example 30s, 15m or 1h30m");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(not_a_duration());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(not_a_duration)?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let nanoseconds: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(not_a_duration()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty())
            || fraction.contains('.')
            || whole.len() > 15
            || fraction.len() > 15
        {
            return Err(not_a_duration());
        }
        let digits: i128 = format!("{whole}{fraction}").parse().map_err(|_| not_a_duration())?;
        total += digits * nanoseconds / 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        rest = tail;
    }
    // Go keeps durations in 64 bits: about 292 years.
    if total > i128::from(i64::MAX) {
        return Err(not_a_duration());
    }
    Ok(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("100ms", 100_000_000),
            ("1us", 1_000),
            ("-1s", -1_000_000_000),
            ("+2ns", 2),
            ("24h0m0s", 86_400_000_000_000),
        ] {
            assert_eq!(duration(text), Ok(nanoseconds), "{text}");
        }
        for text in [
            "",
            "-",
            "30",
            "s",
            "1d",
            "1h 30m",
            "1,5s",
            "1..5s",
            ".s",
            "30 s",
            "1e3s",
            "999999999h",
            "30S",
            "9999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
