//! Status and remediation against a real API server with a real DaemonSet controller; the nodes are stand-ins.
//!
//! A control plane serves many scenarios, one after the other; two of them share the work, as most of it is waiting.

#[path = "cluster/mod.rs"]
mod cluster;

use libtest_mimic::{Arguments, run};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let conclusion = run(&arguments, cluster::scenarios::all());
    cluster::world::stop(conclusion.has_failed());
    conclusion.exit();
}
