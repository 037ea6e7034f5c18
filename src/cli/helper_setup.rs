//! Options of every command that starts the node helper, and the question before it does.

use std::io::{BufRead as _, IsTerminal as _};

use clap::Args;

use crate::cluster::api::connection::client::Connection;
use crate::cluster::helper::manifest::{CAPABILITIES, Image, NAME, Setup};
use crate::exit_code::Refusal;
use crate::report::say::say_part;

#[derive(Debug, Args)]
pub(super) struct HelperSetup {
    /// The node helper's image [default: the one that kpx-prep image makes]
    #[arg(long, value_name = "NAME:TAG", help_heading = "Nodes")]
    node_image: Option<String>,
    /// Run the node helper privileged, where its capabilities do not suffice (see SECURITY.md)
    #[arg(long, help_heading = "Nodes")]
    privileged_helper: bool,
}

impl HelperSetup {
    pub(super) fn setup(&self) -> Setup {
        Setup { image: Image::new(self.node_image.as_deref()), privileged: self.privileged_helper }
    }
}

/// That there is someone to ask, or nothing to ask.
///
/// # Errors
/// Wrong usage: neither `--yes` nor a terminal.
pub(super) fn can_confirm(yes: bool) -> anyhow::Result<()> {
    if yes || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Refusal::usage(
        "there is no terminal to ask for confirmation on: review kpx-prep remediate --dry-run, then add --yes; nothing was changed",
    ))
}

/// What the helper may do, and where, with the question whether it may be started.
pub(super) fn question(setup: &Setup, cluster: &Connection, nodes: usize) -> String {
    let rights = if setup.privileged {
        "  privileged: as root with every right on the node\n".to_owned()
    } else {
        let lines = CAPABILITIES.iter().map(|(name, what)| format!("  {name:<11} {what}\n"));
        format!("{}and reads and writes the node's files as root.\n", lines.collect::<String>())
    };
    format!(
        "The node helper (DaemonSet {NAME}, image {}) will run as root on {nodes} node(s) of {}, in the host's network. It may:\n{rights}It is removed when this command ends.\nStart the node helper? [y/N] ",
        setup.image.reference,
        cluster.place(),
    )
}

/// Asks on the terminal; yes if `yes`.
///
/// # Errors
/// If nobody can be asked.
pub(super) async fn ask(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    can_confirm(yes)?;
    say_part(question);
    // On a thread of its own, which may wait without end: the run can be interrupted while it does.
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await??;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
