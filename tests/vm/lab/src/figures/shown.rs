//! A run under load as people read it. Each line is a diagnostic of TAP.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::causes::Cause;
use super::run::{Run, Totals};
use crate::record::New;

/// A line in all, one per Service and kind of place where something was lost, and the first failures.
pub(crate) fn run(name: &str, run: &Run, first: usize) -> String {
    let totals = run.totals();
    let mut out = String::new();
    if totals.lost > 0 {
        let seen = run.unserved.iter().take(12).map(|seen| format!("{} {:.2} {}", seen.node, seen.at, seen.service));
        let _ = writeln!(
            out,
            "# {name}: of the lost {} while kube-proxy said that the Service has no endpoints ({}); {} while this machine did not run the nodes; {} went straight to a pod; {} others",
            totals.lost_to[&Cause::Unserved],
            seen.collect::<Vec<_>>().join(","),
            totals.lost_to[&Cause::Still],
            totals.lost_to[&Cause::Direct],
            totals.lost_to[&Cause::Switch],
        );
    }
    let busy = run.busy.iter().map(|busy| format!("{} {} %", busy.node, busy.percent)).collect::<Vec<_>>().join(",");
    let Totals { asked, lost, hanging, slow, longest_ms, kept, kept_lost, longest_pause_ms, .. } = totals;
    let _ = writeln!(
        out,
        "# {name}: {asked} new connections, {lost} lost ({hanging} of them hanging), {slow} slow, longest {longest_ms} ms; {kept} kept, {kept_lost} of them lost; busy: {busy}; the clients did not run for up to {longest_pause_ms} ms",
    );
    for said in &run.said {
        let _ = writeln!(out, "# {said}");
    }
    let straight: u64 = run.new.iter().filter(|new| new.direct).map(New::lost).sum();
    if straight > 0 {
        let _ = writeln!(
            out,
            "# {name}: {straight} of the lost went straight to a pod, past every rule of kube-proxy: the machine stood still; this says nothing about the switch, run it again",
        );
    }
    for ((service, place), new) in by_service(run).iter().filter(|(_, new)| new.lost() > 0) {
        let New { refused, reset, hanging, other, leaked, .. } = new;
        let _ = writeln!(
            out,
            "#   {service} from {place}: {} of {} lost: {refused} refused, {reset} reset, {hanging} hanging, {other} other, {leaked} leaked",
            new.lost(),
            new.ok + new.lost(),
        );
    }
    let mut lost: Vec<_> = run.lost.iter().collect();
    lost.sort_by(|one, other| one.at.total_cmp(&other.at));
    for lost in lost.iter().take(first) {
        let _ = writeln!(out, "#     {lost}");
    }
    out
}

/// New connections, by Service and kind of place.
pub(crate) fn by_service(run: &Run) -> BTreeMap<(String, String), New> {
    let mut sums: BTreeMap<_, New> = BTreeMap::new();
    for new in &run.new {
        let sum = sums.entry((new.service.clone(), new.place.clone())).or_default();
        sum.ok += new.ok;
        sum.refused += new.refused;
        sum.reset += new.reset;
        sum.hanging += new.hanging;
        sum.other += new.other;
        sum.leaked += new.leaked;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::six;
    use crate::record::Unserved;

    #[test]
    fn a_run_without_losses() {
        assert_eq!(
            super::run("in", &six(1000, 0, 0), 6),
            "# in: 6000 new connections, 0 lost (0 of them hanging), 0 slow, longest 20 ms; 54 kept, 0 of them lost; busy: node-1 80 %,node-2 80 %; the clients did not run for up to 20 ms\n"
        );
    }

    #[test]
    fn a_run_with_losses() {
        let mut run = six(1000, 1, 0);
        run.new[0].direct = true;
        run.said.push("no summary from node-2/host".into());
        run.unserved.push(Unserved { at: 7.5, node: "node-2".into(), service: "cluster-ip".into() });
        let shown = super::run("in", &run, 2);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(
            lines[0],
            "# in: of the lost 3 while kube-proxy said that the Service has no endpoints (node-2 7.50 cluster-ip); 0 while this machine did not run the nodes; 0 went straight to a pod; 3 others"
        );
        assert_eq!(lines[2], "# no summary from node-2/host");
        assert!(lines[3].starts_with("# in: 1 of the lost went straight to a pod"));
        assert_eq!(
            lines[4],
            "#   cluster-ip from host: 2 of 2000 lost: 0 refused, 0 reset, 2 hanging, 0 other, 0 leaked"
        );
        assert_eq!(lines[7], "#     10.000 node-1/pod cluster-ip hanging after 5000 ms, from port 10000");
        assert_eq!(lines.len(), 9);
    }
}
