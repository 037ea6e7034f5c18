//! Options of every command that starts the node helper, and its confirmation prompt.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::groups::NAME;
use crate::cluster::helper::manifest::{Image, Setup, Source};
use crate::cluster::helper::programs::{self, NodeProgram};
use crate::exit_code::Refusal;
use crate::report::say::say_part;

#[derive(Debug, Args)]
pub(super) struct HelperSetup {
    /// Run the node helper from this image, which has kpx-prep in it (see kpx-prep image) [default: kube-proxy's image, with
    /// the program from a ConfigMap]
    #[arg(long, value_name = "NAME:TAG", help_heading = "Node helper")]
    node_image: Option<String>,
    /// Use this kpx-prep-node instead of the one that kpx-prep carries; once for each architecture
    #[arg(long, value_name = "FILE", env = "KPX_PREP_NODE_PROGRAM", help_heading = "Node helper")]
    node_program: Vec<PathBuf>,
    /// Run the node helper as a privileged container if its capabilities do not suffice (see SECURITY.md)
    #[arg(long, help_heading = "Node helper")]
    privileged_helper: bool,
}

impl HelperSetup {
    /// # Errors
    /// If a file of `--node-program` cannot be used.
    pub(super) fn setup(&self) -> anyhow::Result<Setup> {
        let mut programs = if self.node_image.is_some() { Vec::new() } else { programs::carried() };
        for file in self.node_program.iter().filter(|_| self.node_image.is_none()) {
            let program = NodeProgram::from_file(file)?;
            programs.retain(|other| other.architecture != program.architecture);
            programs.push(program);
        }
        let source = if programs.is_empty() {
            Source::Image(Image::new(self.node_image.as_deref()))
        } else {
            Source::Programs(programs)
        };
        Ok(Setup { source, privileged: self.privileged_helper })
    }
}

/// Checks that confirmation is possible or not needed.
///
/// # Errors
/// Wrong usage: neither `--yes` nor a terminal.
pub(super) fn can_confirm(yes: bool) -> anyhow::Result<()> {
    if yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Refusal::usage(
        "stdin is not a terminal, so confirmation is not possible; nothing was changed. Review the plan with --dry-run, then add --yes",
    ))
}

/// The confirmation prompt: where the helper runs and what it may do.
pub(super) fn question(setup: &Setup, cluster: &Connection, nodes: usize) -> String {
    let rights = if setup.privileged {
        "  privileged  root with all capabilities on the node\n".to_owned()
    } else {
        let lines = setup.capabilities().iter().map(|(name, what)| format!("  {name:<11} {what}\n"));
        format!("{}  files       read and write the node's files as root\n", lines.collect::<String>())
    };
    format!(
        "The node helper (DaemonSet {NAME}, {}) will run as root on {nodes} node(s) of {}, in the host network, with these rights:\n{rights}It is removed when this command ends.\nStart the node helper? [y/N] ",
        setup.describe(),
        cluster.place(),
    )
}

/// Prompts on the terminal; returns true at once if `yes`.
///
/// # Errors
/// If there is no terminal, or it cannot be read.
pub(super) async fn ask(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    can_confirm(yes)?;
    let answer = answer(question).await?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Prompts on the terminal and reads a line.
///
/// # Errors
/// If it cannot be read.
pub(super) async fn answer(question: &str) -> anyhow::Result<String> {
    say_part(question);
    // On a separate thread, so that the run can be interrupted while it waits for input.
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    Ok(answer.await??)
}
