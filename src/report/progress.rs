//! Progress on stderr: a bar on a terminal, one line per event in a log.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use super::say::say;

/// The progress of a rollout.
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For this many nodes; a bar only on a terminal.
    pub fn new(nodes: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} nodes  {elapsed}  {msg}");
            ProgressBar::new(nodes as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar }
    }

    /// Prints an event.
    pub fn event(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    /// Counts a finished node.
    pub fn node_done(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Ends the progress display.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
