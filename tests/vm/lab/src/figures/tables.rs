//! The tables of a laboratory's runs, in Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::run::Run;
use super::shown;
use crate::record::{Goal, Load, Record, Service};

/// What a run under load is in the tables.
pub(crate) fn load(how: &str, rate: String, leftovers: u64, run: &Run) -> anyhow::Result<Load> {
    let totals = run.totals();
    let took = run.took.as_ref().ok_or_else(|| anyhow::anyhow!("no record of when it was done"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the seconds of a test")]
    let seconds = (took.to - took.from).max(0.0).round() as u64;
    let services = shown::by_service(run).into_iter().map(|((name, place), new)| Service {
        name,
        place,
        asked: new.ok + new.lost(),
        lost: new.lost(),
    });
    Ok(Load {
        how: how.to_owned(),
        rate,
        asked: totals.asked,
        lost: totals.lost,
        unserved: totals.value("lost-to/unserved")?,
        hanging: totals.hanging,
        slow: totals.slow,
        kept: totals.kept,
        kept_lost: totals.kept_lost,
        leftovers,
        seconds,
        services: services.collect(),
    })
}

/// The row of a goal.
pub(crate) fn row(goal: &Goal) -> String {
    let Goal { figure, limit, measured, holds, detail } = goal;
    format!("| {figure} | {limit} | {measured} | {} | {detail} |\n", if *holds { "holds" } else { "missed" })
}

/// Goals first, then runs, then the Services of each run beside each other. Nothing where there is none.
pub(crate) fn all(records: &[Record]) -> String {
    let mut goals = String::new();
    let mut loads = Vec::new();
    for record in records {
        match record {
            Record::Goal(goal) => goals += &row(goal),
            Record::Load(load) => loads.push(load),
            _ => {}
        }
    }
    let mut tables = Vec::new();
    if !goals.is_empty() {
        tables.push(format!("| | goal | measured | | |\n|---|---|---|---|---|\n{goals}"));
    }
    if !loads.is_empty() {
        tables.push(runs(&loads));
        tables.push(services(&loads));
    }
    tables.join("\n")
}

fn runs(loads: &[&Load]) -> String {
    let mut table = "| | a second | new connections | lost | of these while kube-proxy had not heard of the endpoints | hanging | slow | long-lived | lost | leftovers | seconds |\n|---|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    for load in loads {
        let Load { how, rate, asked, lost, unserved, hanging, slow, kept, kept_lost, leftovers, seconds, .. } = load;
        let _ = writeln!(
            table,
            "| {how} | {rate} | {asked} | {lost} | {unserved} | {hanging} | {slow} | {kept} | {kept_lost} | {leftovers} | {seconds} |"
        );
    }
    table
}

fn services(loads: &[&Load]) -> String {
    let mut columns: Vec<String> = Vec::new();
    let mut rows: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for load in loads {
        let title = format!("{}, {} a second", load.how, load.rate);
        let column = columns.iter().position(|known| *known == title).unwrap_or_else(|| {
            columns.push(title);
            columns.len() - 1
        });
        for Service { name, place, asked, lost } in &load.services {
            let place = match place.as_str() {
                "pod" => "a pod",
                "host" => "the host",
                place => place,
            };
            let row = rows.entry(format!("{name}, from {place}")).or_default();
            row.insert(column, format!("{lost} of {asked}"));
        }
    }
    let mut table =
        format!("| lost, by Service and place | {} |\n|---|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for (key, cells) in rows {
        let _ = write!(table, "| {key} |");
        for column in 0..columns.len() {
            let _ = write!(table, " {} |", cells.get(&column).map_or("", String::as_str));
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{New, Summary, Took};

    fn recorded(how: &str, services: &[(&str, &str, u64, u64)]) -> Record {
        let services = services.iter().map(|(name, place, asked, lost)| Service {
            name: (*name).into(),
            place: (*place).into(),
            asked: *asked,
            lost: *lost,
        });
        Record::Load(Load {
            how: how.into(),
            rate: "300".into(),
            asked: 6000,
            lost: 5,
            unserved: 1,
            hanging: 2,
            slow: 3,
            kept: 54,
            kept_lost: 4,
            leftovers: 7,
            seconds: 62,
            services: services.collect(),
        })
    }

    #[test]
    fn the_tables() {
        let goal = Goal {
            figure: "exec calls".into(),
            limit: "≤ 4".into(),
            measured: "2".into(),
            holds: true,
            detail: "counted".into(),
        };
        // A goal that is known last still comes first.
        let records = [
            recorded("in", &[("b", "pod", 100, 0), ("a", "outside", 50, 5)]),
            recorded("out", &[("b", "host", 10, 1), ("b", "pod", 90, 2)]),
            Record::Goal(goal),
        ];
        assert_eq!(
            all(&records),
            "\
| | goal | measured | | |
|---|---|---|---|---|
| exec calls | ≤ 4 | 2 | holds | counted |

| | a second | new connections | lost | of these while kube-proxy had not heard of the endpoints | hanging | slow | long-lived | lost | leftovers | seconds |
|---|---|---|---|---|---|---|---|---|---|---|
| in | 300 | 6000 | 5 | 1 | 2 | 3 | 54 | 4 | 7 | 62 |
| out | 300 | 6000 | 5 | 1 | 2 | 3 | 54 | 4 | 7 | 62 |

| lost, by Service and place | in, 300 a second | out, 300 a second |
|---|---|---|
| a, from outside | 5 of 50 |  |
| b, from a pod | 0 of 100 | 2 of 90 |
| b, from the host |  | 1 of 10 |
"
        );
        assert_eq!(all(&[]), "");
    }

    #[test]
    fn a_run_for_the_tables() {
        let mut run = Run::default();
        assert!(load("in", "300".into(), 0, &run).is_err(), "when it was done is not known");
        run.took = Some(Took { from: 10.2, to: 71.9 });
        run.places.push(Summary { asked: 100, ..Summary::default() });
        for node in ["node-1", "node-2"] {
            let (node, place, service) = (node.into(), "pod".into(), "a".into());
            run.new.push(New { node, place, service, ok: 49, hanging: 1, ..New::default() });
        }
        let load = load("in", "300".into(), 3, &run).unwrap();
        assert_eq!((load.seconds, load.lost, load.leftovers), (62, 2, 3));
        assert_eq!(load.services, [Service { name: "a".into(), place: "pod".into(), asked: 100, lost: 2 }]);
    }
}
