//! The state of a cluster as a page for a change ticket.

use super::status::StatusReport;
use super::status_nodes::rows;
use crate::exit_code::Exit;
use crate::page::{Block, Page, Tone};

impl StatusReport {
    /// The page: what is configured, what runs, and what was found.
    pub fn page(&self) -> Page {
        let head = self.head();
        let lines = head.lines().filter_map(|line| line.split_once(' '));
        let facts = lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        let mut blocks = vec![Block::Facts(facts)];
        if !self.nodes.is_empty() {
            let (head, rows) = rows(&self.nodes, true);
            let head = head.into_iter().map(ToOwned::to_owned).collect();
            blocks.push(Block::Heading("Nodes".to_owned()));
            blocks.push(Block::Table(head, rows));
        }
        if !self.findings.is_empty() {
            blocks.push(Block::Heading("Findings".to_owned()));
            blocks.push(Block::Findings(self.findings.clone()));
        }
        let backups = self.backup_rows();
        if !backups.is_empty() {
            blocks.push(Block::Heading("Backups".to_owned()));
            blocks.push(Block::Text("Restore one with: kpx-prep remediate --rollback --to NAME".to_owned()));
            blocks.push(Block::Table(vec!["Name".to_owned(), "Replaced".to_owned()], backups));
        }
        let tone = if self.exit() == Exit::Done { Tone::Good } else { Tone::Bad };
        Page { title: "kpx-prep status".to_owned(), headline: self.summary().trim_end().to_owned(), tone, blocks }
    }
}
