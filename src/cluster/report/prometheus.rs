//! The report of `status` as metrics in Prometheus' text format, for `node_exporter`'s textfile collector or a Pushgateway
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Samples have no timestamps: both refuse or ignore them. Names of nodes are others' text; a name that occurs twice would make
//! the whole file invalid, so the first sample of a series counts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::status::StatusReport;
use super::status_nodes::NodeLine;
use crate::cluster::plan::drift::State;
use crate::exit_code::Exit;
use crate::mode::ProxyMode;
use crate::report::Level;
use crate::report::foreign::visible;

/// Every state, each of which has a count.
const STATES: [State; 6] =
    [State::Right, State::Wrong, State::Fallback, State::NotSyncing, State::Unproved, State::NoPod];

/// Names and values of labels.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// What was written so far.
#[derive(Default)]
struct Metrics(String);

impl Metrics {
    /// Adds a metric with all of its samples, or nothing if there are none.
    fn add<'a>(&mut self, name: &str, kind: &str, help: &str, samples: impl IntoIterator<Item = (Labels<'a>, u64)>) {
        let mut known = BTreeSet::new();
        for (labels, value) in samples {
            if known.is_empty() {
                let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            if known.insert(labels.clone()) {
                let _ = writeln!(self.0, "{name}{labels} {value}");
            }
        }
    }

    /// A gauge for each node that has a value.
    fn of_nodes<'a>(
        &mut self,
        name: &str,
        help: &str,
        nodes: &'a [NodeLine],
        value: impl Fn(&NodeLine) -> Option<u64>,
    ) {
        let labels = |node: &'a NodeLine| vec![("node", node.name.as_str())];
        self.add(name, "gauge", help, nodes.iter().filter_map(|node| Some((labels(node), value(node)?))));
    }
}

/// A label's value: `\`, `"` and line ends are escaped, and what a terminal interprets is visible.
fn escaped(value: &str) -> String {
    visible(value).replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// The word of a value in the JSON report.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

impl StatusReport {
    /// The report as metrics. `now`: when it was made, in seconds since 1970.
    pub fn prometheus(&self, now: u64) -> String {
        let mut metrics = Metrics::default();
        self.modes_and_states(&mut metrics);
        self.syncs(&mut metrics);
        self.hosts(&mut metrics);
        self.cluster(&mut metrics, now);
        metrics.0
    }

    fn modes_and_states(&self, metrics: &mut Metrics) {
        let nodes = &self.nodes[..];
        let words: Vec<_> = nodes
            .iter()
            .map(|node| {
                let mode = node.effective_mode.map_or("unknown", ProxyMode::name);
                let verified = node.proof.map_or_else(|| "no".to_owned(), |how| word(&how));
                (node.name.as_str(), mode, verified, word(&node.state))
            })
            .collect();
        metrics.add(
            "kpx_proxy_mode",
            "gauge",
            "Mode that the node's kube-proxy runs, and how it was verified: proxyMode, log or no.",
            words.iter().map(|(node, mode, how, _)| (vec![("node", *node), ("mode", *mode), ("verified", how)], 1)),
        );
        metrics.add(
            "kpx_proxy_state",
            "gauge",
            "State of the node's kube-proxy: right, wrong, fallback, not-syncing, unproved or no-pod.",
            words.iter().map(|(node, _, _, state)| (vec![("node", *node), ("state", state)], 1)),
        );
        metrics.of_nodes(
            "kpx_proxy_drift",
            "1 unless the node's kube-proxy was verified to run the configured mode and to write its rules.",
            nodes,
            |node| Some(u64::from(node.state != State::Right)),
        );
        metrics.of_nodes("kpx_proxy_pod_ready", "1 if the node's kube-proxy pod is ready.", nodes, |node| {
            Some(u64::from(node.pod_ready))
        });
    }

    fn syncs(&self, metrics: &mut Metrics) {
        let nodes = &self.nodes[..];
        metrics.of_nodes(
            "kpx_proxy_last_sync_age_seconds",
            "Seconds since kube-proxy last wrote its rules, at kpx_status_timestamp_seconds.",
            nodes,
            |node| node.sync()?.age_seconds,
        );
        metrics.of_nodes(
            "kpx_proxy_sync_pending_seconds",
            "Seconds for which a change has been waiting to be written; 0 up to 60.",
            nodes,
            |node| node.sync().map(|sync| sync.pending_seconds.unwrap_or(0)),
        );
        metrics.add(
            "kpx_proxy_sync_failures_total",
            "counter",
            "How often writing the rules failed since kube-proxy started.",
            nodes.iter().filter_map(|node| Some((vec![("node", node.name.as_str())], node.sync()?.failures))),
        );
        metrics.of_nodes(
            "kpx_proxy_healthy",
            "1 if kube-proxy answers on its health port that it is healthy.",
            nodes,
            |node| node.sync()?.healthy.map(u64::from),
        );
    }

    /// Only with `--nodes`.
    fn hosts(&self, metrics: &mut Metrics) {
        let nodes = &self.nodes[..];
        let mode = self.kube_proxy.as_ref().and_then(|proxy| proxy.target_mode);
        let is_prepared = mode.is_some_and(|mode| mode.traits().is_prepared);
        metrics.of_nodes("kpx_node_inspected", "1 if the host could be inspected.", nodes, |node| {
            Some(u64::from(node.host.as_ref()?.error.is_none()))
        });
        metrics.of_nodes(
            "kpx_node_prepared",
            "1 if the host is prepared for the configured mode, now and at boot; not for iptables, which needs nothing.",
            nodes,
            |node| Some(u64::from(node.host.as_ref()?.modules?.is_prepared())).filter(|_| is_prepared),
        );
        metrics.of_nodes("kpx_node_leftovers", "Number of things that other modes left on the host.", nodes, |node| {
            Some(node.host.as_ref()?.leftovers.as_ref()?.len() as u64)
        });
    }

    fn cluster(&self, metrics: &mut Metrics, now: u64) {
        let mode = self.kube_proxy.as_ref().and_then(|proxy| proxy.target_mode);
        metrics.add(
            "kpx_configured_mode",
            "gauge",
            "Mode that kube-proxy is configured for.",
            mode.iter().map(|mode| (vec![("mode", mode.name())], 1)),
        );
        let states = STATES.map(|state| (word(&state), self.nodes.iter().filter(|node| node.state == state).count()));
        metrics.add(
            "kpx_proxy_nodes",
            "gauge",
            "Number of nodes that should run kube-proxy, by state.",
            states.iter().map(|(state, count)| (vec![("state", state.as_str())], *count as u64)),
        );
        let ready = self.nodes.iter().filter(|node| node.pod_ready).count() as u64;
        let levels = [Level::Error, Level::Warning, Level::Info];
        let findings = levels
            .map(|level| (level.word(), self.findings.iter().filter(|finding| finding.level == level).count() as u64));
        metrics.add(
            "kpx_findings",
            "gauge",
            "Number of findings, by level.",
            findings.iter().map(|(level, count)| (vec![("level", *level)], *count)),
        );
        let running = self.run.as_ref().is_some_and(|run| run.alive);
        for (name, help, value) in [
            ("kpx_proxy_pods_ready", "Number of nodes whose kube-proxy pod is ready.", ready),
            ("kpx_run_in_progress", "1 while a kpx-prep run changes the cluster.", u64::from(running)),
            ("kpx_drift", "1 if kpx-prep status ends with exit status 3.", u64::from(self.exit() != Exit::Done)),
            ("kpx_status_timestamp_seconds", "When the cluster was observed, in seconds since 1970.", now),
        ] {
            metrics.add(name, "gauge", help, [(Vec::new(), value)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_before_its_end() {
        for (value, expected) in [
            ("worker-1", "worker-1"),
            ("a\"b", r#"a\"b"#),
            (r"a\", r"a\\"),
            ("a\nkpx_drift 0", r"a\nkpx_drift 0"),
            ("a\r\u{1b}[2J\u{202e}", r"a\\x0d\\x1b[2J\\u{202e}"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }

    #[test]
    fn a_series_is_there_once() {
        let mut metrics = Metrics::default();
        metrics.add("m", "gauge", "h", [(vec![("node", "a")], 1), (vec![("node", "b")], 2), (vec![("node", "a")], 3)]);
        metrics.add("none", "gauge", "h", []);
        assert_eq!(metrics.0, "# HELP m h\n# TYPE m gauge\nm{node=\"a\"} 1\nm{node=\"b\"} 2\n");
    }
}
