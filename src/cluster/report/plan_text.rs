//! The plan of `remediate` as text.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::api::connection::client::place;
use crate::cluster::observe::facts::ClusterFacts;
use crate::cluster::plan::Plan;
use crate::mode::ProxyMode;
use crate::report::{LISTED, few};

/// The plan as text.
pub fn plan_text(facts: Option<&ClusterFacts>, plan: &Plan) -> String {
    let mut text = String::new();
    let from = plan.from.map_or("an unreadable configuration", ProxyMode::name);
    let to = plan.to.map_or("the original", ProxyMode::name);
    if let Some((facts, kube_proxy, config)) =
        facts.and_then(|facts| Some((facts, facts.kube_proxy.as_ref()?, facts.config.as_ref()?)))
    {
        text.push_str(&format!("Cluster {}\n", place(&facts.server, facts.context.as_deref())));
        text.push_str(&format!(
            "kube-proxy {}: DaemonSet {}/{}, ConfigMap {}, key {}\n",
            facts.proxy_version().unwrap_or_default(),
            kube_proxy.namespace,
            kube_proxy.names().join(", "),
            config.name,
            config.key
        ));
    }
    for check in &plan.checks {
        text.push_str(&check.text());
    }
    if plan.target.is_none() {
        return text;
    }
    if plan.is_empty() {
        text.push_str(&format!("Configured mode {to}; {} node(s) run it.\n", plan.already_right.len()));
        return text + &left(plan);
    }
    let Some(then) = &plan.then else {
        let leg = if plan.original.is_some() { ", the second leg of a change by way of iptables" } else { "" };
        text.push_str(&if plan.edits {
            format!("\nPlan: from {from} to {to}{leg}\n")
        } else {
            format!("\nPlan: {to} is already configured, but not every node runs it\n")
        });
        return text + &leg_text(facts, plan, plan.original.as_ref().map(|_| 2));
    };
    let end = then.to.map_or("the original", ProxyMode::name);
    text.push_str(&format!(
        "\nPlan: to {end} by way of {to}, as one change in two legs\n\nLeg 1: {from} to {to}.{}\n",
        cost(plan)
    ));
    text.push_str(&leg_text(facts, plan, Some(1)));
    text.push_str(&format!("\nLeg 2: {to} to {end}, once leg 1 is verified.{}\n", cost(then)));
    text + &leg_text(None, then, Some(2))
}

/// A duration as it is given on the command line.
fn for_people(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// What a leg costs connections.
fn cost(leg: &Plan) -> &'static str {
    match (leg.from, leg.to) {
        (Some(ProxyMode::Ipvs), Some(ProxyMode::Iptables)) if leg.cleans => {
            " Connections continue; those through IPVS until --drain has passed, before leg 2."
        }
        (Some(ProxyMode::Ipvs), Some(ProxyMode::Iptables)) => "",
        (Some(ProxyMode::Iptables), Some(ProxyMode::Ipvs)) => " Connections continue.",
        (from, to) if from == to => " Connections that are left in IPVS continue until --drain has passed.",
        _ if leg.cleans => {
            " Connections continue: until kube-proxy's first sync, a node's Services are served from a copy of the rules."
        }
        _ => "",
    }
}

/// A plan, or a leg of one, from its steps on.
fn leg_text(facts: Option<&ClusterFacts>, plan: &Plan, leg: Option<u8>) -> String {
    let to = plan.to.map_or("the original", ProxyMode::name);
    let mut text = String::new();
    let mut steps = Vec::new();
    // Leg 1 prepares for leg 2.
    let prepared = plan.end().is_some_and(|end| end.mode.traits().is_prepared && end.unfit.is_none());
    if prepared && (leg != Some(2) || facts.is_some()) {
        let looked = facts.is_some_and(|facts| facts.proxy_nodes().any(|node| node.host.is_some()));
        steps.push(if !plan.to_prepare.is_empty() {
            format!(
                "prepare {} node(s) (load modules now and at boot): {}",
                plan.to_prepare.len(),
                few(&plan.to_prepare)
            )
        } else if looked {
            "all nodes are already prepared".to_owned()
        } else {
            "prepare unprepared nodes (load modules now and at boot)".to_owned()
        });
    }
    if plan.edits {
        let diff: String = plan.diff.lines().map(|line| format!("\n       {line}")).collect();
        let saved = if leg == Some(2) { "make" } else { "save the current ConfigMap as a backup, then make" };
        steps.push(format!("{saved} only this change:{diff}"));
    }
    if let Some(canary) = &plan.canary {
        steps.push(format!(
            "canary {canary}: replace its kube-proxy pod, verify the effective mode within {}, wait, and verify again",
            for_people(plan.timeout)
        ));
    }
    let rest: usize = plan.batches.iter().map(Vec::len).sum();
    if rest > 0 {
        let names: Vec<_> = plan.batches.iter().flatten().cloned().collect();
        steps.push(format!("the other {rest} node(s), {} at a time, verifying each: {}", plan.batch_size, few(&names)));
    }
    if plan.cleans && (rest > 0 || plan.canary.is_some()) {
        steps.push(
            "on each node, once the new mode has programmed all Services: remove the old mode's rules".to_owned(),
        );
    }
    if !plan.to_clean.is_empty() {
        steps.push(format!("clean nodes that are already up to date: {}", few(&plan.to_clean)));
    }
    let holds = plan.from.is_some_and(|mode| mode.traits().holds_connections) && plan.to != plan.from;
    if plan.cleans && (holds || plan.then.is_some() && !plan.to_clean.is_empty()) {
        steps.push("drain existing IPVS connections, then remove the virtual servers and kube-ipvs0".to_owned());
    }
    if rest > 0 || plan.canary.is_some() {
        let back = match leg {
            Some(2) => {
                "if verification fails: go back to iptables mode, then restore the original ConfigMap and verify the old mode"
            }
            _ => "if verification fails: restore the original ConfigMap and verify the old mode",
        };
        steps.push(back.to_owned());
    }
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", index + 1));
    }
    if let Some(time) = plan.estimate {
        let more = if plan.cleans { "; preparing and cleaning nodes and draining connections take more" } else { "" };
        text.push_str(&format!("Time: replacing these pods takes about {}{more}.\n", for_people(time)));
    }
    let changed: Vec<_> = plan.translation.iter().filter(|row| row.matters).collect();
    if !changed.is_empty() {
        let to = plan.end().map_or(to, |end| end.mode.name());
        text.push_str(&format!("Settings that mean something else in {to} mode (all settings: -o json):\n"));
        text.extend(changed.iter().map(|row| format!("  {}\n", row.line())));
    }
    if !plan.already_right.is_empty() {
        text.push_str(&format!("  already up to date: {}\n", few(&plan.already_right)));
    }
    text + &left(plan)
}

fn left(plan: &Plan) -> String {
    let nodes = plan.left_alone.len() + plan.already_right.len() + plan.batches.iter().map(Vec::len).sum::<usize>();
    if nodes <= LISTED {
        return plan.left_alone.iter().map(|left| format!("  skipped: {} ({})\n", left.node, left.reason)).collect();
    }
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for left in &plan.left_alone {
        by_reason.entry(&left.reason).or_default().push(left.node.clone());
    }
    let group = |(reason, nodes): (&str, Vec<String>)| {
        format!("  skipped: {} node(s) ({reason}): {}\n", nodes.len(), few(&nodes))
    };
    by_reason.into_iter().map(group).collect()
}
