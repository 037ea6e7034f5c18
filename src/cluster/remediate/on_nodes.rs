//! The phases of a run on the nodes' hosts: prepare before the configuration is changed, clean nodes that are already up to
//! date, drain at the end.

use futures::StreamExt as _;

use super::interrupt::Interrupt;
use super::roll_end::Failure;
use crate::cluster::api::streams::AT_A_TIME;
use crate::cluster::helper::Helper;
use crate::cluster::helper::work::{Cleaned, Cleaner};
use crate::cluster::report::remediation::{NodeOutcome, NodeResult, RemediationReport};
use crate::node_protocol::CleanOutcome;
use crate::report::event::{Event, What};
use crate::report::progress::Progress;
use crate::report::{Level, few};

/// The result of preparing the nodes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Newly prepared nodes.
    pub now: Vec<String>,
    /// Why others could not be prepared.
    pub failed: Vec<String>,
}

/// Runs `node install` on these nodes.
pub async fn prepare(helper: &Helper, nodes: &[String], scheduler: &str, progress: &Progress) -> Prepared {
    let mut prepared = Prepared::default();
    if nodes.is_empty() {
        return prepared;
    }
    let text = format!("preparing {} node(s): {}", nodes.len(), few(nodes));
    progress.tell(&Event { total: Some(nodes.len()), ..Event::new(What::Preparing, &text) });
    for (node, answer) in helper.install(nodes, scheduler).await {
        match answer {
            Ok(done) if done.outcome.is_prepared() => {
                progress.node(What::Prepared, &node, &done.summary);
                prepared.now.push(node);
            }
            Ok(done) => {
                let errors = done.findings.iter().filter(|note| note.level == Level::Error);
                let why = errors.map(|note| note.message.clone()).collect::<Vec<_>>().join("; ");
                prepared.failed.push(format!("{node}: {}", if why.is_empty() { done.summary } else { why }));
            }
            Err(why) => prepared.failed.push(format!("{node}: {why}")),
        }
    }
    prepared
}

/// Finishes nodes that a killed run switched and left with a bridge, before another one is begun. Returns the first that does
/// not serve without it.
pub async fn finish_bridged(
    cleaner: &Cleaner<'_>,
    nodes: &[String],
    report: &mut RemediationReport,
    progress: &Progress,
) -> Option<Failure> {
    clean(cleaner, nodes, report, progress).await;
    let failed = report.nodes.iter().find(|result| result.outcome == NodeOutcome::Failed)?;
    let why = format!("{}: {}", failed.name, failed.detail.as_deref().unwrap_or_default());
    Some(Failure { why, timed_out: false })
}

/// Cleans nodes that were already up to date.
pub async fn clean(cleaner: &Cleaner<'_>, nodes: &[String], report: &mut RemediationReport, progress: &Progress) {
    let work = nodes.iter().map(|node| async move { (node, cleaner.clean(node, None).await) });
    let all: Vec<_> = futures::stream::iter(work).buffer_unordered(AT_A_TIME).collect().await;
    for (node, done) in all {
        progress.node(What::Cleaned, node, &done.words());
        if let Some(result) = report.nodes.iter_mut().find(|result| result.name == *node) {
            // A run that was killed may have switched it to a mode that does not serve.
            if done.outcome == CleanOutcome::NotServing {
                result.outcome = NodeOutcome::Failed;
                result.detail.clone_from(&done.detail);
            }
            result.cleaned = Some(done);
        }
    }
}

/// Drains connections on all nodes in parallel, and removes their virtual servers.
pub async fn drain(cleaner: &Cleaner<'_>, results: &mut [NodeResult], interrupt: &Interrupt, progress: &Progress) {
    let waiting: Vec<(usize, String, Cleaned)> = results
        .iter()
        .enumerate()
        .filter_map(|(at, result)| {
            Some((at, result.name.clone(), result.cleaned.clone().filter(|cleaned| cleaned.to_drain)?))
        })
        .collect();
    if waiting.is_empty() {
        return;
    }
    let text = format!(
        "{} node(s): draining IPVS connections for up to {:?} before removing virtual servers",
        waiting.len(),
        cleaner.drain
    );
    progress.tell(&Event { total: Some(waiting.len()), ..Event::new(What::Draining, &text) });
    let work = waiting.into_iter().map(|(at, node, before)| async move {
        let after = cleaner.drain(&node, before).await;
        (at, node, after)
    });
    let mut all = futures::stream::iter(work).buffer_unordered(AT_A_TIME);
    loop {
        tokio::select! {
            // What is not drained is found by the next run.
            () = interrupt.asked() => return,
            next = all.next() => match next {
                None => return,
                Some((at, node, done)) => {
                    progress.node(What::Drained, &node, &done.words());
                    results[at].cleaned = Some(done);
                }
            },
        }
    }
}
