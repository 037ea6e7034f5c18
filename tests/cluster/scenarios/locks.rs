//! Two runs at once, and runs that ended without saying so.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("locks::second_run_is_refused_and_names_the_first", two_at_once),
        trial("locks::who_looks_on_sees_the_run", looks_on),
        trial("locks::killed_holder_is_succeeded", killed_holder),
        trial("locks::expired_lease_is_taken_over", expired),
        trial("locks::lost_lock_stops_the_run", stolen),
    ]
}

async fn two_at_once(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    let first = cluster.remediation(&["--settle-time", "6s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    let holder = cluster.lock_holder().await.expect("the first run holds the lock");
    let pods = cluster.pods().await;
    cluster.remediate(&[]).await.exits(3).mentions(&holder);
    assert_eq!(cluster.replaced(&pods).await, Vec::<String>::new());
    first.end().await.exits(0);
    before.switched(&cluster).await;
}

/// `status`, a dry run and a second run, in the middle of a run with the node helper.
async fn looks_on(world: &World) {
    let cluster = world.nodes(3).start().await;
    let first = cluster.whole_remediation(&["--canary", "node-2", "--settle-time", "1s", "--timeout", "60s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    // The helper runs by now: what is slow is kube-proxy.
    for node in ["node-1", "node-3"] {
        cluster.nodes.set(node, &[Misbehaviour::SlowStart(Duration::from_secs(30))]).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let holder = cluster.lock_holder().await.expect("the first run holds the lock");
    let status = cluster.status(&[]).await.exits(3).mentions("run-in-progress").mentions(&holder);
    assert_eq!((&status.json["run"]["alive"], &status.json["run"]["holder"]), (&json!(true), &json!(holder)));
    assert_eq!(status.json["run"]["progress"], json!("node 1 of 3"), "{status}");
    assert!(!status.stdout.contains("helper-left"), "{status}");
    // Where nothing is left to do for the moment, a run in progress is no "nothing to do".
    for arguments in [&["--mode", "ipvs", "--dry-run"][..], &["--mode", "iptables", "--dry-run"], &["--mode", "ipvs"]] {
        cluster.remediate(arguments).await.exits(3).mentions(&holder);
    }
    first.signal(Signal::SIGKILL);
    first.end().await;
    let status = cluster.status(&[]).await.mentions("lock-left").mentions("helper-left");
    assert_eq!(status.json["run"]["alive"], json!(false), "{status}");
    for node in ["node-1", "node-3"] {
        cluster.nodes.set(node, &[]).await;
    }
    cluster.remediate(&["--timeout", "40s"]).await.exits(0);
    assert_eq!(cluster.status(&[]).await.exits(0).json["run"], json!(null));
}

async fn killed_holder(world: &World) {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let first = cluster.remediation(&["--settle-time", "30s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    first.signal(Signal::SIGKILL);
    first.end().await;
    assert!(cluster.lock_holder().await.is_some());
    let started = Instant::now();
    cluster.remediate(&[]).await.exits(0);
    assert!(started.elapsed() >= Duration::from_secs(2), "it did not wait whether the holder still lives");
    before.switched(&cluster).await;
}

async fn expired(world: &World) {
    let cluster = world.nodes(2).start().await;
    let before = cluster.before().await;
    cluster.write_lock("someone-else", "2026-01-01T00:00:00.000000Z").await;
    cluster.remediate(&[]).await.exits(0);
    before.switched(&cluster).await;
}

/// Whoever comes after a run that was thought dead owns the cluster: the old run must not go on.
async fn stolen(world: &World) {
    let cluster = world.nodes(3).start().await;
    let first = cluster.remediation(&["--settle-time", "5s"]);
    cluster.wait_for("the canary switched", |modes| modes.values().any(|mode| mode == "ipvs")).await;
    cluster.write_lock("someone-else", "2099-01-01T00:00:00.000000Z").await;
    let pods = cluster.pods().await;
    let outcome = first.end().await;
    assert!(matches!(outcome.exit, Some(1 | 3 | 4)), "{outcome}");
    assert_eq!(cluster.replaced(&pods).await, Vec::<String>::new());
    assert_eq!(cluster.lock_holder().await.as_deref(), Some("someone-else"));
}
