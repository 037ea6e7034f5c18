//! Status and remediation against a real API server with a real DaemonSet controller; the nodes are stand-ins.
//!
//! One control plane serves all scenarios, one after the other.

#[path = "cluster/mod.rs"]
mod cluster;

use libtest_mimic::{Arguments, run};

fn main() {
    let mut arguments = Arguments::from_args();
    // They share the cluster.
    arguments.test_threads = Some(1);
    let conclusion = run(&arguments, cluster::scenarios::all());
    cluster::world::stop(conclusion.has_failed());
    conclusion.exit();
}
