//! `kpx-prep`: parse, start logging, run, exit with a named status.

use clap::Parser;
use kpx_prep::bounded;
use kpx_prep::cli::{Cli, run};
use kpx_prep::exit_code::Exit;
use kpx_prep::report::say::say_error;

/// musl's malloc is slow under many small allocations.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> std::process::ExitCode {
    kpx_prep::kubeadm::secret::hide();
    bounded::survive_large_files();
    let cli = Cli::parse();
    cli.global.start_logging();
    let exit = match run(cli) {
        Ok(exit) => exit,
        Err(error) => {
            say_error(&format!("{error:#}"));
            Exit::of_error(&error)
        }
    };
    exit.into()
}
