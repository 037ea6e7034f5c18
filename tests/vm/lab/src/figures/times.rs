//! Times of commands, by round: medians, and medians of what two commands took in the same round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context as _;

use super::numbers::median;
use crate::lines::{Line, lines};
use crate::record::{Record, Time};

/// Milliseconds of one command, by round. The first round warms caches and is not counted.
type Series = BTreeMap<String, f64>;

/// # Errors
/// If there is no such file, or a record in it was cut off.
pub(crate) fn load(path: &Path) -> anyhow::Result<Vec<Time>> {
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    read(BufReader::new(file)).with_context(|| format!("in {}", path.display()))
}

fn read(from: impl BufRead) -> anyhow::Result<Vec<Time>> {
    let mut times = Vec::new();
    for line in lines(from) {
        if let Line::Record(record) = line?
            && let Record::Time(time) = *record
        {
            times.push(time);
        }
    }
    Ok(times)
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a command: far below 2^52")]
fn series(times: &[Time], what: &str) -> Series {
    let counted = times.iter().filter(|time| time.what == what && !time.round.starts_with('0'));
    counted.map(|time| (time.round.clone(), time.nanoseconds as f64 / 1e6)).collect()
}

/// # Errors
/// If nothing was measured.
pub(crate) fn median_of(times: &[Time], what: &str) -> anyhow::Result<f64> {
    median(series(times, what).into_values().collect()).with_context(|| format!("nothing was measured of {what}"))
}

/// The median of what `with` makes of both commands' times in each round that has both.
///
/// # Errors
/// If there is none.
pub(crate) fn median_of_pairs(
    times: &[Time],
    one: &str,
    other: &str,
    with: fn(f64, f64) -> f64,
) -> anyhow::Result<f64> {
    let others = series(times, other);
    let pairs = series(times, one).into_iter().filter_map(|(round, took)| Some(with(took, *others.get(&round)?)));
    median(pairs.collect()).with_context(|| format!("no round has both {one} and {other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_rounds() {
        let mut text = "KPX-JOB-BEGIN\r\n# noise\r\n".to_owned();
        for (round, install, modprobe) in [("0", 900, 100), ("1", 4, 2), ("2", 9, 3), ("3a", 8, 8)] {
            for (what, ms) in [("install", install), ("modprobe", modprobe)] {
                text += &format!(
                    "{{\"record\":\"time\",\"round\":\"{round}\",\"what\":\"{what}\",\"nanoseconds\":{ms}000000}}\r\n"
                );
            }
        }
        text += "{\"record\":\"time\",\"round\":\"4\",\"what\":\"install\",\"nanoseconds\":1}\r\n";
        let times = read(text.as_bytes()).unwrap();
        assert!((median_of(&times, "modprobe").unwrap() - 3.0).abs() < 1e-9);
        // 2, 3 and 1.
        assert!((median_of_pairs(&times, "install", "modprobe", |one, other| one / other).unwrap() - 2.0).abs() < 1e-9);
        assert!((median_of_pairs(&times, "install", "modprobe", |one, other| one - other).unwrap() - 2.0).abs() < 1e-9);
        assert!(median_of(&times, "lsmod").is_err());
        assert!(median_of_pairs(&times, "install", "lsmod", |one, _| one).is_err());
    }
}
