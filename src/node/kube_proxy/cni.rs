//! CNI configurations of a host that depend on kube-proxy's rules.

use serde_json::Value;

use crate::node::root::Root;
use crate::node::root::conf_files::has_extension;

/// The default folder of the container runtimes (`DefaultNetDir` of containerd and CRI-O).
const FOLDER: &str = "/etc/cni/net.d";

/// Files in which the portmap plugin marks packets in a chain of kube-proxy, as `FILE: CHAIN`. If kube-proxy's iptables
/// rules are removed, host ports stop working (`externalSetMarkChain`,
/// <https://www.cni.dev/plugins/current/meta/portmap/>).
pub fn mark_chains(root: &Root) -> Vec<String> {
    let of_cni = |name: &String| ["conf", "conflist", "json"].iter().any(|extension| has_extension(name, extension));
    let mut found = Vec::new();
    for name in root.list(FOLDER).into_iter().filter(of_cni) {
        let path = format!("{FOLDER}/{name}");
        let Ok(Some(text)) = root.read(&path) else { continue };
        let Ok(json) = serde_json::from_str::<Value>(&text) else { continue };
        // A list of plugins, or a single one.
        let plugins = json.get("plugins").and_then(Value::as_array).into_iter().flatten().chain([&json]);
        let chains = plugins.filter(|plugin| plugin["type"] == "portmap");
        let chains = chains.filter_map(|plugin| plugin["externalSetMarkChain"].as_str());
        found.extend(chains.filter(|chain| chain.starts_with("KUBE-")).map(|chain| format!("{path}: {chain}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_kube_proxy_only() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("etc/cni/net.d");
        std::fs::create_dir_all(&net).unwrap();
        let list = |chain: &str| {
            format!(
                r#"{{"name": "n", "plugins": [{{"type": "calico"}}, {{"type": "portmap", "externalSetMarkChain": "{chain}"}}]}}"#
            )
        };
        for (name, text) in [
            ("10-a.conflist", list("KUBE-MARK-MASQ")),
            ("11-b.conflist", list("MY-MARK")),
            ("12-c.conf", r#"{"type": "portmap", "externalSetMarkChain": "KUBE-MARK-MASQ"}"#.to_owned()),
            ("13-d.conflist", r#"{"plugins": [{"type": "portmap", "snat": true}]}"#.to_owned()),
            ("14-e.conflist", "{".to_owned()),
            ("15-f.conflist", r#"{"plugins": 3, "type": []}"#.to_owned()),
            ("16-g.conflist.bak", list("KUBE-MARK-MASQ")),
        ] {
            std::fs::write(net.join(name), text).unwrap();
        }
        let found = mark_chains(&Root::new(folder.path()).unwrap());
        assert_eq!(found, ["/etc/cni/net.d/10-a.conflist: KUBE-MARK-MASQ", "/etc/cni/net.d/12-c.conf: KUBE-MARK-MASQ"]);
    }
}
