//! Leaving ipvs mode: virtual servers are removed when their connections have ended, or when the time is over.
//!
//! An established connection is in the kernel's IPVS table and ends with its virtual server. New ones already use the
//! running mode's rules, so each virtual server is kept only for its existing connections, and its address on
//! `kube-ipvs0` for this host's connections from it (see [`own_connections`]).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::own_connections;
use crate::node::kube_proxy::rules::ipvs_table::Server;
use crate::node::kube_proxy::rules::observe::Observed;
use crate::node::kube_proxy::rules::owners::LINK;
use crate::node::netlink::ipvs::Ipvs;
use crate::node::netlink::{conntrack, links};
use crate::node::root::Root;
use crate::report::say::still_waiting;

/// Poll interval. The list of connections may be long.
const PAUSE: Duration = Duration::from_secs(1);
/// The kernel's default, if the kernel does not report the timeout.
const UDP_TIMEOUT: u32 = 300;
/// `ESRCH`: the virtual server does not exist (any more).
const NO_SUCH: i32 = 3;

/// The result of draining.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Live connections that ended with their virtual server.
    pub cut: u32,
    /// Failures, one sentence each.
    pub failures: Vec<String>,
}

/// Removes kube-proxy's virtual servers, each when its connections have ended, all when `limit` has passed. `observed` is
/// updated; what it still contains in the end could not be removed. `still` is called before each removal and returns a
/// reason to stop.
///
/// # Errors
/// If the state of IPVS or this host's connections cannot be read.
pub fn drain(
    root: &Root,
    observed: &mut Observed,
    limit: Duration,
    still: &dyn Fn() -> Result<(), String>,
) -> anyhow::Result<Drained> {
    let mut drained = Drained::default();
    let mut ipvs = None;
    let mut stuck: BTreeSet<Server> = BTreeSet::new();
    // This host's connections through IPVS: counted there.
    let mut carried = BTreeSet::new();
    let deadline = Instant::now() + limit;
    loop {
        if let Err(why) = still() {
            drained.failures.push(why);
            return Ok(drained);
        }
        observed.look_at_ipvs(root)?;
        let over = Instant::now() >= deadline;
        let clients = observed.connections.iter().map(|connection| connection.client);
        carried.extend(clients.filter(|(address, _)| observed.link_addresses.contains(address)));
        let mut own = own_connections::from_the_link(root, observed).context("listing this host's connections")?;
        own.retain(|end| !carried.contains(end));
        let mut waiting = free_addresses(observed, &own, over, &mut drained);
        let claimed: Vec<Server> = observed.claimed().into_iter().filter(|s| !stuck.contains(s)).cloned().collect();
        if claimed.is_empty() && waiting == 0 {
            return Ok(drained);
        }
        let (ipvs, udp_timeout) = match &mut ipvs {
            Some(opened) => opened,
            none => match Ipvs::open() {
                Ok(mut opened) => {
                    let udp_timeout = opened.udp_timeout().unwrap_or(UDP_TIMEOUT);
                    none.insert((opened, udp_timeout))
                }
                Err(error) => {
                    drained.failures.push(format!("IPVS is not available over netlink: {error}"));
                    return Ok(drained);
                }
            },
        };
        let mut udp = Vec::new();
        for server in claimed {
            let live = live(observed, &server, (*udp_timeout).into());
            if live > 0 && !over {
                waiting += live;
                continue;
            }
            match remove(ipvs, &server) {
                Ok(()) => {
                    tracing::info!("removed the virtual server {} with {live} live connections", server.name());
                    if server.protocol == "UDP" {
                        // No connection ends: the next packet uses the running mode's rules.
                        udp.extend(u16::try_from(server.port).ok().map(|port| (server.address, port)));
                    } else {
                        drained.cut += live;
                    }
                }
                Err(error) => {
                    drained.failures.push(format!("virtual server {} was not removed: {error}", server.name()));
                    stuck.insert(server);
                }
            }
        }
        forget(&udp, &mut drained);
        if waiting > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            still_waiting(&format!("{waiting} connections of ipvs mode, or to its addresses, to close"), Some(left));
            sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now())));
        }
    }
}

/// Removes addresses without a virtual server from `kube-ipvs0`, each when no connection of this host uses it as its source
/// any more, all when the time is `over`. Returns the number of connections that prevent others.
fn free_addresses(observed: &Observed, own: &[(IpAddr, u16)], over: bool, drained: &mut Drained) -> u32 {
    let Ok(Some(link)) = links::find(LINK) else { return 0 };
    let mut waiting = 0;
    for address in &observed.link_addresses {
        if observed.servers.iter().any(|server| server.address == *address) {
            continue;
        }
        let live = number(own.iter().filter(|(from, _)| from == address).count());
        if live > 0 && !over {
            waiting += live;
            continue;
        }
        // Before the address: without the address, nothing would identify the route any more.
        if let Err(error) = own_connections::forget(link.index, *address) {
            tracing::info!("the route of {address} was not removed yet: {error}");
        }
        // What remains is removed with the link at the end.
        match links::delete_address(link.index, *address) {
            Ok(()) => drained.cut += live,
            Err(error) => tracing::info!("{address} was not removed from {LINK} yet: {error}"),
        }
    }
    waiting
}

/// The number of live connections of this virtual server.
pub fn live(observed: &Observed, server: &Server, udp_timeout: u64) -> u32 {
    let of_server = observed.connections.iter().filter(|connection| server.has(connection));
    number(of_server.filter(|connection| connection.is_live(udp_timeout)).count())
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn remove(ipvs: &mut Ipvs, server: &Server) -> io::Result<()> {
    let port = u16::try_from(server.port).map_err(io::Error::other)?;
    match ipvs.delete(&server.protocol, server.address, port) {
        Err(error) if error.raw_os_error() == Some(NO_SUCH) => Ok(()),
        result => result,
    }
}

/// Removes conntrack entries: a UDP client that keeps its port would otherwise still be sent to the removed server.
fn forget(servers: &[(IpAddr, u16)], drained: &mut Drained) {
    if servers.is_empty() {
        return;
    }
    match conntrack::forget_udp(servers) {
        Ok(number) => tracing::info!("removed {number} UDP connections from conntrack"),
        Err(error) => drained.failures.push(format!(
            "conntrack still has UDP connections to {} removed virtual servers ({error}); clients that keep \
             their port get no answer until the entries expire",
            servers.len()
        )),
    }
}
