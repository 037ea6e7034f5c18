//! The phases of a run that happen on the nodes' hosts: prepare before the configuration is touched, clean what the roll
//! did not, drain at the end.

use futures::StreamExt as _;

use super::interrupt::Interrupt;
use crate::cluster::helper::work::{Cleaned, Cleaner};
use crate::cluster::helper::{AT_A_TIME, Helper};
use crate::cluster::report::remediation::{NodeResult, RemediationReport};
use crate::report::progress::Progress;
use crate::report::{Level, few};

/// What became of the nodes' preparation.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Nodes that are prepared now and were not before.
    pub now: Vec<String>,
    /// Why others are not.
    pub failed: Vec<String>,
}

/// Runs `node install` on these nodes.
pub async fn prepare(helper: &Helper, nodes: &[String], scheduler: &str, progress: &Progress) -> Prepared {
    let mut prepared = Prepared::default();
    if nodes.is_empty() {
        return prepared;
    }
    progress.event(&format!("preparing {} node(s): {}", nodes.len(), few(nodes)));
    for (node, answer) in helper.install(nodes, scheduler).await {
        match answer {
            Ok(done) if done.outcome.is_prepared() => {
                progress.event(&format!("{node}: {}", done.summary));
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

/// Cleans nodes that ran the wanted mode already.
pub async fn clean(cleaner: &Cleaner<'_>, nodes: &[String], report: &mut RemediationReport, progress: &Progress) {
    let work = nodes.iter().map(|node| async move { (node, cleaner.clean(node, None).await) });
    let all: Vec<_> = futures::stream::iter(work).buffer_unordered(AT_A_TIME).collect().await;
    for (node, done) in all {
        progress.event(&format!("{node}: {}", done.words()));
        if let Some(result) = report.nodes.iter_mut().find(|result| result.name == *node) {
            result.cleaned = Some(done);
        }
    }
}

/// Lets connections end on all nodes at once, and removes the virtual servers that carried them.
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
    progress.event(&format!(
        "{} node(s): virtual servers of ipvs go once their connections have ended, after {:?} at the latest",
        waiting.len(),
        cleaner.drain
    ));
    let work = waiting.into_iter().map(|(at, node, before)| async move {
        let after = cleaner.drain(&node, before).await;
        (at, node, after)
    });
    let mut all = futures::stream::iter(work).buffer_unordered(AT_A_TIME);
    loop {
        tokio::select! {
            // What is not drained by then, the next run finds.
            () = interrupt.asked() => return,
            next = all.next() => match next {
                None => return,
                Some((at, node, done)) => {
                    progress.event(&format!("{node}: {}", done.words()));
                    results[at].cleaned = Some(done);
                }
            },
        }
    }
}
