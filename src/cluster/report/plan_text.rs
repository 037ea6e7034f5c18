//! The plan of `remediate` as text.

use std::collections::BTreeMap;

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
    text.push_str(&if plan.edits {
        format!("\nPlan: from {from} to {to}\n")
    } else {
        format!("\nPlan: {to} is already configured, but not every node runs it\n")
    });
    let mut steps = Vec::new();
    if plan.to.is_some_and(|mode| mode.traits().is_prepared) {
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
        steps.push(format!("save the current ConfigMap as a backup, then make only this change:{diff}"));
    }
    if let Some(canary) = &plan.canary {
        steps.push(format!(
            "canary {canary}: replace its kube-proxy pod, verify the effective mode, wait, and verify again"
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
    if plan.cleans && plan.from.is_some_and(|mode| mode.traits().holds_connections) && plan.to != plan.from {
        steps.push("drain existing IPVS connections, then remove the virtual servers and kube-ipvs0".to_owned());
    }
    if rest > 0 || plan.canary.is_some() {
        steps.push("if verification fails: restore the original ConfigMap and verify the old mode".to_owned());
    }
    for (index, step) in steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", index + 1));
    }
    let changed: Vec<_> = plan.translation.iter().filter(|row| row.matters).collect();
    if !changed.is_empty() {
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
