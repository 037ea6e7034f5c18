//! Whether the running mode has taken over: it has synced, carries the Services, and they answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::answers::has_synced;
use super::carries::{Target, carried, elements, missing};
use super::connect;
use super::iptables_save::Save;
use super::observe::Observed;
use super::stale::is_of;
use super::toolbox::{Known, Toolbox};
use crate::messages::ServicePort;
use crate::mode::ProxyMode;
use crate::node::root::Root;
use crate::report::say::still_waiting;

const PAUSE: Duration = Duration::from_millis(500);
/// How many addresses are asked at once.
const AT_A_TIME: usize = 32;
/// How many Services a message names.
const NAMED: usize = 5;

/// Waits until kube-proxy's running mode has synced and carries `services`; the host as it was seen then.
///
/// # Errors
/// When the host cannot be observed. Why it is not so when the time is over is the inner error.
pub fn wait_synced(
    root: &Root,
    running: ProxyMode,
    port: u16,
    services: &[ServicePort],
    known: &Known,
    deadline: Instant,
) -> anyhow::Result<Result<(Toolbox, Observed), String>> {
    loop {
        let result = synced(root, running, port, services, known)?;
        if result.is_ok() || Instant::now() >= deadline {
            return Ok(result);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        still_waiting(&format!("kube-proxy to write its {running} rules"), Some(left));
        sleep(PAUSE);
    }
}

fn synced(
    root: &Root,
    running: ProxyMode,
    port: u16,
    services: &[ServicePort],
    known: &Known,
) -> anyhow::Result<Result<(Toolbox, Observed), String>> {
    if !has_synced(port) {
        return Ok(Err("kube-proxy has not synced its rules since it started".to_owned()));
    }
    // Its container may be a new one by now.
    let toolbox = Toolbox::new(root, known);
    let observed = Observed::new(root, &toolbox)?;
    let served = match families(&observed, running) {
        Ok(served) => served,
        Err(why) => return Ok(Err(why)),
    };
    if services.is_empty() {
        return Ok(Ok((toolbox, observed)));
    }
    let nft = if running == ProxyMode::Nftables { nft_targets(&toolbox, &observed) } else { Ok(BTreeSet::new()) };
    let nft = match nft {
        Ok(nft) => nft,
        Err(why) => return Ok(Err(why)),
    };
    let missing = missing(services, &carried(&observed, running, nft), &served);
    Ok(if missing.is_empty() {
        Ok((toolbox, observed))
    } else {
        Err(format!(
            "{running} mode does not carry {} of {} Service ports: {}",
            missing.len(),
            services.len(),
            some(&missing)
        ))
    })
}

/// The families, `ipv4` and `ipv6`, that kube-proxy serves in its running mode.
///
/// Each has a proxier of its own, with a first sync of its own, and one metric for both: only the rules tell. Where an
/// older mode's are still there alone, that family's proxier has not come to it yet.
fn families(observed: &Observed, running: ProxyMode) -> Result<Vec<&'static str>, String> {
    let mut served = Vec::new();
    for (family, nft) in [("ipv4", "ip "), ("ipv6", "ip6 ")] {
        let saves = || observed.saves.iter().filter(|(place, _)| place.family == family).map(|(_, save)| save);
        let has_portals = |save: &Save| save.table("nat").is_some_and(|nat| nat.has_chain("KUBE-SERVICES"));
        let runs = match running {
            ProxyMode::Nftables => observed.nft_tables.iter().any(|table| table.starts_with(nft)),
            mode => saves().any(|save| is_of(save, mode)),
        };
        if runs {
            served.push(family);
        } else if running != ProxyMode::Nftables && saves().any(has_portals) {
            return Err(format!(
                "{running} mode has not written its rules for {family}; those of another mode are there alone"
            ));
        }
    }
    if served.is_empty() {
        return Err(format!("the rules of {running} mode were not found, though kube-proxy says that it has synced"));
    }
    Ok(served)
}

fn nft_targets(toolbox: &Toolbox, observed: &Observed) -> Result<BTreeSet<Target>, String> {
    let mut targets = BTreeSet::new();
    let Some(nft) = toolbox.find("nft") else {
        return Err("nft is neither in kube-proxy's container nor on the host: install it".to_owned());
    };
    for table in &observed.nft_tables {
        let arguments: Vec<&str> = ["list", "table"].into_iter().chain(table.split(' ')).collect();
        nft.read(&arguments, &mut |line| targets.extend(elements(line)))
            .map_err(|why| format!("nft {}: {why}", arguments.join(" ")))?;
    }
    Ok(targets)
}

/// Waits until a connection to each Service that must answer succeeds.
///
/// # Errors
/// Which Services do not answer when the time is over.
pub fn wait_serving(services: &[ServicePort], deadline: Instant) -> Result<(), String> {
    let must_answer = |service: &&ServicePort| service.must_answer && service.protocol == "TCP";
    let mut left: Vec<&ServicePort> = services.iter().filter(must_answer).collect();
    let number = left.len();
    loop {
        let mut silent = Vec::new();
        for service in left {
            // When the time is over, those that are known say enough.
            if silent.is_empty() || Instant::now() < deadline {
                silent.extend((!answers(service)).then_some(service));
            }
        }
        if silent.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<&str> = silent.iter().map(|service| service.name.as_str()).collect();
            return Err(format!("{} of {number} Services that must answer do not: {}", names.len(), some(&names)));
        }
        left = silent;
        sleep(PAUSE);
    }
}

fn answers(service: &ServicePort) -> bool {
    let address = service.addresses.first().map(|address| SocketAddr::new(*address, service.port));
    address.is_none_or(takes_connection)
}

fn takes_connection(address: SocketAddr) -> bool {
    connect::plain(address).is_ok() || connect::from_this_host(address).is_ok()
}

/// Which of these take a connection. Many are asked at once: a silent one takes its time.
pub fn answering(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let ask = |some: &[SocketAddr]| -> Vec<bool> {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|address| scope.spawn(|| takes_connection(*address))).collect();
            asked.into_iter().map(|one| one.join().unwrap_or_default()).collect()
        })
    };
    let took = addresses.chunks(AT_A_TIME).flat_map(ask);
    addresses.iter().zip(took).filter_map(|(address, took)| took.then_some(*address)).collect()
}

fn some(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let first = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}
