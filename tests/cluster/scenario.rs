//! How a scenario's cluster is put together.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::cluster_state::Cluster;
use super::misbehaviour::Misbehaviour;
use super::world::World;

/// A node that is to be.
#[derive(Clone, Debug)]
struct Planned {
    name: String,
    labels: Vec<(String, String)>,
    /// From its first moment on.
    from_start: Vec<Misbehaviour>,
    /// Once kube-proxy runs everywhere.
    later: Vec<Misbehaviour>,
}

/// A cluster that is to be: nodes `node-1`, a control-plane node, to `node-N`, with kubeadm's kube-proxy.
pub(crate) struct Scenario<'a> {
    world: &'a World,
    nodes: Vec<Planned>,
    /// The ConfigMap, to be changed at will.
    pub(crate) config_map: Value,
    /// The DaemonSet, to be changed at will.
    pub(crate) daemon_set: Value,
    /// More of them, in the same namespace.
    more_sets: Vec<Value>,
}

impl World {
    /// A cluster of so many nodes.
    pub(crate) fn nodes(&self, count: usize) -> Scenario<'_> {
        let node = |number: usize| Planned {
            name: format!("node-{number}"),
            labels: Vec::new(),
            from_start: Vec::new(),
            later: Vec::new(),
        };
        let (config_map, daemon_set) = (self.config_map.clone(), self.daemon_set.clone());
        let mut scenario = Scenario {
            world: self,
            nodes: (1..=count).map(node).collect(),
            config_map,
            daemon_set,
            more_sets: Vec::new(),
        };
        if count > 0 {
            scenario = scenario.label("node-1", "node-role.kubernetes.io/control-plane", "");
        }
        scenario
    }
}

impl Scenario<'_> {
    fn node(&mut self, name: &str) -> &mut Planned {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// Labels a node.
    pub(crate) fn label(mut self, node: &str, key: &str, value: &str) -> Self {
        self.node(node).labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Goes wrong once kube-proxy runs everywhere.
    pub(crate) fn misbehave(mut self, node: &str, wrong: Misbehaviour) -> Self {
        self.node(node).later.push(wrong);
        self
    }

    /// Is wrong from the beginning: no kube-proxy ever runs there.
    pub(crate) fn never_starts(mut self, node: &str, wrong: Misbehaviour) -> Self {
        self.node(node).from_start.push(wrong);
        self
    }

    /// What `config.conf` holds.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config_map["data"]["config.conf"] = json!(text);
        self
    }

    /// kubeadm's `config.conf`, with a replacement.
    pub(crate) fn replace(self, from: &str, to: &str) -> Self {
        let text = self.config_map["data"]["config.conf"].as_str().expect("kubeadm's").to_owned();
        assert!(text.contains(from), "kubeadm's config.conf has no {from}");
        self.config(&text.replace(from, to))
    }

    /// Changes the DaemonSet.
    pub(crate) fn daemon_set(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.daemon_set);
        self
    }

    /// Makes node-3 a Windows node, and node-4 one that kube-proxy's DaemonSet does not want.
    pub(crate) fn with_other_kinds_of_nodes(self) -> Self {
        let nodes = self.label("node-3", "kubernetes.io/os", "windows");
        nodes.label("node-4", "example.org/network", "no-kube-proxy").daemon_set(|set| {
            let expression = json!({"key": "example.org/network", "operator": "NotIn", "values": ["no-kube-proxy"]});
            let terms = json!([{"matchExpressions": [expression]}]);
            set["spec"]["template"]["spec"]["affinity"]["nodeAffinity"] =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        })
    }

    /// A second DaemonSet that reads the same ConfigMap: the first is for nodes of one pool, this one for those of the other.
    pub(crate) fn two_pools(mut self, first: &[&str], second: &[&str]) -> Self {
        const POOL: &str = "example.org/pool";
        let mut other = self.daemon_set.clone();
        other["metadata"]["name"] = json!("kube-proxy-second");
        other["spec"]["selector"]["matchLabels"]["pool"] = json!("second");
        other["spec"]["template"]["metadata"]["labels"]["pool"] = json!("second");
        for (set, name, nodes) in [(&mut self.daemon_set, "first", first), (&mut other, "second", second)] {
            set["spec"]["template"]["spec"]["nodeSelector"][POOL] = json!(name);
            for node in nodes {
                let planned = self.nodes.iter_mut().find(|planned| planned.name == **node).expect("a node");
                planned.labels.push((POOL.to_owned(), name.to_owned()));
            }
        }
        self.more_sets.push(other);
        self
    }

    /// Changes the ConfigMap.
    pub(crate) fn config_map(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config_map);
        self
    }

    /// What other names kube-proxy's objects and their namespace have.
    pub(crate) fn named(mut self, namespace: &str, name: &str) -> Self {
        for object in [&mut self.config_map, &mut self.daemon_set] {
            object["metadata"]["namespace"] = json!(namespace);
            object["metadata"]["name"] = json!(name);
        }
        let volumes = self.daemon_set["spec"]["template"]["spec"]["volumes"].as_array_mut().expect("volumes");
        for volume in volumes {
            if volume["configMap"]["name"].is_string() {
                volume["configMap"]["name"] = json!(name);
            }
        }
        self.config_map["metadata"]["labels"] = json!({"kpx-prep-test": "1"});
        self
    }

    /// Makes it so, and waits until kube-proxy runs on every node that is not wrong from its start.
    pub(crate) async fn start(self) -> Cluster {
        let world = self.world;
        world.reset().await;
        let namespace = self.daemon_set["metadata"]["namespace"].as_str().expect("a namespace").to_owned();
        let name = self.daemon_set["metadata"]["name"].as_str().expect("a name").to_owned();
        let config_map: ConfigMap = serde_json::from_value(self.config_map).expect("a ConfigMap");
        let daemon_set: DaemonSet = serde_json::from_value(self.daemon_set).expect("a DaemonSet");
        let maps = Api::namespaced(world.client.clone(), &namespace);
        maps.create(&PostParams::default(), &config_map).await.expect("a ConfigMap");
        let sets = Api::namespaced(world.client.clone(), &namespace);
        sets.create(&PostParams::default(), &daemon_set).await.expect("a DaemonSet");
        for set in self.more_sets {
            let set: DaemonSet = serde_json::from_value(set).expect("a DaemonSet");
            sets.create(&PostParams::default(), &set).await.expect("a DaemonSet");
        }
        let added = futures::stream::iter(&self.nodes).map(async |node| {
            let labels: Vec<_> = node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            world.nodes.add(&node.name, &labels, &node.from_start).await;
        });
        // No more at a time than an API server takes (--max-mutating-requests-inflight).
        added.buffer_unordered(100).collect::<Vec<()>>().await;
        let linux = |node: &&Planned| {
            node.from_start.is_empty()
                && node.labels.iter().all(|(_, value)| value != "windows" && value != "no-kube-proxy")
        };
        let expected = self.nodes.iter().filter(linux).count();
        let cluster = Cluster::new(world, &namespace, &name, &config_map.metadata.name.expect("a name"));
        let deadline = Instant::now() + Duration::from_secs(30 + expected as u64);
        while world.nodes.modes().len() < expected {
            assert!(Instant::now() < deadline, "only {:?} run, of {expected}", world.nodes.modes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for node in &self.nodes {
            let wrong: Vec<_> = node.from_start.iter().chain(&node.later).copied().collect();
            world.nodes.set(&node.name, &wrong).await;
        }
        cluster
    }
}
