//! The figures of `status` and `remediate`, measured and held against their goals. For `make bench`, with the release
//! binary in `KPX_PREP`.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

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

/// kubeadm's DaemonSet, which lets one pod be replaced at a time, in turns.
async fn roll(world: &World) {
    const NODES: usize = 50;
    install();
    // A stand-in's pod is there in no time; a container is not.
    let mut planned = world.nodes(NODES);
    for node in 1..=NODES {
        planned = planned.misbehave(&format!("node-{node}"), Misbehaviour::SlowStart(START));
    }
    let cluster = planned.start().await;
    cluster.all_ready(NODES).await;
    let kubectl = |arguments: &[&str]| {
        output(Command::new("kubectl").arg("--kubeconfig").arg(&cluster.kubeconfig).args(arguments));
    };
    let mut ratios = Vec::new();
    for (round, mode) in ["ipvs", "iptables"].into_iter().enumerate() {
        let started = Instant::now();
        kubectl(&["-n", "kube-system", "rollout", "restart", "daemonset/kube-proxy"]);
        kubectl(&["-n", "kube-system", "rollout", "status", "daemonset/kube-proxy", "--timeout=5m"]);
        let theirs = started.elapsed();
        cluster.all_ready(NODES).await;
        let started = Instant::now();
        // The canary's ten seconds are for the operator's safety; kubectl has nothing like them. They are left out.
        let arguments = ["--mode", mode, "--settle-time", "0s", "--lease-duration", "15s", "--timeout", "1m"];
        cluster.remediate(&arguments).await.exits(0);
        let ours = started.elapsed();
        cluster.all_ready(NODES).await;
        println!("round {}: kubectl {theirs:.1?}, kpx-prep {ours:.1?}", round + 1);
        ratios.push(ours.as_secs_f64() / theirs.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let worst = ratios[ratios.len() - 1];
    let measured = format!("{worst:.2}, the worse of two rounds (the other {:.2})", ratios[0]);
    row("the roll of 50 nodes ÷ `kubectl rollout restart` and `status`", "≤ 1.1", &measured, worst <= 1.1);
}
