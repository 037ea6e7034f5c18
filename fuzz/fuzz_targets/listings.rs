//! `/proc/net/ip_vs`, `/proc/net/ip_vs_conn`, `ipset save`, and nft's listing of a table.
#![no_main]

use kpx_prep::node::kube_proxy::ready::carries::elements;
use kpx_prep::node::kube_proxy::rules::ipvs_table::{connection, server};
use kpx_prep::node::kube_proxy::rules::sets::Sets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for server in text.lines().filter_map(server) {
        let _ = server.name();
    }
    for connection in text.lines().filter_map(connection) {
        let _ = connection.is_live(300);
    }
    let sets = Sets::parse(text);
    let _ = (sets.of_ipvs().count(), sets.suspicious().count(), sets.node_ports());
    for line in text.lines() {
        let _ = elements(line).count();
    }
});
