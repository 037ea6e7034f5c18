//! Each node counts from its own start; here its times become those of another's clock.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::lines::{Line, lines};
use crate::record::{Busy, Clock, Record};

/// What a node says before what its clients counted: what time it is, and how busy it was since `stat` was written.
///
/// # Errors
/// If the kernel's files cannot be read.
pub(crate) fn of_node(node: &str, stat: &Path) -> anyhow::Result<[Record; 2]> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let before = read(stat)?;
    let after = read(Path::new("/proc/stat"))?;
    let uptime = read(Path::new("/proc/uptime"))?;
    let uptime = uptime.split(' ').next().unwrap_or_default().parse().context("/proc/uptime")?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let percent = busy(&before, &after).context("/proc/stat")?;
    Ok([
        Record::Clock(Clock { node: node.to_owned(), uptime, unix }),
        Record::Busy(Busy { node: node.to_owned(), percent }),
    ])
}

/// Idle time and all time, of the first line: user, nice, system, idle, iowait, …
fn idle_and_all(stat: &str) -> Option<(u64, u64)> {
    let times: Option<Vec<u64>> =
        stat.lines().next()?.split_whitespace().skip(1).map(|time| time.parse().ok()).collect();
    let times = times?;
    Some((times.get(3)? + times.get(4)?, times.iter().sum()))
}

/// Percent of the time between that the processors had something to do.
fn busy(before: &str, after: &str) -> Option<u64> {
    let (idle, all) = idle_and_all(before)?;
    let (idle_after, all_after) = idle_and_all(after)?;
    let passed = all_after.checked_sub(all)? + 1;
    Some(100 - (100 * idle_after.checked_sub(idle)? / passed).min(100))
}

/// Copies lines; the times of records become those of `own`'s clock. A node's clock comes before what it is needed for, and
/// `own`'s is the first.
///
/// # Errors
/// If it does not, or a record was cut off.
pub(crate) fn by_one(own: &str, from: impl BufRead, to: &mut impl Write) -> anyhow::Result<()> {
    let mut began: HashMap<String, f64> = HashMap::new();
    for line in lines(from) {
        let mut record = match line? {
            Line::Said(line) => {
                writeln!(to, "{line}")?;
                continue;
            }
            Line::Record(record) => *record,
        };
        if let Record::Clock(clock) = &record {
            began.insert(clock.node.clone(), clock.unix - clock.uptime);
        }
        if let Some((at, node)) = time_of(&mut record) {
            let began = |node: &str| began.get(node).with_context(|| format!("no clock of {node} before its records"));
            *at = ((*at + began(node)? - began(own)?) * 1000.0).round() / 1000.0;
        }
        record.write(to)?;
    }
    Ok(())
}

/// When it was, and by whose clock.
fn time_of(record: &mut Record) -> Option<(&mut f64, &str)> {
    match record {
        Record::Lost(record) => Some((&mut record.at, &record.node)),
        Record::Slow(record) => Some((&mut record.at, &record.node)),
        Record::Pause(record) => Some((&mut record.at, &record.node)),
        Record::Unserved(record) => Some((&mut record.at, &record.node)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, of which the second has run for 100 s more.
    const TWO: &str = r#"{"record":"clock","node":"node-1","uptime":50.0,"unix":1000000050.0}
{"record":"pause","at":20.0,"node":"node-1","place":"pod","ms":300}
{"record":"clock","node":"node-2","uptime":150.0,"unix":1000000050.5}
said
{"record":"unserved","at":120.0,"node":"node-2","service":"udp"}
{"record":"busy","node":"node-2","percent":85}
"#;

    #[test]
    fn times_are_those_of_one_clock() {
        let mut out = Vec::new();
        by_one("node-1", TWO.as_bytes(), &mut out).unwrap();
        let expected = TWO.replace("120.0", "20.5");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_node_without_a_clock_is_an_error() {
        let without: String = TWO.lines().skip(3).collect::<Vec<_>>().join("\n");
        let error = by_one("node-1", without.as_bytes(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "no clock of node-2 before its records");
    }

    #[test]
    fn how_busy_a_node_was() {
        let before = "cpu  10 0 10 100 20 0 0 0 0 0\ncpu0 1 2 3\n";
        let after = "cpu  60 0 45 110 25 0 0 0 0 0\n";
        // 15 of 100 idle.
        assert_eq!(busy(before, after), Some(86));
        assert_eq!(busy(before, before), Some(100));
        assert_eq!(busy(before, "cpu 1"), None);
        assert_eq!(busy(after, before), None);
    }
}
