//! The feature gates of a `KubeProxyConfiguration`, as kube-proxy reads them.

use crate::yaml::{Kind, Node, ScalarStyle};

/// A gate as written in the config.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its place.
    pub node: &'a Node,
    /// Its value; `None` if kube-proxy cannot read it as true or false.
    pub value: Option<bool>,
}

/// The gates of one document. An alias for the whole mapping is not followed.
pub fn written(root: &Node) -> Vec<Written<'_>> {
    let entries = root.get(&["featureGates"]).map(Node::entries).unwrap_or_default();
    let written = entries.iter().filter(|(_, value)| !matches!(value.kind, Kind::Alias(_)));
    written.filter_map(|(key, value)| Some(Written { name: key.text()?, node: key, value: truth(value) })).collect()
}

/// A YAML 1.1 boolean in the spellings of goyaml (`resolve.go`); an empty value is false, as Go decodes null.
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
        let text = "featureGates:\n  A: true\n  B: yes\n  C: \n  D: \"true\"\n  E: off\n  F: 1\n";
        let documents = crate::yaml::parse(text).unwrap();
        let values: Vec<_> = written(&documents[0].root).into_iter().map(|gate| (gate.name, gate.value)).collect();
        let expected =
            [("A", Some(true)), ("B", Some(true)), ("C", Some(false)), ("D", None), ("E", Some(false)), ("F", None)];
        assert_eq!(values, expected);
    }
}
