//! Whether a run under load is what a test asks for, and why not.

use std::collections::{BTreeMap, BTreeSet};

use super::causes::Cause;
use super::numbers::significant;
use super::run::{Run, Totals};

/// Services that need not be answered by both backends: they have one, or choose one for each client or node.
const ONE_BACKEND: [&str; 5] = ["kubernetes", "headless", "affinity", "local", "foreign"];
/// Fewer targets than this, over all clients, are not the lab's.
const TARGETS: usize = 40;

/// Whether nothing was lost at rest, which is what a machine is calibrated by; and the words for it.
pub(crate) fn at_rest(run: &Run, rate: f64, of_place: f64, clients: u64) -> (bool, String) {
    let totals = run.totals();
    let Totals { asked, lost, kept, kept_lost, places, .. } = totals;
    let (all, each) = (significant(rate, 3), significant(of_place, 3));
    let heard = places == clients && asked > 0;
    let from = format!("{all} new connections a second, {each} from each place");
    if heard && lost - totals.lost_to[&Cause::Unserved].min(lost) + kept_lost == 0 {
        return (true, format!("# calibrated: {from}: nothing lost at rest for 20 s ({asked} connections)\n"));
    }
    let heard =
        if heard { String::new() } else { format!("; {places} of {clients} clients said what became of theirs") };
    let lost = format!("{lost} of {asked} lost, and {kept_lost} of {kept} long-lived ones{heard}");
    (false, format!("# {from}, are too many for this machine at rest: {lost}\n"))
}

/// What keeps a run from being one in which no new connection was lost; empty if nothing does. What kube-proxy itself
/// rejects, as it had not heard of the endpoints, is not counted.
pub(crate) fn new_lost(run: &Run, clients: u64) -> Vec<String> {
    let totals = run.totals();
    let mut why = Vec::new();
    if totals.places != clients {
        why.push(format!("{} of {clients} clients said what became of theirs", totals.places));
    }
    if totals.asked <= 100 {
        why.push(format!("only {} connections", totals.asked));
    }
    // Counted by the clients, not by what could be written of each.
    let lost = totals.lost.saturating_sub(totals.lost_to[&Cause::Unserved]);
    if lost > 0 {
        why.push(format!("{lost} new connections were lost"));
    }
    why
}

/// The same of long-lived ones, of which each client is to have so many.
pub(crate) fn kept_lost(run: &Run, clients: u64, each: u64) -> Vec<String> {
    let totals = run.totals();
    let mut why: Vec<_> = run.lost.iter().filter(|lost| lost.kept).take(10).map(ToString::to_string).collect();
    if totals.kept < clients * each {
        why.push(format!("{} long-lived connections, not {}", totals.kept, clients * each));
    }
    if totals.kept_lost > 0 {
        why.push(format!("{} long-lived connections were lost", totals.kept_lost));
    }
    why
}

/// Long-lived connections that were lost before that time.
pub(crate) fn kept_lost_before(run: &Run, until: f64) -> Vec<String> {
    let lost = run.lost.iter().filter(|lost| lost.kept && lost.at < until);
    lost.map(|lost| format!("lost at {:.3} s, before {until:.2} s", lost.at)).collect()
}

/// What keeps a run from proving something of every Service from every place; empty if nothing does. (Both backends of it
/// from some place: clients that ask in step with each other get the same one each time of a round robin.)
pub(crate) fn not_answered(run: &Run) -> Vec<String> {
    let mut why = Vec::new();
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for new in &run.new {
        if new.ok < 1 {
            let never = if new.deny { "asked" } else { "answered" };
            why.push(format!("never {never}: {}/{} {}", new.node, new.place, new.service));
        }
        if !new.deny {
            let most = most.entry(&new.service).or_default();
            *most = new.backends.max(*most);
        }
    }
    let alone: BTreeSet<_> = most.iter().filter(|(_, backends)| **backends < 2).map(|(name, _)| *name).collect();
    let of_one = |name: &str| ONE_BACKEND.iter().any(|one| name.contains(one));
    why.extend(alone.iter().filter(|name| !of_one(name)).map(|name| format!("{name}: answered by one backend only")));
    if run.new.len() < TARGETS {
        why.push(format!("only {} targets", run.new.len()));
    }
    why
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::six;
    use super::*;
    use crate::record::{Lost, New, Unserved};

    #[test]
    fn at_rest_nothing_is_lost() {
        let (still, said) = at_rest(&six(1000, 0, 0), 300.0, 50.0, 6);
        assert!(still);
        assert_eq!(
            said,
            "# calibrated: 300 new connections a second, 50 from each place: nothing lost at rest for 20 s (6000 connections)\n"
        );
        let (still, said) = at_rest(&six(1000, 3, 0), 300.0, 50.0, 6);
        assert!(!still);
        assert_eq!(
            said,
            "# 300 new connections a second, 50 from each place, are too many for this machine at rest: 18 of 6000 lost, and 0 of 54 long-lived ones\n"
        );
        assert!(!at_rest(&six(1000, 0, 1), 300.0, 50.0, 6).0, "long-lived connections that break count as well");
        let mut run = six(1000, 0, 0);
        run.places.pop();
        assert!(!at_rest(&run, 300.0, 50.0, 6).0, "a place that did not answer is no rest");
        assert!(!at_rest(&Run::default(), 300.0, 50.0, 0).0, "nothing asked is no rest");
    }

    #[test]
    fn what_kube_proxy_itself_rejects_is_no_matter_of_the_rate() {
        let mut run = six(1000, 3, 0);
        for node in ["node-1", "node-2"].map(String::from) {
            run.unserved.push(Unserved { at: 10.0, node, service: "cluster-ip".into() });
        }
        assert!(at_rest(&run, 300.0, 50.0, 6).0);
        assert!(new_lost(&run, 6).is_empty());
        // What one of them does not explain is lost.
        run.unserved.truncate(1);
        assert_eq!(new_lost(&run, 6), ["9 new connections were lost"]);
    }

    #[test]
    fn too_little_proves_nothing() {
        assert_eq!(new_lost(&six(10, 0, 0), 6), ["only 60 connections"]);
        assert_eq!(new_lost(&six(1000, 0, 0), 7), ["6 of 7 clients said what became of theirs"]);
        assert_eq!(kept_lost(&six(1000, 0, 0), 6, 10), ["54 long-lived connections, not 60"]);
        assert_eq!(kept_lost(&six(1000, 0, 1), 6, 9), ["6 long-lived connections were lost"]);
    }

    #[test]
    fn long_lived_ones_until_the_end_of_the_drain() {
        let mut run = six(1000, 1, 0);
        run.lost[0].kept = true;
        run.lost[1] = Lost { kept: true, at: 60.0, ..run.lost[1].clone() };
        assert_eq!(kept_lost_before(&run, 50.0), ["lost at 10.000 s, before 50.00 s"]);
        assert!(kept_lost_before(&run, 10.0).is_empty());
    }

    #[test]
    fn every_service_from_every_place() {
        let mut run = six(1000, 0, 0);
        assert_eq!(not_answered(&run), ["only 6 targets"]);
        run.new = run.new.iter().cycle().take(60).cloned().collect();
        assert!(not_answered(&run).is_empty());
        run.new[7].ok = 0;
        run.new[8] = New { ok: 0, deny: true, service: "ranges-denied".into(), ..run.new[8].clone() };
        for (index, service) in ["headless", "affinity", "local-balancer", "external"].iter().enumerate() {
            run.new[index] = New { service: (*service).into(), backends: 1, ..run.new[index].clone() };
        }
        assert_eq!(
            not_answered(&run),
            [
                "never answered: node-1/host cluster-ip",
                "never asked: node-1/outside ranges-denied",
                "external: answered by one backend only"
            ]
        );
    }
}
