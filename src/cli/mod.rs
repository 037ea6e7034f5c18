//! The command line: one file per command, holding its arguments and its `run`.

use std::sync::LazyLock;

use clap::{Args, Parser, Subcommand};

use crate::exit_code::{self, Exit};
use crate::report::say::Log;
use deferred::Deferred;

mod capi;
mod checks;
mod cloud_init;
mod cluster_args;
mod collect;
mod completions;
mod deferred;
mod helper;
mod helper_setup;
mod ignition;
mod image;
mod kubeadm_config;
mod node;
mod node_modes;
mod node_root;
mod observed;
mod remediate;
mod report_file;
mod status;
mod terminal;

/// Prepare nodes and kubeadm clusters to run kube-proxy in IPVS mode
#[derive(Debug, Parser)]
#[command(name = "kpx-prep", version = version(), after_help = exit_code::HELP, max_term_width = 100)]
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
    /// Log to stderr; repeat for more detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 990)]
    verbose: u8,
    /// Disable colours (also: set `NO_COLOR`, or redirect the output)
    #[arg(long, global = true, display_order = 991)]
    no_color: bool,
}

/// What `--version` prints: with `-v` also the node programs. One line without it, for scripts.
fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let version = env!("CARGO_PKG_VERSION");
        if !std::env::args().any(|argument| argument == "-v" || argument == "--verbose") {
            return version.to_owned();
        }
        format!("{version}\nnode programs: {}", crate::cluster::helper::programs::describe())
    });
    &TEXT
}

impl GlobalArgs {
    /// Turns colours off on request, and with `-v` sends log lines to stderr.
    pub fn start_logging(&self) {
        if self.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let level = match self.verbose {
            // What every user must see is printed without the log.
            0 => return,
            1 => tracing::Level::INFO,
            2 => tracing::Level::DEBUG,
            _ => tracing::Level::TRACE,
        };
        tracing_subscriber::fmt()
            .with_writer(Log::default)
            .log_internal_errors(false)
            .with_max_level(level)
            .with_target(false)
            .without_time()
            .init();
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare this node for kube-proxy in IPVS mode: kernel modules now and at boot
    Node(Deferred<node::NodeArgs>),
    /// Write a kubeadm config with kube-proxy in IPVS mode
    KubeadmConfig(Deferred<kubeadm_config::KubeadmConfigArgs>),
    /// Render cloud-init user-data that prepares a node and then runs kubeadm
    CloudInit(Deferred<cloud_init::CloudInitArgs>),
    /// Render an Ignition config that prepares a node and then runs kubeadm
    Ignition(Deferred<ignition::IgnitionArgs>),
    /// Print what goes into Cluster API's objects to prepare machines and set kube-proxy's mode
    Capi(Deferred<capi::CapiArgs>),
    /// Show the mode each kube-proxy is actually running, and how it was verified
    Status(Deferred<status::StatusArgs>),
    /// Switch a running cluster's kube-proxy to IPVS, node by node; verifies each node and rolls back on
    /// failure
    Remediate(Deferred<remediate::RemediateArgs>),
    /// Collect what a support case needs into one archive; it only reads
    Collect(Deferred<collect::CollectArgs>),
    /// List all checks: what each means, and how to fix what it finds
    Checks(Deferred<checks::ChecksArgs>),
    /// Write the node helper's image as an OCI archive, which every container runtime can load
    Image(Deferred<image::ImageArgs>),
    /// Print a shell completion script
    Completions(Deferred<completions::CompletionsArgs>),
    /// Write a manual page for every command into a directory
    #[command(hide = true)]
    Man(Deferred<completions::ManArgs>),
}

/// Runs the command.
///
/// # Errors
/// If the command failed; [`Exit::of_error`] gives the exit status.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.command {
        Command::Node(args) => args.0.run(),
        Command::KubeadmConfig(args) => args.0.run(),
        Command::CloudInit(args) => args.0.run(),
        Command::Ignition(args) => args.0.run(),
        Command::Capi(args) => args.0.run(),
        Command::Status(args) => args.0.run(),
        Command::Remediate(args) => args.0.run(),
        Command::Collect(args) => args.0.run(),
        Command::Checks(args) => args.0.run(),
        Command::Image(args) => args.0.run(),
        Command::Completions(args) => args.0.run(),
        Command::Man(args) => args.0.run(),
    }
}
