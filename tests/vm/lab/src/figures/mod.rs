//! Figures of what was recorded. Of a question the exit status is the answer, 0 for yes and 1 for no; 2 is an error.

mod causes;
mod clocks;
mod command;
mod judged;
mod numbers;
mod run;
mod shown;
mod tables;
mod times;
mod unserved;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::lines::{Line, lines};
use crate::record::{Now, Record, Unserved};
pub(crate) use command::Command;
use numbers::significant;
use run::Run;

/// # Errors
/// If a file cannot be read, or a record in it was cut off.
#[expect(clippy::too_many_lines, reason = "a line or two for each command")]
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let input = io::stdin().lock();
    match command {
        Command::Rate { rate, at_least: Some(least) } => return Ok(answer(rate.all() >= least)),
        Command::Rate { rate, at_least: None } => writeln!(out, "{}", rate.text())?,
        Command::AtRest { rate, run } => {
            let of_place = numbers::rate(rate.every, rate.burst, 1);
            let (still, said) = judged::at_rest(&Run::load(&run)?, rate.all(), of_place, rate.clients.into());
            write!(out, "{said}")?;
            return Ok(answer(still));
        }
        Command::OfNode { node, stat } => {
            for record in clocks::of_node(&node, &stat)? {
                record.write(&mut out)?;
            }
        }
        Command::ByOneClock { node } => clocks::by_one(&node, input, &mut out)?,
        Command::Unserved { node, at } => {
            for service in unserved::of(input)? {
                Record::Unserved(Unserved { at, node: node.clone(), service: service.into() }).write(&mut out)?;
            }
        }
        Command::Now { files } => {
            let Now { asked, lost, .. } = now(&files);
            writeln!(out, "{asked} {lost}")?;
        }
        Command::Value { name, runs } => {
            let values = runs.iter().map(|run| Run::load(run)?.totals().value(&name));
            let values: Vec<u64> = values.collect::<Result<_, _>>()?;
            let longest = name.starts_with("longest");
            let value = if longest { values.into_iter().max().unwrap_or_default() } else { values.iter().sum() };
            writeln!(out, "{value}")?;
        }
        Command::Summary { run } => {
            serde_json::to_writer(&mut out, &Run::load(&run)?.totals())?;
            writeln!(out)?;
        }
        Command::Show { name, run, first } => write!(out, "{}", shown::run(&name, &Run::load(&run)?, first))?,
        Command::NothingLost { clients, run } => return none_of(&judged::new_lost(&Run::load(&run)?, clients)),
        Command::NothingKeptLost { clients, each, run } => {
            return none_of(&judged::kept_lost(&Run::load(&run)?, clients, each));
        }
        Command::NothingKeptLostBefore { at, seconds, run } => {
            return none_of(&judged::kept_lost_before(&Run::load(&run)?, at + seconds));
        }
        Command::AllAnswered { run } => return none_of(&judged::not_answered(&Run::load(&run)?)),
        Command::Load { how, rate, leftovers, run } => {
            Record::Load(tables::load(&how, rate.text(), leftovers, &Run::load(&run)?)?).write(&mut out)?;
        }
        Command::Goal(arguments) => {
            let goal = arguments.judged()?;
            let holds = goal.holds;
            if arguments.row {
                write!(out, "{}", tables::row(&goal))?;
            } else {
                Record::Goal(goal).write(&mut out)?;
            }
            return Ok(answer(holds));
        }
        Command::Tables { files } => {
            let mut records = Vec::new();
            for file in files {
                let opened = File::open(&file).with_context(|| format!("reading {}", file.display()))?;
                for line in lines(BufReader::new(opened)) {
                    if let Line::Record(record) = line.with_context(|| format!("in {}", file.display()))? {
                        records.push(*record);
                    }
                }
            }
            write!(out, "{}", tables::all(&records))?;
        }
        Command::Quotient { significant: wanted, digits, times, numbers } => {
            let numbers: Option<Vec<f64>> = numbers.iter().map(|number| number.parse().ok()).collect();
            let quotient = numbers.and_then(|numbers| {
                let (whole, parts) = numbers.split_last()?;
                numbers::quotient(parts, *whole)
            });
            if let Some(quotient) = quotient.map(|quotient| quotient * times) {
                match digits {
                    Some(digits) => write!(out, "{quotient:.digits$}")?,
                    None => write!(out, "{}", significant(quotient, wanted))?,
                }
            }
            writeln!(out)?;
        }
        Command::Seconds { from, to, less } => {
            if let (Ok(from), Ok(to)) = (from.parse::<f64>(), to.parse::<f64>()) {
                write!(out, "{:.2}", to - from - less)?;
            }
            writeln!(out)?;
        }
        Command::Metric { name, label } => {
            let mut sum = 0.0;
            for line in input.lines() {
                sum += sample(&line?, &name, &label).unwrap_or_default();
            }
            writeln!(out, "{sum}")?;
        }
        Command::Median { what, file } => {
            writeln!(out, "{}", significant(times::median_of(&times::load(&file)?, &what)?, 6))?;
        }
        Command::Ratio { over, under, file } => {
            let ratio = times::median_of_pairs(&times::load(&file)?, &over, &under, |one, other| one / other)?;
            writeln!(out, "{}", significant(ratio, 6))?;
        }
        Command::Difference { of, less, file } => {
            let difference = times::median_of_pairs(&times::load(&file)?, &of, &less, |one, other| one - other)?;
            writeln!(out, "{}", significant(difference, 6))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(yes: bool) -> ExitCode {
    ExitCode::from(u8::from(!yes))
}

/// Says why not.
fn none_of(reasons: &[String]) -> anyhow::Result<ExitCode> {
    for reason in reasons {
        writeln!(io::stdout(), "{reason}")?;
    }
    Ok(answer(reasons.is_empty()))
}

/// What clients said last. One that is just writing counts again the next time.
fn now(files: &[PathBuf]) -> Now {
    let mut sum = Now::default();
    for file in files {
        if let Some(Record::Now(now)) = fs::read(file).ok().and_then(|line| serde_json::from_slice(&line).ok()) {
            sum.asked += now.asked;
            sum.lost += now.lost;
            sum.keeping += now.keeping;
        }
    }
    sum
}

/// The value of a line of Prometheus's text format: NAME{LABELS} VALUE.
fn sample(line: &str, name: &str, label: &str) -> Option<f64> {
    let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' ')?;
    labels.contains(label).then(|| value.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric() {
        let line = "requests{code=\"0\",subresource=\"exec\",verb=\"CONNECT\"} 4";
        assert_eq!(sample(line, "requests", "subresource=\"exec\""), Some(4.0));
        assert_eq!(sample(line, "requests", "subresource=\"log\""), None);
        assert_eq!(sample(line, "request", "subresource=\"exec\""), None);
        assert_eq!(sample("# TYPE requests counter", "requests", ""), None);
    }

    #[test]
    fn clients_that_say_nothing_yet_count_nothing() {
        let missing = PathBuf::from("/nonexistent/now");
        assert_eq!(now(&[missing]), Now::default());
    }
}
