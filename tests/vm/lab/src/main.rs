//! `kpx-lab`, what the tests on real kernels count with: one static program, in every guest and on the host.
//!
//! `load` makes connections and writes what became of each; `figures` makes the reports of that; `leftovers` stands in for
//! others' programs; `clock` measures a command. Between them go lines of JSON, see [`record`].

mod clock;
mod figures;
mod leftovers;
mod lines;
mod load;
mod record;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "kpx-lab", about = "What the tests of kpx-prep on real kernels count with")]
enum Command {
    /// Open new connections at a steady rate, and keep some open, until SIGTERM
    Load(load::Arguments),
    /// Compute figures from what was recorded
    #[command(subcommand)]
    Figures(figures::Command),
    /// Stand in for another program
    #[command(subcommand)]
    Leftovers(leftovers::Command),
    /// Run a command and print how long it took
    Clock(clock::Arguments),
}

fn main() -> ExitCode {
    let result = match Command::parse_from(arguments(std::env::args_os().collect())) {
        Command::Load(arguments) => load::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Figures(command) => figures::run(command),
        Command::Leftovers(command) => leftovers::run(&command).map(|()| ExitCode::SUCCESS),
        Command::Clock(arguments) => clock::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("kpx-lab: {error:#}");
        // 1 is an answer: "no".
        ExitCode::from(2)
    })
}

/// A stand-in is called by the name of what it stands in for: it is the name of the process that is looked at.
fn arguments(given: Vec<OsString>) -> Vec<OsString> {
    let called = given.first().and_then(|program| Path::new(program).file_name()).unwrap_or_default();
    if !leftovers::NAMES.iter().any(|name| called == *name) {
        return given;
    }
    let mut arguments = vec!["kpx-lab".into(), "leftovers".into(), called.to_owned()];
    arguments.extend(given.into_iter().skip(1));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_called_by_its_name() {
        let given = |words: &str| words.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(arguments(given("/job/kube-proxy 10249 /tmp")), given("kpx-lab leftovers kube-proxy 10249 /tmp"));
        assert_eq!(arguments(given("/job/kpx-lab clock true")), given("/job/kpx-lab clock true"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Command::command().debug_assert();
    }
}
