//! Commands on nodes that take longer than an API server may be silent, and connections to them that break or lose output.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::cluster::misbehaviour::Misbehaviour;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("long_commands::they_do_not_count_as_silent", slow),
        trial("long_commands::a_silent_connection_is_made_anew", silent),
        trial("long_commands::lost_output_is_asked_for_again", lost),
    ]
}

async fn slow(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::SlowExec(Duration::from_secs(7))).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&["--request-timeout", "2s"]).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    assert_eq!(cluster.nodes.hosts.commands("node-2"), ["survey", "install", "clean"], "none twice: {outcome}");
}

async fn silent(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::SilentOnce).start().await;
    let before = cluster.before().await;
    let run = cluster.whole(&["--request-timeout", "2s"]);
    // The command itself would have been given a minute.
    let outcome = tokio::time::timeout(Duration::from_secs(45), run).await.expect("silence was noticed");
    let outcome = outcome.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    assert_eq!(cluster.nodes.hosts.commands("node-2"), ["survey", "install", "clean"], "{outcome}");
}

async fn lost(world: &World) {
    let cluster = world.nodes(2).misbehave("node-2", Misbehaviour::OutputLostOnce).start().await;
    let before = cluster.before().await;
    let outcome = cluster.whole(&[]).await.exits(0).says("/outcome", "done");
    before.switched(&cluster).await;
    assert_eq!(cluster.nodes.hosts.commands("node-2"), ["survey", "survey", "install", "clean"], "{outcome}");
}
