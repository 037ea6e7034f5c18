//! How memory and requests grow with the number of nodes. For `make bench`, with the release binary in `KPX_PREP`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::{Fault, FaultProxy};
use crate::cluster::kpx_prep::{Outcome, Run, start};
use crate::cluster::world::{World, trial};

/// The sizes; `KPX_PREP_NODES=10,100` for others.
const SIZES: [usize; 4] = [10, 100, 1000, 5000];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("growth::requests_per_node_are_constant", constant),
        trial("growth::figures_up_to_5000_nodes", table).with_ignored_flag(true),
    ]
}

/// What a run took.
struct Taken {
    /// The highest resident size, in MiB.
    peak: f64,
    /// Requests by verb and resource.
    requests: BTreeMap<String, usize>,
    time: Duration,
}

impl Taken {
    fn total(&self) -> usize {
        self.requests.values().sum()
    }

    /// Without those that depend on the time a run takes: renewals of the Lease, watches that end after a while, and the
    /// times that a kube-proxy was asked before it answered.
    fn of(&self, kind: &str) -> usize {
        self.requests.get(kind).copied().unwrap_or_default()
    }
}

/// The highest resident size of a process, in MiB, until it ends.
async fn peak(id: nix::unistd::Pid) -> f64 {
    let file = format!("/proc/{id}/status");
    let mut peak = 0.0_f64;
    // The kernel keeps the highest value itself; the last look before the end is what counts.
    while let Ok(text) = std::fs::read_to_string(&file) {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(size) = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()) else { break };
        peak = peak.max(size / 1024.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    peak
}

async fn measured(proxy: FaultProxy, run: Run, allowed: Duration) -> (Outcome, Taken) {
    let started = Instant::now();
    let id = run.id();
    let (outcome, peak) = futures::join!(run.end_within(allowed), peak(id));
    (outcome, Taken { peak, requests: proxy.counts(), time: started.elapsed() })
}

async fn status(cluster: &Cluster, nodes: usize) -> Taken {
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    let run = start(&proxy.cluster(cluster).kubeconfig, "status", &["-o", "json", "--request-timeout", "60s"]);
    let (outcome, taken) = measured(proxy, run, Duration::from_secs(900)).await;
    assert_eq!(outcome.json["totals"]["right"], nodes, "{}", outcome.stderr);
    taken
}

async fn remediation(cluster: &Cluster, nodes: usize) -> Taken {
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    let run = proxy.cluster(cluster).whole_remediation(&[
        "--max-unavailable",
        "10%",
        "--timeout",
        "5m",
        "--request-timeout",
        "60s",
        "--lease-duration",
        "60s",
    ]);
    let (outcome, taken) = measured(proxy, run, Duration::from_secs(3600)).await;
    let outcome = outcome.exits(0).says("/outcome", "done");
    assert_eq!(outcome.json["nodes"].as_array().map(Vec::len), Some(nodes));
    taken
}

/// What is done for every node, and how often.
const PER_NODE: [(&str, usize); 4] = [
    // The ConfigMap and the DaemonSet, which may have been changed by others.
    ("get configmaps", 1),
    ("get daemonsets", 1),
    ("delete pods", 1),
    // Inspect, prepare, and clean.
    ("get pods/exec", 3),
];

/// Asserts what is constant.
fn hold_against(taken: &Taken, nodes: usize) {
    let pages = nodes.div_ceil(500);
    for (kind, each) in PER_NODE {
        let (least, most) = (nodes * each, nodes * each + 6);
        let count = taken.of(kind);
        assert!((least..=most).contains(&count), "{kind}: {count} at {nodes} nodes, {each} per node expected");
    }
    // Before its pod is deleted; a second time after half a minute, which it takes where many are in progress.
    assert!((nodes..=2 * nodes + 5).contains(&taken.of("get nodes")), "{:?}", taken.requests);
    // One list each of kube-proxy's pods while observing, for its watch, and in the end; one of the helper's.
    assert!(taken.of("list pods") <= 4 * pages + 2, "{:?}", taken.requests);
    assert!(taken.of("list nodes") <= 2 * pages + 1, "{:?}", taken.requests);
    // Verified while observing, and once it is replaced; then the delay doubles while it does not answer.
    let asked = taken.of("get pods/portforward");
    assert!((2 * nodes..=8 * nodes).contains(&asked), "{asked} port-forwards at {nodes} nodes");
}

async fn constant(world: &World) {
    for nodes in [10, 60] {
        let cluster = world.nodes(nodes).start().await;
        let taken = remediation(&cluster, nodes).await;
        println!("{nodes} nodes: {} requests, {:?}", taken.total(), taken.requests);
        hold_against(&taken, nodes);
    }
}

async fn table(world: &World) {
    let sizes: Vec<usize> = match std::env::var("KPX_PREP_NODES") {
        Ok(sizes) => sizes.split(',').map(|size| size.parse().expect("a number")).collect(),
        Err(_) => SIZES.into(),
    };
    let mut rows = Vec::new();
    for nodes in sizes {
        let cluster = world.nodes(nodes).replace("mode: \"\"", "mode: iptables").start().await;
        cluster.all_ready(nodes).await;
        let seen = status(&cluster, nodes).await;
        let done = remediation(&cluster, nodes).await;
        println!("{nodes} nodes: status {:?}", seen.requests);
        println!("{nodes} nodes: remediate in {:?}: {:?}", done.time, done.requests);
        rows.push((nodes, seen, done));
    }
    println!("| Nodes | `status`: peak memory | requests | `remediate`: peak memory | requests | per node |");
    println!("|---|---|---|---|---|---|");
    for (nodes, seen, done) in &rows {
        #[expect(clippy::cast_precision_loss, reason = "requests and nodes are few")]
        let each = done.total() as f64 / *nodes as f64;
        let (memory, requests) = (seen.peak, seen.total());
        println!("| {nodes} | {memory:.1} MiB | {requests} | {:.1} MiB | {} | {each:.2} |", done.peak, done.total());
    }
    for (nodes, seen, done) in &rows {
        let pages = nodes.div_ceil(500);
        assert!(seen.peak <= 64.0 && done.peak <= 128.0, "{nodes} nodes: {:.1} and {:.1} MiB", seen.peak, done.peak);
        assert_eq!((seen.of("list nodes"), seen.of("list pods")), (pages, pages), "{:?}", seen.requests);
        hold_against(done, *nodes);
    }
}
