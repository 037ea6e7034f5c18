//! The feature gates of a `KubeProxyConfiguration`, as kube-proxy reads them.

use super::{Verdict, verdict};
use crate::yaml::{Kind, Node, ScalarStyle, parse};

/// A gate as it is written.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is.
    pub node: &'a Node,
    /// Its value; nothing if kube-proxy cannot read it as true or false.
    pub value: Option<bool>,
}

/// The gates of one document. An alias for the whole mapping is not followed.
pub fn written(root: &Node) -> Vec<Written<'_>> {
    let entries = root.get(&["featureGates"]).map(Node::entries).unwrap_or_default();
    let written = entries.iter().filter(|(_, value)| !matches!(value.kind, Kind::Alias(_)));
    written.filter_map(|(key, value)| Some(Written { name: key.text()?, node: key, value: truth(value) })).collect()
}

/// Gates of a text that kube-proxy 1.`minor` does not start with, in words: each with its name. Nothing where the text cannot be
/// read.
pub fn refused(text: &str, minor: u32) -> Vec<String> {
    let Ok(documents) = parse(text) else { return Vec::new() };
    let is_proxy = |root: &Node| root.get(&["kind"]).and_then(Node::text) == Some("KubeProxyConfiguration");
    let roots = documents.iter().map(|document| &document.root).filter(|root| is_proxy(root));
    let gates = roots.flat_map(written);
    gates
        .filter_map(|gate| match gate.value {
            None => Some(format!("{} is neither true nor false", gate.name)),
            Some(value) => match verdict(gate.name, value, minor) {
                Verdict::Refused(why) => Some(format!("{} {why}", gate.name)),
                _ => None,
            },
        })
        .collect()
}

/// A boolean of YAML 1.1, in the spellings of goyaml (`resolve.go`); nothing is false, as Go decodes null.
fn truth(node: &Node) -> Option<bool> {
    let Kind::Scalar(text, ScalarStyle::Plain) = &node.kind else { return None };
    if node.is_null() {
        return Some(false);
    }
    match text.as_str() {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_kube_proxy_reads_them() {
        let text = "kind: KubeProxyConfiguration\nfeatureGates:\n  SupportIPVSProxyMode: true\n  AllAlpha: yes\n  \
                    CSINodeInfo: \n  IPv6DualStack: \"true\"\n  Typo: off\n";
        assert_eq!(
            refused(text, 20),
            [
                "SupportIPVSProxyMode was removed after 1.19",
                "CSINodeInfo is locked to true",
                "IPv6DualStack is neither true nor false",
                "Typo exists in no version"
            ]
        );
        assert_eq!(refused("kind: KubeProxyConfiguration\nfeatureGates: {}\n", 20), [""; 0]);
        assert_eq!(refused("kind: KubeletConfiguration\nfeatureGates: {Typo: true}\n", 20), [""; 0]);
        assert_eq!(refused("kind: [", 20), [""; 0]);
    }
}
