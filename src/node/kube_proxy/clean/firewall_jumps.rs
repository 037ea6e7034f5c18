//! The jumps to `KUBE-PROXY-FIREWALL` on the way from ipvs to iptables mode.
//!
//! Both modes have that chain, for `loadBalancerSourceRanges`. ipvs mode sends every packet to it, iptables mode only the first
//! one of a connection, because its rules drop by the Service's address: what was allowed has another one by then
//! (`iptablesJumpChains`, pkg/proxy/iptables/proxier.go; `iptablesJumpChain`, pkg/proxy/ipvs/proxier.go). While both jumps are
//! there, the first sync of iptables mode cuts the connections through IPVS to such Services. Therefore the jumps of ipvs mode go
//! as soon as those of iptables mode are there, not when all leftovers go. New connections are still filtered.

use crate::mode::ProxyMode;
use crate::node::kube_proxy::process::toolbox::{Known, Toolbox};
use crate::node::kube_proxy::rules::iptables_save::{Rule, Save};
use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::kube_proxy::rules::owners::FIREWALL;
use crate::node::kube_proxy::tools::restore;
use crate::node::root::Root;

/// Whether there is still something to do.
pub(super) struct FirewallJumps {
    waits: bool,
}

impl FirewallJumps {
    /// `acts`: whether anything may be changed.
    pub(super) fn new(running: ProxyMode, acts: bool) -> Self {
        Self { waits: acts && running == ProxyMode::Iptables }
    }

    /// Removes those of ipvs mode once those of iptables mode are there. A failure is not one of the run: the next call, and at the
    /// end the removal of all leftovers, try again.
    pub(super) fn remove(&mut self, root: &Root, known: &Known) {
        if !self.waits {
            return;
        }
        // kube-proxy's container may have been replaced since the last call.
        let toolbox = Toolbox::new(root, known);
        let filters = Observed::one_table(root, &toolbox, "filter");
        // Where nothing is seen, it could not be read.
        self.waits = filters.is_empty();
        for (place, save) in filters {
            self.waits |= match state(&save) {
                State::None => continue,
                State::NotYet => true,
                State::Both(text) => restore(&toolbox, place, &text).is_err(),
            };
        }
    }
}

/// What one family and variant of iptables needs.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// It has no such jump of ipvs mode.
    None,
    /// iptables mode has none yet.
    NotYet,
    /// The input for `iptables-restore` that removes those of ipvs mode.
    Both(String),
}

/// As `iptables-save` prints it; kube-proxy has never written another one.
const OF_IPVS: &str = "-m comment --comment \"kube-proxy firewall rules\" -j KUBE-PROXY-FIREWALL";

fn state(save: &Save) -> State {
    let Some(filter) = save.table("filter") else { return State::None };
    let mut text = String::new();
    for rule in filter.rules.iter().filter(|rule| rule.text == OF_IPVS) {
        let is_of_iptables = |other: &Rule| other.target() == Some(FIREWALL) && other.text != OF_IPVS;
        if !filter.rules_of(&rule.chain).any(is_of_iptables) {
            return State::NotYet;
        }
        for part in ["-D ", &rule.chain, " ", OF_IPVS, "\n"] {
            text.push_str(part);
        }
    }
    if text.is_empty() { State::None } else { State::Both(["*filter\n", &text, "COMMIT\n"].concat()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "-A INPUT -m comment --comment \"kube-proxy firewall rules\" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment \"kube-proxy firewall rules\" -j KUBE-PROXY-FIREWALL
";
    const NEW: &str =
        "-m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL";

    fn of(rules: &str) -> State {
        state(&Save::parse(&format!("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n{rules}COMMIT\n")))
    }

    #[test]
    fn those_of_ipvs_mode_go_once_all_of_iptables_mode_are_there() {
        let removal = BOTH.replace("-A ", "-D ");
        for (rules, expected) in [
            (String::new(), State::None),
            (BOTH.to_owned(), State::NotYet),
            (format!("-A INPUT {NEW}\n{BOTH}"), State::NotYet),
            (format!("-A INPUT {NEW}\n-A FORWARD {NEW}\n{BOTH}"), State::Both(format!("*filter\n{removal}COMMIT\n"))),
            (format!("-A INPUT {NEW}\n-A FORWARD {NEW}\n"), State::None),
            // Not kube-proxy's: it only has the same target.
            ("-A INPUT -j KUBE-PROXY-FIREWALL\n".to_owned(), State::None),
        ] {
            assert_eq!(of(&rules), expected, "{rules}");
        }
        assert_eq!(state(&Save::parse("*nat\nCOMMIT\n")), State::None);
    }
}
