//! The command line: one file per command, holding its arguments and its `run`.

use clap::{Args, Parser, Subcommand};

use crate::exit_code::{self, Exit};

mod cloud_init;
mod completions;
mod kubeadm_config;
mod node;

/// Prepares nodes and kubeadm clusters to run kube-proxy in IPVS mode.
#[derive(Debug, Parser)]
#[command(name = "kpx-prep", version, after_help = exit_code::HELP, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Say more on stderr; repeat for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// No colours (also: `NO_COLOR`, or output that is not a terminal)
    #[arg(long, global = true)]
    no_color: bool,
}

impl GlobalArgs {
    /// Sends log lines to stderr at the level that `-v` asks for, and settles the use of colour.
    pub fn start_logging(&self) {
        if self.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let level = match self.verbose {
            0 => tracing::Level::WARN,
            1 => tracing::Level::INFO,
            2 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        };
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(level)
            .with_target(false)
            .without_time()
            .init();
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Node(node::NodeArgs),
    KubeadmConfig(Box<kubeadm_config::KubeadmConfigArgs>),
    CloudInit(Box<cloud_init::CloudInitArgs>),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(completions::ManArgs),
}

/// Runs the command that was asked for.
///
/// # Errors
/// Whatever the command could not do; [`Exit::of_error`] gives the status.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Node(args) => args.run(),
        Command::KubeadmConfig(args) => args.run(),
        Command::CloudInit(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}
