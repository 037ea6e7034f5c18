//! Finding kube-proxy's process on a host.

use std::fs;

use crate::node::root::Root;

/// The id of kube-proxy's process, as its host's `/proc` counts. One in another network namespace (a cluster inside
/// a container, say) is not meant.
pub fn find(root: &Root) -> Option<String> {
    let ours = our_namespace();
    let here = |id: &String| ours.is_none() || namespace(root, id).is_none() || namespace(root, id) == ours;
    let ids = root.list("/proc").into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    ids.filter(|id| is_named(root, id, "kube-proxy")).find(here)
}

fn namespace(root: &Root, id: &str) -> Option<String> {
    root.read_link(&format!("/proc/{id}/ns/net")).ok()
}

fn our_namespace() -> Option<String> {
    Some(fs::read_link("/proc/self/ns/net").ok()?.to_string_lossy().into_owned())
}

/// Whether a process of this name runs on the host.
pub fn is_running(root: &Root, name: &str) -> bool {
    root.list("/proc").iter().any(|id| id.starts_with(|c: char| c.is_ascii_digit()) && is_named(root, id, name))
}

/// Whether this process has the network namespace of the host below `root`, so far as that can be told.
pub fn shares_network(root: &Root) -> bool {
    let (host, ours) = (namespace(root, "1"), our_namespace());
    host.is_none() || ours.is_none() || host == ours
}

/// By what the kernel calls it, or else by what it was started as.
fn is_named(root: &Root, id: &str, name: &str) -> bool {
    let read = |file: &str| root.read(&format!("/proc/{id}/{file}")).ok().flatten().unwrap_or_default();
    // The kernel keeps fifteen bytes.
    if read("comm").trim_end() == name.chars().take(15).collect::<String>() {
        return true;
    }
    let line = read("cmdline");
    let program = line.split('\0').next().unwrap_or_default();
    program.rsplit('/').next() == Some(name)
}
