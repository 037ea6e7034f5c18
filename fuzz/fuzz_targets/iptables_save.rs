//! What `iptables-save` prints, and what would be given to `iptables-restore` for it: nothing but kube-proxy's chains and rules
//! are removed, in lines of the forms that are expected.
#![no_main]

use kpx_prep::mode::ProxyMode;
use kpx_prep::node::kube_proxy::rules::iptables_save::Save;
use kpx_prep::node::kube_proxy::rules::leftovers::Leftovers;
use kpx_prep::node::kube_proxy::rules::observe::{Observed, Place};
use kpx_prep::node::kube_proxy::rules::sets::Sets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str, &str)| {
    let (choice, text, sets) = input;
    let running = [ProxyMode::Iptables, ProxyMode::Ipvs, ProxyMode::Nftables][usize::from(choice % 3)];
    let place = Place::ALL[usize::from(choice >> 2 & 3)];
    let observed = Observed { saves: vec![(place, Save::parse(text))], sets: Sets::parse(sets), ..Observed::default() };
    let left = Leftovers::new(&observed, running, None);
    for (_, transaction) in left.transactions() {
        for line in transaction.lines() {
            let known = ["*", ":KUBE-", "-D ", "-F KUBE-", "-X KUBE-", "COMMIT"];
            assert!(known.iter().any(|start| line.starts_with(start)), "{line:?} of {transaction:?}");
        }
    }
    for set in left.sets.iter().chain(&left.node_port_sets) {
        assert!(set.starts_with("KUBE-") && !set.contains(char::is_whitespace), "{set:?}");
    }
});
