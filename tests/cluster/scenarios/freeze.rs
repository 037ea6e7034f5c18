//! The fault sweep's third kind: the program is frozen at a request for longer than its lease, while another run takes over
//! and finishes. When it thaws it must change nothing: not by the request that was on its way, and not later.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::cluster::before::with_mode;
use crate::cluster::cluster_state::Cluster;
use crate::cluster::fault_proxy::{Fault, When};
use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::stand_in::locked;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        // Odd, so that both ways are seen.
        trial("freeze::a_stride_of_the_requests", async |world: &World| sweep(world, 27).await),
        trial("freeze::a_rollback_on_its_way_is_refused", rollback),
        trial("freeze::every_request", async |world: &World| sweep(world, 1).await).with_ignored_flag(true),
    ]
}

const QUICK: [&str; 4] = ["--settle-time", "100ms", "--canary", "node-2"];
/// Until Kubernetes has collected what belongs to a Lease that is gone.
const COLLECTED: Duration = Duration::from_secs(60);

async fn sweep(world: &World, stride: usize) {
    let cluster = world.nodes(3).start().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).whole(&QUICK).await.exits(0);
    let requests = proxy.seen().len();
    let points = (1..=requests).flat_map(|number| [(number, When::Before), (number, When::After)]);
    let (mut tried, mut lost) = (0, 0);
    for (number, when) in points.skip(stride / 2).step_by(stride) {
        let exit = point(world, number, when).await;
        tried += usize::from(exit.is_some());
        lost += usize::from(exit == Some(4));
    }
    println!("frozen: {tried} points of a run of {requests} requests, {lost} lost the lock");
    assert!(tried > 0 && lost > 0, "{tried} points, {lost} of them lost the lock");
}

/// A node fails, and the run is frozen when it puts the original back; by then the node is well, and the other run has nothing
/// to edit: the configuration is the one that it wants.
async fn rollback(world: &World) {
    let cluster = world.nodes(3).misbehave("node-3", Misbehaviour::CrashesInIpvs).start().await;
    let before = cluster.before().await;
    let left: Arc<Mutex<Option<Left>>> = Arc::default();
    let writes = Arc::new(AtomicUsize::new(0));
    let proxy = cluster.proxy({
        let (cluster, left) = (cluster.clone(), Arc::clone(&left));
        move |_, asked| {
            let of_config = asked.is("patch configmaps") && asked.name.as_deref() == Some("kube-proxy");
            if !of_config || writes.fetch_add(1, Ordering::SeqCst) != 1 {
                return Fault::None;
            }
            let (cluster, left) = (cluster.clone(), Arc::clone(&left));
            let other = async move {
                cluster.nodes.set("node-3", &[]).await;
                *locked(&left) = Some(other_run(&cluster).await);
            };
            Fault::Freeze(When::Before, Box::pin(other))
        }
    });
    let proxy = proxy.await;
    let run = proxy.cluster(&cluster).whole_remediation(&QUICK);
    proxy.aims_at(&run);
    let frozen = run.end().await;
    let left = locked(&left).take().expect("it got as far as putting the original back");
    let told = format!("--- the frozen run\n{frozen}\n--- the other run\n{}", left.told);
    assert_eq!(frozen.exit, Some(4), "{told}");
    assert_eq!(cluster.config().await, with_mode(before.config(), "ipvs"), "{told}");
    assert_eq!(cluster.map().await.metadata.resource_version, left.version, "the ConfigMap was written\n{told}");
    assert_eq!(cluster.replaced(&left.pods).await, Vec::<String>::new(), "pods were deleted\n{told}");
    before.only_mode_changed(&cluster, "ipvs").await;
}

/// What the other run left behind.
#[derive(Debug)]
struct Left {
    pods: BTreeMap<String, String>,
    version: Option<String>,
    told: String,
}

/// The exit status of the run that was frozen, if it got as far as that request.
async fn point(world: &World, number: usize, when: When) -> Option<i32> {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let left: Arc<Mutex<Option<Left>>> = Arc::default();
    let proxy = cluster.proxy({
        let (cluster, left) = (cluster.clone(), Arc::clone(&left));
        move |seen, _| {
            if seen != number {
                return Fault::None;
            }
            let (cluster, left) = (cluster.clone(), Arc::clone(&left));
            Fault::Freeze(when, Box::pin(async move { *locked(&left) = Some(other_run(&cluster).await) }))
        }
    });
    let proxy = proxy.await;
    let run = proxy.cluster(&cluster).whole_remediation(&QUICK);
    proxy.aims_at(&run);
    let frozen = run.end().await;
    let left = locked(&left).take()?;
    let name = format!("frozen at request {number}, {when:?}: {:?}", proxy.seen().get(number - 1));
    let told = format!("{name}\n--- the frozen run\n{frozen}\n--- the other run\n{}", left.told);

    // Frozen before it had the lock, or after it gave it back, it may well end in order.
    assert!(matches!(frozen.exit, Some(0 | 3 | 4)), "{told}");
    assert_eq!(cluster.config().await, with_mode(before.config(), "ipvs"), "{told}");
    assert_eq!(cluster.map().await.metadata.resource_version, left.version, "the ConfigMap was written\n{told}");
    assert_eq!(cluster.replaced(&left.pods).await, Vec::<String>::new(), "pods were deleted\n{told}");
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\n", "{told}");
    before.backed_up(&cluster).await;
    assert_eq!(cluster.lock_holder().await, None, "{told}");
    let from = Instant::now();
    while cluster.helper_is_there().await {
        assert!(from.elapsed() < COLLECTED, "the helper was left\n{told}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    frozen.exit
}

/// Takes over what the frozen one holds, and finishes.
async fn other_run(cluster: &Cluster) -> Left {
    let outcome = cluster.whole(&QUICK).await;
    assert_eq!(outcome.exit, Some(0), "the other run\n{outcome}");
    cluster.wait_for("ipvs everywhere", |modes| modes.values().filter(|mode| *mode == "ipvs").count() == 3).await;
    let version = cluster.map().await.metadata.resource_version;
    Left { pods: cluster.pods().await, version, told: outcome.to_string() }
}
