//! Whether the running mode has taken over: it has synced, has programmed the Services, and they answer.

pub mod carries;
pub mod connect;
pub mod translated;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::bridge::Bridge;
use super::process::answers::{LastSync, last_sync};
use super::process::toolbox::{Known, Toolbox};
use super::rules::iptables_save::Save;
use super::rules::observe::Observed;
use super::rules::stale::is_of;
use crate::mode::ProxyMode;
use crate::mode::traits::Carrier;
use crate::node::root::Root;
use crate::node_protocol::ServicePort;
use crate::proxy_ports::ProxyPorts;
use crate::report::say::still_waiting;
use carries::{Target, carried, elements, missing};

const PAUSE: Duration = Duration::from_millis(500);
/// The rules are read again after this time although kube-proxy has not synced since: reading them may have failed.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// Number of addresses tested in parallel.
const AT_A_TIME: usize = 32;
/// Number of Services named in a message.
const NAMED: usize = 5;

/// Waits until kube-proxy's running mode has synced and programmed `services`; returns the state of the host. `each` is called before
/// each look.
///
/// # Errors
/// If the host cannot be inspected. The inner error is the reason if the time is over.
pub fn wait_synced(
    root: &Root,
    running: ProxyMode,
    ports: ProxyPorts,
    services: &[ServicePort],
    known: &Known,
    deadline: Instant,
    each: &mut dyn FnMut(),
) -> anyhow::Result<Result<(Toolbox, Observed), String>> {
    // Reading the rules of thousands of Services takes long: once after each sync, and otherwise seldom.
    let mut seen: Option<LastSync> = None;
    let mut again = Instant::now();
    let mut last = Err("kube-proxy has not been asked".to_owned());
    loop {
        each();
        match last_sync(ports) {
            Err(why) => last = Err(why),
            Ok(sync) if seen.as_ref() == Some(&sync) && Instant::now() < again => {}
            Ok(sync) => {
                let from = Instant::now();
                last = carries_all(root, running, services, known)?;
                seen = Some(sync);
                again = Instant::now() + READ_AGAIN.max(from.elapsed() * 5);
            }
        }
        if last.is_ok() || Instant::now() >= deadline {
            return Ok(last);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        still_waiting(&format!("kube-proxy to write its {running} rules"), Some(left));
        sleep(PAUSE);
    }
}

fn carries_all(
    root: &Root,
    running: ProxyMode,
    services: &[ServicePort],
    known: &Known,
) -> anyhow::Result<Result<(Toolbox, Observed), String>> {
    // Its container may have been replaced since.
    let toolbox = Toolbox::new(root, known);
    let observed = Observed::new(root, &toolbox)?;
    let served = match families(&observed, running, services) {
        Ok(served) => served,
        Err(why) => return Ok(Err(why)),
    };
    if services.is_empty() {
        return Ok(Ok((toolbox, observed)));
    }
    let nft = match running.traits().carrier {
        Carrier::NftablesTables => nft_targets(&toolbox, &observed),
        Carrier::IptablesChains | Carrier::VirtualServers => Ok(BTreeSet::new()),
    };
    let nft = match nft {
        Ok(nft) => nft,
        Err(why) => return Ok(Err(why)),
    };
    let missing = missing(services, &carried(&observed, running, nft), &served);
    Ok(if missing.is_empty() {
        Ok((toolbox, observed))
    } else {
        Err(format!(
            "{running} mode has not programmed {} of {} Service ports: {}",
            missing.len(),
            services.len(),
            some(&missing)
        ))
    })
}

/// The families, `ipv4` and `ipv6`, that kube-proxy serves in its running mode.
///
/// Each family has its own proxier with its own first sync, but one metric for both, so only the rules show it. If only the
/// rules of an older mode exist, or the bridge that carries its Services, that family's proxier has not synced yet.
fn families(observed: &Observed, running: ProxyMode, services: &[ServicePort]) -> Result<Vec<&'static str>, String> {
    let bridge = Bridge::of(observed);
    let mut served = Vec::new();
    for (family, nft) in [("ipv4", "ip "), ("ipv6", "ip6 ")] {
        let saves = || observed.saves.iter().filter(|(place, _)| place.family == family).map(|(_, save)| save);
        let has_portals = |save: &Save| save.table("nat").is_some_and(|nat| nat.has_chain("KUBE-SERVICES"));
        let (runs, of_older_mode) = match running.traits().carrier {
            Carrier::NftablesTables => (observed.nft_tables.iter().any(|table| table.starts_with(nft)), false),
            Carrier::IptablesChains | Carrier::VirtualServers => {
                (saves().any(|save| is_of(save, running)), saves().any(has_portals))
            }
        };
        if runs {
            served.push(family);
        } else if of_older_mode || bridge.carries(family) && has_services(services, family) {
            return Err(format!(
                "{running} mode has not written its {family} rules yet; only rules of another mode exist"
            ));
        }
    }
    if served.is_empty() {
        return Err(format!("no rules of {running} mode found, although kube-proxy reports that it has synced"));
    }
    Ok(served)
}

/// Without a list it is assumed. nftables mode has tables of IPv6 without a Service, too, in which iptables mode may not run.
fn has_services(services: &[ServicePort], family: &str) -> bool {
    let is_ipv6 = family == "ipv6";
    let has = |service: &ServicePort| service.addresses.iter().any(|address| address.is_ipv6() == is_ipv6);
    services.is_empty() || services.iter().any(has)
}

/// The targets in the tables of nftables mode.
///
/// # Errors
/// If they cannot be read: the reason in one sentence.
pub fn nft_targets(toolbox: &Toolbox, observed: &Observed) -> Result<BTreeSet<Target>, String> {
    let mut targets = BTreeSet::new();
    let Some(nft) = toolbox.find("nft") else {
        return Err("nft was not found in kube-proxy's container or on the host; install it".to_owned());
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
/// The Services that do not answer when the time is over.
pub fn wait_serving(services: &[ServicePort], deadline: Instant) -> Result<(), String> {
    let must_answer = |service: &&ServicePort| service.must_answer && service.protocol == "TCP";
    let mut left: Vec<&ServicePort> = services.iter().filter(must_answer).collect();
    let number = left.len();
    loop {
        let mut silent = Vec::new();
        for service in left {
            // When the time is over, the known ones are sufficient.
            if silent.is_empty() || Instant::now() < deadline {
                silent.extend((!answers(service)).then_some(service));
            }
        }
        if silent.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: Vec<&str> = silent.iter().map(|service| service.name.as_str()).collect();
            return Err(format!("{} of {number} Services do not answer: {}", names.len(), some(&names)));
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

/// The addresses that accept a connection. Tested in parallel, because one that does not answer takes long.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::kube_proxy::rules::observe::Place;

    const COPY: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:KPX-SERVICES - [0:0]\n-A PREROUTING -m time --datestop 2030-01-01T00:00:00 -j KPX-SERVICES\nCOMMIT\n";

    fn service(address: &str) -> ServicePort {
        let text = format!("{{\"name\": \"a/b:c\", \"protocol\": \"TCP\", \"port\": 80, \"addresses\": [{address}]}}");
        serde_json::from_str(&text).unwrap()
    }

    /// Up to 1.32 one metric tells of both families' syncs.
    #[test]
    fn a_family_that_the_bridge_carries_is_waited_for() {
        let ipv6 = Place { family: "ipv6", variant: "legacy" };
        let tables = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let half = Observed { nft_tables: tables(&["ip kube-proxy"]), ..Observed::default() };
        let bridged = Observed { saves: vec![(ipv6, Save::parse(COPY))], ..half.clone() };
        let whole = Observed { nft_tables: tables(&["ip kube-proxy", "ip6 kube-proxy"]), ..bridged.clone() };
        let both = [service("\"10.96.0.10\", \"fd00::a\"")];
        let ipv4 = [service("\"10.96.0.10\"")];
        for (observed, services, served) in [
            (&half, &both[..], Some(&["ipv4"][..])),
            (&bridged, &both, None),
            (&bridged, &[], None),
            (&bridged, &ipv4, Some(&["ipv4"])),
            (&whole, &both, Some(&["ipv4", "ipv6"])),
        ] {
            let found = families(observed, ProxyMode::Nftables, services);
            assert_eq!(found.ok().as_deref(), served, "{observed:?} {services:?}");
        }
        // Out of nftables mode.
        let copied = Observed { bridge_tables: tables(&["ip6 kpx-prep-bridge"]), ..Observed::default() };
        assert!(Bridge::of(&copied).carries("ipv6") && !Bridge::of(&copied).carries("ipv4"));
        assert!(families(&copied, ProxyMode::Iptables, &both).is_err());
    }
}
