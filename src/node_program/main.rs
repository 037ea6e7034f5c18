//! `kpx-prep-node`: the node commands and nothing else, for the node helper. Its command line is a protocol: the options of
//! `kpx-prep node`, and a report that is always JSON.

mod arguments;

use kpx_prep::bounded;
use kpx_prep::exit_code::Exit;
use kpx_prep::node::command::{NodeAnswer, wait_for_the_end};
use kpx_prep::node::driven;
use kpx_prep::report::say::say_error;
use kpx_prep::report::{Format, print, serialize};

use arguments::{Arguments, Work};

/// musl's malloc is slow under many small allocations.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    bounded::survive_large_files();
    let exit = match run() {
        Ok(exit) => exit,
        Err(error) => {
            say_error(&format!("{error:#}"));
            Exit::of_error(&error)
        }
    };
    exit.into()
}

fn run() -> anyhow::Result<Exit> {
    let arguments = Arguments::read(lexopt::Parser::from_env())?;
    if let Some((heartbeat, lease)) = arguments.driven {
        driven::start(heartbeat, lease)?;
    }
    match arguments.work {
        Work::Version => print(concat!("kpx-prep-node ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| Exit::Done),
        Work::Command(command) => {
            let (answer, exit) = command.run(&arguments.root)?;
            tell(&answer)?;
            if arguments.driven.is_some() {
                driven::linger();
            }
            Ok(exit)
        }
        Work::Helper(prepare) => {
            // `remediate` detects the unprepared node and reports it; restarting the container would not help.
            let prepared = prepare.map(|command| command.run(&arguments.root));
            match prepared {
                Some(Ok((answer, _))) => tell(&answer)?,
                Some(Err(error)) => say_error(&format!("{error:#}")),
                None => {}
            }
            wait_for_the_end()
        }
    }
}

fn tell(answer: &NodeAnswer) -> anyhow::Result<()> {
    print(&serialize(answer, Format::Json)?)
}
