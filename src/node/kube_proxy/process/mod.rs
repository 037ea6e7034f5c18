//! Processes of a host from its `/proc`: those with the name kube-proxy, and the properties that identify it.
//! [`mod@candidate`] decides.

pub mod answers;
pub mod candidate;
pub mod toolbox;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::node::root::Root;
use candidate::{Candidate, Place};

/// Its name: the kernel's `comm`, or the file name of its command.
const NAME: &str = "kube-proxy";

/// All processes of that name, and what they are compared with.
pub fn observe(root: &Root) -> (Vec<Candidate>, Place) {
    let first = text(root, "/proc/1/status");
    let own = own_user_namespace();
    let place = Place {
        user_namespaces: [own.clone(), user_namespace(root, "1", own.as_deref())],
        network: own_network(),
        all_capabilities: capabilities(&first, "CapBnd:"),
    };
    let ids = root.list("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    (ids.filter(|id| is_named(root, id, NAME)).map(|id| candidate(root, id)).collect(), place)
}

/// The user namespace of a process. Its link is not readable without `CAP_SYS_PTRACE`; if so, and the process's namespace maps
/// every user to itself, it is taken for `own`: that is true for the initial one, and for one that only its root can create
/// (`user_namespaces(7)`).
fn user_namespace(root: &Root, id: &str, own: Option<&str>) -> Option<String> {
    let maps_every_user = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
    let is_ours = || {
        maps_every_user(&text(root, &format!("/proc/{id}/uid_map")))
            && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_every_user(&map))
    };
    root.read_link(&format!("/proc/{id}/ns/user")).ok().or_else(|| own.filter(|_| is_ours()).map(ToOwned::to_owned))
}

/// A number for the network namespace of a process, which is readable without `CAP_SYS_PTRACE`: every namespace has files of
/// its own in `/proc/PID/net` (fs/proc/generic.c, `proc_alloc_inum`).
fn network(root: &Root, id: &str) -> Option<u64> {
    root.lstat(&format!("/proc/{id}/net/dev")).ok().flatten().map(|stat| stat.st_ino)
}

/// The same of this process.
fn own_network() -> Option<u64> {
    fs::metadata("/proc/self/net/dev").ok().map(|file| file.ino())
}

/// A capability set in a process's status; 0 if it is missing.
fn capabilities(status: &str, name: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    u64::from_str_radix(set.trim(), 16).unwrap_or(0)
}

/// The current state of a process.
pub fn candidate(root: &Root, id: String) -> Candidate {
    let status = text(root, &format!("/proc/{id}/status"));
    let own = own_user_namespace();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let uids = field("Uid:").split_whitespace().map(|uid| uid.parse().unwrap_or(u32::MAX)).collect();
    // The second field is the name in parentheses, which may contain anything.
    let stat = text(root, &format!("/proc/{id}/stat"));
    let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok());
    Candidate {
        started: started.unwrap_or_default(),
        uids,
        user_namespace: user_namespace(root, &id, own.as_deref()),
        network: network(root, &id),
        capabilities: capabilities(&status, "CapEff:"),
        cgroup: text(root, &format!("/proc/{id}/cgroup")),
        id,
    }
}

fn text(root: &Root, path: &str) -> String {
    root.read(path).ok().flatten().unwrap_or_default()
}

fn own_user_namespace() -> Option<String> {
    fs::read_link("/proc/self/ns/user").ok().map(|link| link.display().to_string())
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
    let (ours, host) = (own_network(), network(root, "1"));
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
