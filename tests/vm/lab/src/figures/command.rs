//! What `figures` can be asked.

use std::path::PathBuf;

use anyhow::Context as _;

use super::numbers::{Limit, rate, significant};
use crate::record::Goal;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// New connections a second
    Rate {
        #[command(flatten)]
        rate: Pace,
        /// Answer whether it is at least so high, and print nothing
        #[arg(long)]
        at_least: Option<f64>,
    },
    /// Whether nothing was lost at rest
    AtRest {
        #[command(flatten)]
        rate: Pace,
        run: PathBuf,
    },
    /// What this node's clock says, and how busy it was
    OfNode {
        #[arg(long)]
        node: String,
        /// /proc/stat as it was when the load began
        #[arg(long)]
        stat: PathBuf,
    },
    /// Copy records from stdin, with the times of one node's clock
    ByOneClock { node: String },
    /// Record which Services kube-proxy says have no endpoints, from rules and virtual servers on stdin
    Unserved {
        #[arg(long)]
        node: String,
        #[arg(long)]
        at: f64,
    },
    /// How far clients are: asked and lost
    Now { files: Vec<PathBuf> },
    /// One figure of runs, summed up; one that is "longest" is that of the run
    Value { name: String, runs: Vec<PathBuf> },
    /// All figures of a run, as JSON
    Summary { run: PathBuf },
    /// A run as people read it
    Show {
        name: String,
        run: PathBuf,
        /// How many failures
        #[arg(default_value_t = 6)]
        first: usize,
    },
    /// Whether no new connection was lost
    NothingLost {
        #[arg(long)]
        clients: u64,
        run: PathBuf,
    },
    /// Whether no long-lived connection was lost
    NothingKeptLost {
        #[arg(long)]
        clients: u64,
        /// How many each client has
        #[arg(long)]
        each: u64,
        run: PathBuf,
    },
    /// Whether no long-lived connection was lost before so many seconds after that time
    NothingKeptLostBefore { at: f64, seconds: f64, run: PathBuf },
    /// Whether every Service was answered, from every place
    AllAnswered { run: PathBuf },
    /// A run under load, for the tables
    Load {
        #[arg(long)]
        how: String,
        #[command(flatten)]
        rate: Pace,
        #[arg(long)]
        leftovers: u64,
        run: PathBuf,
    },
    /// A figure that has a goal, for the tables; whether it holds
    Goal(GoalArguments),
    /// The tables of what jobs printed
    Tables { files: Vec<PathBuf> },
    /// Parts, summed up, as a share of the last number; nothing where one is missing
    Quotient {
        #[arg(long, default_value_t = 6)]
        significant: i32,
        #[arg(long)]
        digits: Option<usize>,
        #[arg(long, default_value_t = 1.0)]
        times: f64,
        #[arg(num_args = 2..)]
        numbers: Vec<String>,
    },
    /// Seconds from one time to another, less some; nothing where one is missing
    Seconds {
        from: String,
        to: String,
        #[arg(default_value_t = 0.0)]
        less: f64,
    },
    /// Sum of the samples of a metric on stdin (Prometheus) that have a label
    Metric { name: String, label: String },
    /// Median of the milliseconds that a command took
    Median { what: String, file: PathBuf },
    /// Median of the ratios of what two commands took in the same round
    Ratio { over: String, under: String, file: PathBuf },
    /// Median of the differences, in milliseconds
    Difference { of: String, less: String, file: PathBuf },
}

#[derive(clap::Args)]
pub(crate) struct Pace {
    /// Milliseconds between two bursts of a client
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) every: u32,
    /// New connections in each burst
    #[arg(long)]
    pub(super) burst: u32,
    /// How many clients there are
    #[arg(long)]
    pub(super) clients: u32,
}

impl Pace {
    pub(super) fn all(&self) -> f64 {
        rate(self.every, self.burst, self.clients)
    }

    pub(super) fn text(&self) -> String {
        significant(self.all(), 3)
    }
}

#[derive(clap::Args)]
pub(crate) struct GoalArguments {
    #[arg(long)]
    figure: String,
    /// Like "<= 4" or ">= 5"
    #[arg(long)]
    goal: Limit,
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    unit: String,
    /// Empty where nothing was measured: missed
    #[arg(long, allow_hyphen_values = true)]
    measured: String,
    #[arg(long, default_value = "")]
    detail: String,
    /// Print what was measured with so many decimals
    #[arg(long)]
    digits: Option<usize>,
    /// Print a row of a table instead of a record
    #[arg(long)]
    pub(super) row: bool,
}

impl GoalArguments {
    pub(super) fn judged(&self) -> anyhow::Result<Goal> {
        let Self { figure, goal, unit, measured, detail, digits, .. } = self;
        let number: Option<f64> = match measured.as_str() {
            "" => None,
            text => Some(text.parse().with_context(|| format!("{figure}: measured {text}"))?),
        };
        let measured = match (number, digits) {
            (Some(number), Some(digits)) => format!("{number:.digits$}{unit}"),
            _ => format!("{measured}{unit}"),
        };
        Ok(Goal {
            figure: figure.clone(),
            limit: goal.text(unit),
            measured,
            holds: number.is_some_and(|number| goal.holds(number)),
            detail: detail.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(goal: &str, measured: &str, digits: Option<usize>) -> Goal {
        let arguments = GoalArguments {
            figure: "f".into(),
            goal: goal.parse().unwrap(),
            unit: " MiB".into(),
            measured: measured.into(),
            detail: String::new(),
            digits,
            row: false,
        };
        arguments.judged().unwrap()
    }

    #[test]
    fn goals_are_judged_by_what_was_measured() {
        assert!(goal("<= 8", "8", None).holds && !goal("<= 8", "8.001", Some(2)).holds);
        assert_eq!(goal("<= 8", "8.001", Some(2)).measured, "8.00 MiB");
        assert_eq!(goal("<= 8", "7.5", None).measured, "7.5 MiB");
        assert!(!goal("<= 8", "", None).holds, "nothing measured is missed");
        assert!(goal(">= 5", "6", None).holds && !goal(">= 5", "4", None).holds);
    }
}
