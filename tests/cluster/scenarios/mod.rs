//! What is tried, a file per subject.

mod back;
mod blocked;
mod busy;
mod collect;
mod configs;
mod failures;
mod figures;
mod freeze;
mod growth;
mod harness;
mod helper;
mod helper_life;
mod in_cluster;
mod kubectl;
mod legs;
mod locks;
mod long_commands;
mod meanwhile;
mod parking;
mod programs;
mod readers;
mod real_kube_proxy;
mod rights;
mod rolls;
mod status;
mod surprises;
mod sweep;
mod transcript;
mod window;

use libtest_mimic::Trial;

/// All of it.
pub(crate) fn all() -> Vec<Trial> {
    let subjects = [
        harness::trials(),
        status::trials(),
        collect::trials(),
        rolls::trials(),
        back::trials(),
        failures::trials(),
        helper::trials(),
        legs::trials(),
        helper_life::trials(),
        in_cluster::trials(),
        programs::trials(),
        blocked::trials(),
        busy::trials(),
        configs::trials(),
        meanwhile::trials(),
        parking::trials(),
        readers::trials(),
        real_kube_proxy::trials(),
        locks::trials(),
        long_commands::trials(),
        rights::trials(),
        surprises::trials(),
        sweep::trials(),
        freeze::trials(),
        figures::trials(),
        growth::trials(),
        transcript::trials(),
        window::trials(),
    ];
    subjects.into_iter().flatten().collect()
}
