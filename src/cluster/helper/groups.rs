//! Which nodes get the node helper from which image: one `DaemonSet` for each architecture and image of kube-proxy. Pure.

use std::collections::BTreeMap;

use super::programs::NodeProgram;

/// The `DaemonSet`'s name; also the name of what belongs to it.
pub const NAME: &str = "kpx-prep-node";
/// The `DaemonSet`s' names, where several are needed: a role can name them.
pub const NAMES: [&str; 4] = [NAME, "kpx-prep-node-2", "kpx-prep-node-3", "kpx-prep-node-4"];

/// A node that runs kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyOnNode {
    /// The node.
    pub node: String,
    /// Its architecture, as GOARCH.
    pub architecture: String,
    /// kube-proxy's image there, and how the node gets it.
    pub image: ProxyImage,
}

/// An image of kube-proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyImage {
    /// Its name.
    pub reference: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// The Secrets with which it is pulled.
    pub pull_secrets: Vec<String>,
}

/// The nodes of one `DaemonSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The `DaemonSet`'s name.
    pub name: &'static str,
    /// Their architecture.
    pub architecture: String,
    /// kube-proxy's image there.
    pub image: ProxyImage,
    /// Only these nodes; without any, all of the architecture, those that join later too.
    pub only: Vec<String>,
    /// Not these nodes, which are in other groups.
    pub except: Vec<String>,
    /// Position of the program in the list of programs.
    pub program: usize,
}

/// What runs where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The groups; the largest first.
    pub groups: Vec<Group>,
    /// Nodes without the helper, and why.
    pub without: BTreeMap<String, String>,
}

/// Divides the nodes.
pub fn divide(nodes: &[ProxyOnNode], programs: &[NodeProgram]) -> Groups {
    let mut by_kind: BTreeMap<(&str, &ProxyImage), Vec<String>> = BTreeMap::new();
    for node in nodes {
        by_kind.entry((&node.architecture, &node.image)).or_default().push(node.node.clone());
    }
    let mut kinds: Vec<_> = by_kind.into_iter().collect();
    // Stable: equal ones stay in the order of their names, so that another run finds the same.
    kinds.sort_by_key(|(_, nodes)| std::cmp::Reverse(nodes.len()));
    let mut divided = Groups::default();
    let mut free = NAMES.into_iter();
    for ((architecture, image), nodes) in kinds {
        let program = programs.iter().position(|program| program.architecture == architecture);
        let largest = divided.groups.iter_mut().find(|group| group.architecture == architecture);
        let is_first = largest.is_none();
        // The others of an architecture are the exceptions of its largest group.
        if let Some(largest) = largest {
            largest.except.extend(nodes.iter().cloned());
        }
        let why = match (program, image.reference.is_empty()) {
            (None, _) => format!("this kpx-prep carries no node program for {architecture:?}; use --node-image"),
            (_, true) => "kube-proxy's image is unknown; use --node-image".to_owned(),
            (Some(program), false) => {
                if let Some(name) = free.next() {
                    let only = if is_first { Vec::new() } else { nodes };
                    let (architecture, image) = (architecture.to_owned(), image.clone());
                    divided.groups.push(Group { name, architecture, image, only, except: Vec::new(), program });
                    continue;
                }
                format!(
                    "kube-proxy runs from more than {} images; finish its rollout, or use --node-image",
                    NAMES.len()
                )
            }
        };
        divided.without.extend(nodes.into_iter().map(|node| (node, why.clone())));
    }
    divided
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, architecture: &str, image: &str) -> ProxyOnNode {
        let image = ProxyImage { reference: image.to_owned(), ..ProxyImage::default() };
        ProxyOnNode { node: name.to_owned(), architecture: architecture.to_owned(), image }
    }

    fn program(architecture: &str) -> NodeProgram {
        NodeProgram { architecture: architecture.to_owned(), content: Vec::new().into(), sha256: String::new() }
    }

    fn shown(nodes: &[ProxyOnNode], architectures: &[&str]) -> Vec<String> {
        let programs: Vec<_> = architectures.iter().map(|one| program(one)).collect();
        let divided = divide(nodes, &programs);
        let group = |group: &Group| {
            format!(
                "{} {} {} only {:?} except {:?}",
                group.name, group.architecture, group.image.reference, group.only, group.except
            )
        };
        let without = divided.without.iter().map(|(node, why)| format!("{node}: {why}"));
        divided.groups.iter().map(group).chain(without).collect()
    }

    #[test]
    fn one_set_for_each_architecture_and_image() {
        let amd64 = |name| node(name, "amd64", "proxy:1");
        assert_eq!(shown(&[], &["amd64"]), Vec::<String>::new());
        assert_eq!(shown(&[amd64("a"), amd64("b")], &["amd64"]), ["kpx-prep-node amd64 proxy:1 only [] except []"]);
        assert_eq!(
            shown(
                &[amd64("a"), node("b", "amd64", "proxy:2"), amd64("c"), node("d", "arm64", "proxy:1")],
                &["amd64", "arm64"]
            ),
            [
                "kpx-prep-node amd64 proxy:1 only [] except [\"b\"]",
                "kpx-prep-node-2 amd64 proxy:2 only [\"b\"] except []",
                "kpx-prep-node-3 arm64 proxy:1 only [] except []",
            ]
        );
        assert_eq!(
            shown(&[amd64("a"), node("b", "s390x", "proxy:1"), node("c", "amd64", "")], &["amd64"]),
            [
                "kpx-prep-node amd64 proxy:1 only [] except []",
                "b: this kpx-prep carries no node program for \"s390x\"; use --node-image",
                "c: kube-proxy's image is unknown; use --node-image",
            ]
        );
        let many: Vec<_> = ["1", "2", "3", "4", "5"].map(|image| node(image, "amd64", image)).into();
        let shown = shown(&many, &["amd64"]);
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert!(shown[0].ends_with(r#"except ["2", "3", "4", "5"]"#), "{shown:?}");
        assert!(shown[4].starts_with("5: kube-proxy runs from more than 4 images"), "{shown:?}");
    }
}
