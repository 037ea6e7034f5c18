//! The fault sweep: the program is killed, or its connection cut, at every request of a run, before and after the API
//! server gets it. Whatever stands then, the next run brings the cluster where it was meant to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;

use crate::cluster::before::with_mode;
use crate::cluster::fault_proxy::{Fault, When};
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let every = |(name, kills, when): (&str, bool, When)| {
        let name = format!("sweep::every_request_{name}");
        trial(&name, async move |world: &World| sweep(world, &[(kills, when)], 1).await).with_ignored_flag(true)
    };
    // Coprime to the four ways, so that a few points see each of them.
    let some = trial("sweep::a_stride_of_the_fault_points", async |world: &World| {
        sweep(world, &WAYS.map(|(_, kills, when)| (kills, when)), 17).await;
    });
    std::iter::once(some).chain(WAYS.into_iter().map(every)).collect()
}

/// Whether the program is killed, else its connection closed; and when.
const WAYS: [(&str, bool, When); 4] = [
    ("killed_before", true, When::Before),
    ("killed_after", true, When::After),
    ("closed_before", false, When::Before),
    ("closed_after", false, When::After),
];

const QUICK: [&str; 4] = ["--settle-time", "100ms", "--canary", "node-2"];

async fn requests(world: &World) -> usize {
    let cluster = world.nodes(3).start().await;
    let proxy = cluster.proxy(|_, _| Fault::None).await;
    proxy.cluster(&cluster).whole(&QUICK).await.exits(0);
    proxy.seen().len()
}

async fn sweep(world: &World, ways: &[(bool, When)], stride: usize) {
    let requests = requests(world).await;
    let points = (1..=requests).flat_map(|number| ways.iter().map(move |(kills, when)| (number, *kills, *when)));
    let mut tried = 0;
    for (number, kills, when) in points.step_by(stride) {
        tried += usize::from(point(world, number, kills, when).await);
    }
    assert!(tried > 0);
    println!("fault sweep: {tried} points of a run of {requests} requests, all survived");
}

/// Whether the run got as far as that request.
async fn point(world: &World, number: usize, kills: bool, when: When) -> bool {
    let cluster = world.nodes(3).start().await;
    let before = cluster.before().await;
    let hit = Arc::new(AtomicBool::new(false));
    let proxy = cluster.proxy({
        let hit = Arc::clone(&hit);
        move |seen, _| {
            if seen != number {
                return Fault::None;
            }
            hit.store(true, Ordering::SeqCst);
            if kills { Fault::Kill(when) } else { Fault::Close(when) }
        }
    });
    let proxy = proxy.await;
    let run = proxy.cluster(&cluster).whole_remediation(&QUICK);
    proxy.aims_at(&run);
    let first = run.end().await;
    let name = format!("request {number}, killed: {kills}, {when:?}: {:?}", proxy.seen().get(number - 1));
    assert!(!kills || first.exit.is_none() || !hit.load(Ordering::SeqCst), "{name}: it was to be killed\n{first}");

    let config = cluster.config().await;
    let intended = with_mode(before.config(), "ipvs");
    assert!(config == before.config() || config == intended, "{name}: the configuration is neither\n{config}\n{first}");
    let backups = cluster.backups().await;
    assert!(backups.values().all(|data| *data == before.data), "{name}: a backup is not what was there\n{first}");
    assert!(config != intended || backups.len() == 1, "{name}: written without a backup\n{first}");

    let next = cluster.whole(&QUICK).await;
    assert_eq!(next.exit, Some(0), "{name}\n--- the first run\n{first}\n--- the next run\n{next}");
    assert_eq!(cluster.config().await, intended, "{name}");
    assert_eq!(cluster.modes(), "node-1 ipvs\nnode-2 ipvs\nnode-3 ipvs\n", "{name}\n{first}\n{next}");
    before.backed_up(&cluster).await;
    // A run with nothing to do needs no lock, so it does not clear away a dead one's.
    let needed_lock = next.json["outcome"] != "nothing-to-do";
    assert!(!needed_lock || cluster.lock_holder().await.is_none(), "{name}: still locked\n{first}\n{next}");
    assert_eq!(cluster.leftovers(), 0, "{name}\n{first}\n{next}");
    assert!(!cluster.helper_is_there().await, "{name}: the helper is left\n{first}\n{next}");
    hit.load(Ordering::SeqCst)
}
