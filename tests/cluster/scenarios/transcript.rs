//! Prints what an operator sees, for docs/running-cluster.md: `cargo test --test cluster -- --ignored transcript`.

use libtest_mimic::Trial;

use crate::cluster::kpx_prep;
use crate::cluster::world::{World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("transcript::for_the_readme", transcript).with_ignored_flag(true)]
}

async fn transcript(world: &World) {
    let cluster = world.nodes(3).start().await;
    // What a person gave time to settle by then.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let steps: [(&[&str], i32); 5] = [
        (&["status"], 0),
        (&["remediate", "--dry-run"], 0),
        (&["remediate", "--yes"], 0),
        (&["status"], 0),
        (&["remediate", "--rollback", "--yes"], 0),
    ];
    for (words, exit) in steps {
        let outcome = kpx_prep::start(&cluster.kubeconfig, words[0], &words[1..]).end().await.exits(exit);
        println!("$ kpx-prep {}\n{}{}", words.join(" "), outcome.stdout, outcome.stderr);
    }
}
