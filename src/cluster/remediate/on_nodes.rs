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
/// not serve without it, or of which that is not known.
pub async fn finish_bridged(
    cleaner: &Cleaner<'_>,
    nodes: &[String],
    report: &mut RemediationReport,
    progress: &Progress,
) -> Option<Failure> {
    clean(cleaner, nodes, report, progress).await;
    let mut results = report.nodes.iter_mut().filter(|result| nodes.contains(&result.name));
    let (result, timed_out) = results.find_map(|result| {
        let timed_out = unfinished(result.cleaned.as_ref()?)?;
        Some((result, timed_out))
    })?;
    result.outcome = NodeOutcome::Failed;
    result.detail = result.cleaned.as_ref().and_then(|cleaned| cleaned.detail.clone());
    let why = format!("{}: {}", result.name, result.detail.as_deref().unwrap_or_default());
    Some(Failure { why, timed_out })
}

/// Whether a bridge may still be what serves there, and if so, whether only the time ran out. An object that could not be removed
/// is not a reason.
fn unfinished(cleaned: &Cleaned) -> Option<bool> {
    match cleaned.outcome {
        CleanOutcome::NotServing => Some(false),
        CleanOutcome::NotSynced => Some(true),
        CleanOutcome::Failed | CleanOutcome::Refused if cleaned.running.is_none() => Some(true),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_a_node_with_its_bridge() {
        let cleaned = |outcome, running| Cleaned { outcome, running, ..Cleaned::impossible(String::new()) };
        let runs = Some(crate::mode::ProxyMode::Nftables);
        for (outcome, running, expected) in [
            (CleanOutcome::Cleaned, runs, None),
            (CleanOutcome::NothingToClean, runs, None),
            (CleanOutcome::Failed, runs, None),
            (CleanOutcome::Failed, None, Some(true)),
            (CleanOutcome::NotSynced, runs, Some(true)),
            (CleanOutcome::NotServing, runs, Some(false)),
        ] {
            assert_eq!(unfinished(&cleaned(outcome, running)), expected, "{outcome:?}");
        }
    }
}
