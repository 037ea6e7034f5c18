//! Processes of a host from its `/proc`: those with the name kube-proxy, and the properties that identify it.
//! [`mod@candidate`] decides.

pub mod answers;
pub mod candidate;
pub mod toolbox;

use std::fs;

use crate::node::root::Root;
use candidate::{Candidate, Place};

/// Its name: the kernel's `comm`, or the file name of its command.
const NAME: &str = "kube-proxy";

/// All processes of that name, and what they are compared with.
pub fn observe(root: &Root) -> (Vec<Candidate>, Place) {
    let first = text(root, "/proc/1/status");
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok().map(|link| link.display().to_string());
    let place = Place {
        user_namespaces: [
            own("user"),
            namespace(root, "1", "user").or_else(|| own("user").filter(|_| maps_every_user())),
        ],
        network_namespace: own("net"),
        all_capabilities: capabilities(&first, "CapBnd:"),
    };
    let ids = root.list("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    (ids.filter(|id| is_named(root, id, NAME)).map(|id| candidate(root, id)).collect(), place)
}

/// Whether this process's user namespace maps every user to itself: true for the initial one, and for one that only its root
/// can create (`user_namespaces(7)`). Used if the first process is not readable, as on some sandboxed hosts.
fn maps_every_user() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// A capability set in a process's status; 0 if it is missing.
fn capabilities(status: &str, name: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    u64::from_str_radix(set.trim(), 16).unwrap_or(0)
}

/// The current state of a process.
pub fn candidate(root: &Root, id: String) -> Candidate {
    let status = text(root, &format!("/proc/{id}/status"));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let uids = field("Uid:").split_whitespace().map(|uid| uid.parse().unwrap_or(u32::MAX)).collect();
    // The second field is the name in parentheses, which may contain anything.
    let stat = text(root, &format!("/proc/{id}/stat"));
    let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok());
    Candidate {
        started: started.unwrap_or_default(),
        uids,
        user_namespace: namespace(root, &id, "user"),
        network_namespace: namespace(root, &id, "net"),
        capabilities: capabilities(&status, "CapEff:"),
        cgroup: text(root, &format!("/proc/{id}/cgroup")),
        id,
    }
}

fn text(root: &Root, path: &str) -> String {
    root.read(path).ok().flatten().unwrap_or_default()
}

fn namespace(root: &Root, id: &str, name: &str) -> Option<String> {
    root.read_link(&format!("/proc/{id}/ns/{name}")).ok()
}

/// The inodes of a process's open sockets; empty if its descriptors are not readable.
pub fn sockets(root: &Root, id: &str) -> Vec<String> {
    let folder = format!("/proc/{id}/fd");
    let links = root.list(&folder).into_iter().filter_map(|number| root.read_link(&format!("{folder}/{number}")).ok());
    links.filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

/// Whether a process of this name runs on the host. Only for messages: any process may have that name.
pub fn is_running(root: &Root, name: &str) -> bool {
    root.list("/proc").iter().any(|id| id.starts_with(|c: char| c.is_ascii_digit()) && is_named(root, id, name))
}

/// Whether this process is in the network namespace of the host below `root`, or that is unknown.
pub fn shares_network(root: &Root) -> bool {
    let ours = fs::read_link("/proc/self/ns/net").ok().map(|link| link.display().to_string());
    let host = namespace(root, "1", "net");
    host.is_none() || ours.is_none() || host == ours
}

/// By the kernel's name for it, or else by its command.
fn is_named(root: &Root, id: &str, name: &str) -> bool {
    // The kernel stores fifteen bytes.
    if text(root, &format!("/proc/{id}/comm")).trim_end() == name.chars().take(15).collect::<String>() {
        return true;
    }
    let line = text(root, &format!("/proc/{id}/cmdline"));
    let program = line.split('\0').next().unwrap_or_default();
    program.rsplit('/').next() == Some(name)
}
