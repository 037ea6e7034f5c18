//! What of kube-proxy's is judged to be left over, and what would be done about it: each folder of
//! `tests/node-leftovers` is a host. `BLESS=1 cargo test --test node_leftovers` writes `expected` anew.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/iptables_model.rs"]
mod iptables_model;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use golden::Goldens;
use iptables_model::apply;
use kpx_prep::mode::ProxyMode;
use kpx_prep::node::kube_proxy::rules::iptables_save::{Rule, Save, Table};
use kpx_prep::node::kube_proxy::rules::ipvs_table;
use kpx_prep::node::kube_proxy::rules::leftovers::Leftovers;
use kpx_prep::node::kube_proxy::rules::observe::{Observed, Place, of_nftables_mode};
use kpx_prep::node::kube_proxy::rules::owners::{Owner, jump_modes, owner};
use kpx_prep::node::kube_proxy::rules::sets::Sets;
use proptest::prelude::*;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node-leftovers");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.is_dir());
    cases.sort();
    cases
}

/// The mode that runs, and the only one whose leftovers count.
fn run(case: &Path) -> (ProxyMode, Option<String>) {
    let run = fs::read_to_string(case.join("run")).unwrap();
    let words: Vec<&str> = run.split_whitespace().collect();
    (words[0].parse().unwrap(), words.get(2).map(|from| (*from).to_owned()))
}

fn observed(case: &Path) -> Observed {
    let read = |name: &str| fs::read_to_string(case.join(name)).ok();
    let tables = read("nft-tables").unwrap_or_default();
    let mut observed = Observed {
        sets: Sets::parse(&read("ipset-save").unwrap_or_default()),
        nft_tables: of_nftables_mode(tables.lines().map(|line| line.trim_start_matches("table ").to_owned()).collect()),
        servers: read("ip_vs").unwrap_or_default().lines().filter_map(ipvs_table::server).collect(),
        ..Observed::default()
    };
    for place in Place::ALL {
        let save = read(&format!("{}-{}", place.family, place.variant));
        observed.saves.extend(save.map(|text| (place, Save::parse(&text))));
    }
    for line in read("addresses").unwrap_or_default().lines() {
        match line.split_once(' ').unwrap() {
            ("kube-ipvs0", address) => observed.link_addresses.insert(address.parse().unwrap()),
            (_, address) => observed.own_addresses.insert(address.parse().unwrap()),
        };
    }
    observed.servers.sort();
    observed.link = !observed.link_addresses.is_empty();
    observed
}

#[test]
fn every_host() {
    let mut goldens = Goldens::default();
    for case in cases() {
        let (running, from) = run(&case);
        let left = Leftovers::new(&observed(&case), running, from.as_deref());
        let mut actual = String::new();
        for leftover in left.list() {
            let _ = writeln!(
                actual,
                "{} {:?} {}{}{}",
                leftover.of,
                leftover.kind,
                leftover.place,
                if leftover.place.is_empty() { "" } else { ": " },
                leftover.name
            );
        }
        for suspicious in &left.suspicious {
            let _ = writeln!(actual, "stays: {suspicious}");
        }
        for (place, text) in left.transactions() {
            let _ = write!(actual, "\n# {} ({})\n{text}", place.family, place.variant);
        }
        goldens.compare(&case.join("expected"), actual);
    }
    goldens.end(1);
}

/// All that must hold whatever was found: a transaction applies, leaves nothing behind it, and touches nothing else.
fn holds(observed: &Observed, running: Option<ProxyMode>, from: Option<&str>) -> Result<(), String> {
    let left = Leftovers::new(observed, running, from);
    let mut after = observed.clone();
    for (place, text) in left.transactions() {
        let (_, save) = after.saves.iter_mut().find(|(at, _)| *at == place).unwrap();
        *save = apply(save, &text).map_err(|error| format!("{error} in\n{text}"))?;
    }
    let again = Leftovers::new(&after, running, from);
    if !again.iptables.is_empty() {
        return Err(format!("left over after cleaning: {:?}", again.list()));
    }
    // The same things are held for the same reasons.
    let kept =
        |left: &Leftovers| left.suspicious.iter().filter(|text| text.contains(" is kept because ")).cloned().collect();
    let (kept_before, kept_after): (BTreeSet<String>, BTreeSet<String>) = (kept(&left), kept(&again));
    if kept_before != kept_after {
        return Err(format!("{kept_before:?} became {kept_after:?}"));
    }
    for ((_, before), (_, after)) in observed.saves.iter().zip(&after.saves) {
        untouched(before, after)?;
    }
    Ok(())
}

/// What is not kube-proxy's is as it was, rule by rule, and no jump leads nowhere.
fn untouched(before: &Save, after: &Save) -> Result<(), String> {
    for (before, after) in before.tables.iter().zip(&after.tables) {
        let foreign = |table: &Table| -> Vec<String> {
            let hooks = table.hooks();
            let own = |rule: &&Rule| {
                matches!(owner(&table.name, &rule.chain), Owner::KubeProxy(_))
                    || (hooks.contains(rule.chain.as_str()) && jump_modes(&table.name, rule).is_some())
            };
            let chains = table.chains.iter().filter(|c| !matches!(owner(&table.name, &c.name), Owner::KubeProxy(_)));
            let chains = chains.map(|chain| format!("{chain:?}"));
            chains.chain(table.rules.iter().filter(|rule| !own(rule)).map(Rule::line)).collect()
        };
        if foreign(before) != foreign(after) {
            return Err(format!("what is not kube-proxy's changed in {}", before.name));
        }
        for rule in &after.rules {
            let gone = |target: &str| before.has_chain(target) && !after.has_chain(target);
            if rule.target().is_some_and(gone) || !after.has_chain(&rule.chain) {
                return Err(format!("leads nowhere: {}", rule.line()));
            }
        }
    }
    Ok(())
}

#[test]
fn every_host_in_every_direction() {
    for case in cases() {
        for running in ProxyMode::ALL.map(Some).into_iter().chain([None]) {
            for from in [None, Some("iptables"), Some("ipvs"), Some("nftables"), Some("userspace")] {
                if let Err(error) = holds(&observed(&case), running, from) {
                    panic!("{} running {running:?} from {from:?}: {error}", case.display());
                }
            }
        }
    }
}

/// Without kube-proxy nothing of it remains, whatever it ran, but what others use: each such thing is told. That others'
/// things stay as they are is checked for every direction above.
#[test]
fn without_kube_proxy_nothing_of_it_remains() {
    let (mut chains, mut kept) = (0, 0);
    for case in cases() {
        let before = observed(&case);
        let left = Leftovers::new(&before, None::<ProxyMode>, None);
        let is_told =
            |name: &str| left.suspicious.iter().any(|told| told.contains(&format!(" {name} is kept because")));
        let mut after = before.clone();
        for (place, text) in left.transactions() {
            let (_, save) = after.saves.iter_mut().find(|(at, _)| *at == place).unwrap();
            *save = apply(save, &text).unwrap();
        }
        for (_, save) in &after.saves {
            for table in &save.tables {
                let own = |name: &str| matches!(owner(&table.name, name), Owner::KubeProxy(_));
                // The kubelet made these, until 1.27 (`is_kept_by_an_old_kubelet`).
                let kubelets = |name: &str| {
                    table.has_chain("KUBE-MARK-DROP") && ["KUBE-MARK-MASQ", "KUBE-POSTROUTING"].contains(&name)
                };
                for chain in table.chains.iter().filter(|chain| own(&chain.name) && !kubelets(&chain.name)) {
                    kept += 1;
                    let leads_here = |rule: &&Rule| rule.target() == Some(&chain.name) && own(&rule.chain);
                    let reached = table.rules.iter().find(leads_here).is_some();
                    assert!(is_told(&chain.name) || reached, "{}: {} {}", case.display(), table.name, chain.name);
                }
                let hooks = table.hooks();
                let jumps = table.rules.iter().filter(|rule| hooks.contains(rule.chain.as_str()));
                let own_jump = |rule: &&Rule| jump_modes(&table.name, rule).is_some();
                let rest: Vec<&Rule> =
                    jumps.filter(own_jump).filter(|rule| !rule.target().is_some_and(kubelets)).collect();
                assert!(rest.is_empty(), "{}: {rest:?}", case.display());
            }
        }
        chains += left.list().len();
        for set in before.sets.of_ipvs() {
            let goes = left.sets.iter().chain(&left.node_port_sets).any(|going| going == set);
            assert!(goes != is_told(set), "{}: {set}", case.display());
        }
        assert_eq!(left.nft_tables, before.nft_tables, "{}", case.display());
        let servers: Vec<_> = before.claimed().into_iter().cloned().collect();
        assert_eq!((&left.servers, left.link), (&servers, before.link), "{}", case.display());
    }
    assert!(chains > 500 && kept > 0, "{chains} leftovers, {kept} kept");
}

proptest! {
    /// Invented hosts: parts of real ones, with foreign rules between them.
    #[test]
    fn any_host(seed in any::<u64>(), parts in 0..100_u64, foreign in 0..8_usize, running in 0..4_usize) {
        let mut random = seed;
        let mut roll = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let all = cases();
        let mut observed = observed(&all[usize::try_from(roll(all.len() as u64)).unwrap()]);
        for (_, save) in &mut observed.saves {
            *save = Save::parse(&iptables_model::altered(save, parts, foreign, &mut roll));
        }
        if let Err(error) = holds(&observed, ProxyMode::ALL.get(running).copied(), None) {
            prop_assert!(false, "{error}");
        }
    }
}

/// The node helper has a memory limit of 1 GiB, which it shares with the programs whose output this is.
#[test]
fn ten_thousand_services_fit_in_memory() {
    let mut save = Save::default();
    let (mut lines, mut bytes) = (0_u32, 0);
    // Sixteen letters of base32, as kube-proxy makes them of a hash.
    let hash = |number: u32| format!("{number:016x}").bytes().map(hexadecimal_letter).collect::<String>();
    let mut line = |text: String| {
        lines += 1;
        bytes += text.len() + 1;
        save.line(&text);
    };
    line("*nat".to_owned());
    for chain in ["PREROUTING ACCEPT", "OUTPUT ACCEPT", "POSTROUTING ACCEPT", "KUBE-SERVICES -", "KUBE-MARK-MASQ -"] {
        line(format!(":{chain} [0:0]"));
    }
    for service in 0..10_000 {
        line(format!(":KUBE-SVC-{} - [0:0]", hash(service)));
        (0..5).for_each(|endpoint| line(format!(":KUBE-SEP-{} - [0:0]", hash(service * 5 + endpoint))));
    }
    line("-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES".to_owned());
    for service in 0..10_000 {
        let name = format!("-m comment --comment \"namespace-{service}/service-{service}:http cluster IP\"");
        let address = format!("10.{}.{}.{}", 96 + service / 65_536, service / 256 % 256, service % 256);
        line(format!("-A KUBE-SERVICES -d {address}/32 -p tcp {name} -m tcp --dport 80 -j KUBE-SVC-{}", hash(service)));
        for endpoint in 0..5 {
            let sep = format!("KUBE-SEP-{}", hash(service * 5 + endpoint));
            let svc = hash(service);
            line(format!("-A KUBE-SVC-{svc} {name} -m statistic --mode random --probability 0.20000000019 -j {sep}"));
            line(format!("-A {sep} -s 10.244.1.{endpoint}/32 {name} -j KUBE-MARK-MASQ"));
            line(format!("-A {sep} -p tcp {name} -m tcp -j DNAT --to-destination 10.244.1.{endpoint}:8080"));
        }
    }
    line("COMMIT".to_owned());
    let tables = vec!["ip kube-proxy".to_owned()];
    let observed = Observed { saves: vec![(Place::ALL[0], save)], nft_tables: tables, ..Observed::default() };
    let left = Leftovers::new(&observed, ProxyMode::Nftables, None);
    let text: usize = left.transactions().iter().map(|(_, text)| text.len()).sum();
    assert!(left.list().len() > 60_000, "{}", left.list().len());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let most: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    println!("{lines} lines of {} MiB, a transaction of {} MiB: at most {} MiB", bytes >> 20, text >> 20, most >> 10);
    assert!(most < 512 << 10, "{most} KiB");
}

fn hexadecimal_letter(digit: u8) -> char {
    char::from(if digit.is_ascii_digit() { digit - b'0' + b'A' } else { digit - b'a' + b'K' })
}
