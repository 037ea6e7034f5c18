//! What runs on the nodes.

use serde::Serialize;

use crate::cluster::api::objects::Node;
use crate::cluster::observe::list_nodes;
use crate::report::foreign::foreign;
use kube::ResourceExt as _;

/// A node, and what runs there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVersions {
    /// Its name.
    pub name: String,
    /// The kubelet's version.
    pub kubelet: String,
    /// The kernel's version.
    pub kernel: String,
    /// The distribution.
    pub os: String,
    /// The processor, as GOARCH.
    pub architecture: String,
    /// The container runtime, with its version.
    pub runtime: String,
}

/// Of all nodes.
///
/// # Errors
/// Errors of the API server.
pub(super) async fn read(client: &kube::Client) -> anyhow::Result<Vec<NodeVersions>> {
    let mut nodes = list_nodes(client, of_node).await?;
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn of_node(node: &Node) -> NodeVersions {
    let info = node.status.as_ref().map(|status| status.node_info.clone()).unwrap_or_default();
    NodeVersions {
        name: foreign(&node.name_any()),
        kubelet: foreign(&info.kubelet_version),
        kernel: foreign(&info.kernel_version),
        os: foreign(&info.os_image),
        architecture: foreign(&info.architecture),
        runtime: foreign(&info.container_runtime_version),
    }
}
