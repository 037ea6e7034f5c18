//! The figures of `status` and `remediate`, measured and held against their goals. For `make bench`, with the release
//! binary in `KPX_PREP`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::Fault;
use crate::cluster::kpx_prep;
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::processes::output;
use crate::cluster::scenarios::kubectl::install;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("figures::requests_of_status", requests),
        trial("figures::memory_of_status", memory).with_ignored_flag(true),
        trial("figures::a_roll_beside_kubectls", roll).with_ignored_flag(true),
    ]
}

/// How long a container takes to start, in the roll: a kubelet makes a sandbox and starts a process meanwhile.
const START: Duration = Duration::from_secs(2);

fn row(what: &str, goal: &str, measured: &str, holds: bool) {
    println!("| {what} | {goal} | {measured} | {} |", if holds { "holds" } else { "**missed**" });
    assert!(holds, "{what}: {measured}, goal {goal}");
}

/// One request per listed kind and page, one proof per node.
async fn requests(world: &World) {
    const NODES: usize = 30;
    let cluster = world.nodes(NODES).start().await;
    for (page, pages) in [(None, 1), (Some(10), 3)] {
        let proxy = cluster.paging_proxy(page, |_, _| Fault::None).await;
        proxy.cluster(&cluster).status(&[]).await.exits(0).says("/totals/nodes", NODES);
        let counts = proxy.counts();
        let count = |what: &str| counts.get(what).copied().unwrap_or_default();
        assert_eq!((count("list nodes"), count("list pods")), (pages, pages), "{counts:?}");
        assert_eq!((count("list daemonsets"), count("list configmaps")), (1, 1), "{counts:?}");
        let proofs = count("get pods/portforward") + count("create pods/portforward");
        assert_eq!((proofs, count("get pods/log")), (NODES, 0), "{counts:?}");
        // kube-proxy's ConfigMap, kubeadm's, the version, and the Lease of a run.
        let listed = 2 * pages + 2;
        assert_eq!(counts.values().sum::<usize>(), listed + proofs + 4, "{counts:?}");
    }
}

/// The highest resident size that a run of status reached, in KiB.
async fn peak(cluster: &Cluster, nodes: usize) -> u32 {
    let run = kpx_prep::start(&cluster.kubeconfig, "status", &["-o", "json"]);
    let file = format!("/proc/{}/status", run.id());
    let peak = Arc::new(AtomicU32::new(0));
    let watching = tokio::spawn({
        let peak = Arc::clone(&peak);
        async move {
            // The kernel keeps the highest value itself; the last look before the end is what counts.
            while let Ok(text) = std::fs::read_to_string(&file) {
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                if let Some(size) = line.and_then(|line| line.split_whitespace().next()?.parse().ok()) {
                    peak.fetch_max(size, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let outcome = run.end().await;
    watching.abort();
    assert_eq!(outcome.json["totals"]["right"], nodes, "{}", outcome.stderr);
    peak.load(Ordering::SeqCst)
}

async fn memory(world: &World) {
    let mut peaks = Vec::new();
    for nodes in [100, 1000] {
        let cluster = world.nodes(nodes).replace("mode: \"\"", "mode: iptables").start().await;
        cluster.all_ready(nodes).await;
        peaks.push(peak(&cluster, nodes).await);
    }
    let (small, large) = (peaks[0], peaks[1]);
    let mib = |kib: u32| f64::from(kib) / 1024.0;
    row("`status` on 1,000 nodes, peak memory", "≤ 64 MiB", &format!("{:.1} MiB", mib(large)), mib(large) <= 64.0);
    let ratio = f64::from(large) / f64::from(small);
    let measured = format!("{ratio:.2} ({:.1} MiB on 100)", mib(small));
    row("`status`, memory on 1,000 nodes ÷ on 100", "≤ 2", &measured, ratio <= 2.0);
}

/// kubectl's restart and the roll in turns, with as many pods at a time as the DaemonSet says.
async fn roll(world: &World) {
    install();
    let mut ratios = Vec::new();
    // `KPX_PREP_AT_A_TIME=5,20%` for others.
    let asked = std::env::var("KPX_PREP_AT_A_TIME").unwrap_or_else(|_| "1,5,20%".to_owned());
    for at_a_time in asked.split(',').map(|size| size.parse::<u32>().map_or_else(|_| json!(size), |size| json!(size))) {
        ratios.push((at_a_time.to_string(), roll_beside_kubectl(world, at_a_time).await));
    }
    let missed = ratios.iter().filter(|(_, ratio)| *ratio > 1.1).count();
    assert_eq!(missed, 0, "{ratios:?}");
}

/// The worse ratio of two rounds.
async fn roll_beside_kubectl(world: &World, at_a_time: Value) -> f64 {
    const NODES: usize = 50;
    let setting = at_a_time.to_string();
    let mut planned = world.nodes(NODES).daemon_set(|set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = at_a_time;
    });
    // A stand-in's pod is there in no time; a container is not.
    for node in 1..=NODES {
        planned = planned.misbehave(&format!("node-{node}"), Misbehaviour::SlowStart(START));
    }
    let cluster = planned.start().await;
    cluster.all_ready(NODES).await;
    let kubectl = |arguments: &[&str]| {
        output(Command::new("kubectl").arg("--kubeconfig").arg(&cluster.kubeconfig).args(arguments));
    };
    let mut ratios = Vec::new();
    for mode in ["ipvs", "iptables"] {
        let started = Instant::now();
        kubectl(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-proxy"]);
        kubectl(&["-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=5m"]);
        let theirs = started.elapsed();
        cluster.all_ready(NODES).await;
        let started = Instant::now();
        // The canary's ten seconds are for the operator's safety; kubectl has nothing like them. They are left out, but
        // not that the canary is alone.
        let arguments = ["--mode", mode, "--settle-time", "0s", "--lease-duration", "15s", "--timeout", "1m"];
        let outcome = cluster.remediate(&[&arguments[..], &["--progress", "json"]].concat()).await.exits(0);
        let ours = started.elapsed();
        cluster.all_ready(NODES).await;
        ratios.push((ours.as_secs_f64() / theirs.as_secs_f64(), theirs, ours, alone(&outcome.stderr)));
    }
    ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, theirs, ours, alone) = ratios[1];
    let measured = format!(
        "{ratio:.2} ({:.1} s ÷ {:.1} s, of which the canary alone {:.1} s; the other round {:.2})",
        ours.as_secs_f64(),
        theirs.as_secs_f64(),
        alone.as_secs_f64(),
        ratios[0].0
    );
    let holds = if ratio <= 1.1 { "holds" } else { "**missed**" };
    println!(
        "| the roll of 50 nodes, {setting} at a time ÷ `kubectl rollout restart` and `status` | ≤ 1.1 | {measured} | {holds} |"
    );
    ratio
}

/// How long the canary was in progress, by the events of a run.
fn alone(events: &str) -> Duration {
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut times = events.filter(|event| matches!(event["event"].as_str(), Some("replacing" | "verified")));
    let mut time = || times.next().and_then(|event| event["time"].as_str()?.parse::<jiff::Timestamp>().ok());
    let (from, to) = (time().expect("a canary"), time().expect("its end"));
    to.duration_since(from).unsigned_abs()
}
