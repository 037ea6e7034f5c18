//! Which data plane replaces kube-proxy, by its own configuration.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

use super::neighbours::{Neighbour, SeenPod};
use super::surroundings::Surroundings;
use crate::cluster::api::calls;
use crate::report::foreign::foreign;

/// Cilium's configuration, and the key that says whether it replaces kube-proxy (`install/kubernetes/cilium/templates/cilium-configmap.yaml`).
const CILIUM: (&str, &str) = ("cilium-config", "kube-proxy-replacement");

/// The data plane that replaces kube-proxy, in a few words; otherwise why none is known to.
pub type DataPlane = Result<String, String>;

/// Reads Cilium's configuration, where there is Cilium; Calico's is in the surroundings.
///
/// # Errors
/// Why no data plane is known to replace kube-proxy.
pub async fn data_plane(client: &kube::Client, surroundings: &Surroundings) -> DataPlane {
    let cilium = surroundings.pods_of(Neighbour::Cilium).next();
    let mut setting = None;
    if let Some((namespace, _)) = cilium.and_then(|pod| pod.name.split_once('/')) {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        setting = match calls::get(&maps, CILIUM.0).await {
            Ok(map) => map.map(|map| map.data.unwrap_or_default().remove(CILIUM.1).unwrap_or_default()),
            Err(error) => {
                tracing::debug!("reading ConfigMap {namespace}/{}: {error}", CILIUM.0);
                None
            }
        };
    }
    of(cilium, setting.as_deref(), calico(surroundings))
}

/// The pod of Calico's eBPF data plane.
pub fn calico(surroundings: &Surroundings) -> Option<&SeenPod> {
    let runs_bpf = |pod: &&SeenPod| surroundings.calico.bpf || felix_says(pod, "FELIX_BPFENABLED");
    surroundings.pods_of(Neighbour::Calico).find(runs_bpf)
}

/// Whether Felix reads a setting's text as true (`BoolParam` in `felix/config/param_types.go`).
fn felix_says(pod: &SeenPod, name: &str) -> bool {
    let value =
        pod.words.iter().find_map(|word| word.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    value.is_some_and(|(_, value)| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "y" | "t"))
}

/// `setting`: Cilium's, empty if its configuration has none; `None` if that could not be read.
fn of(cilium: Option<&SeenPod>, setting: Option<&str>, calico: Option<&SeenPod>) -> DataPlane {
    match (cilium, setting) {
        // `strict` until 1.13.
        (Some(pod), Some(value @ ("true" | "strict"))) => Ok(format!("Cilium ({}, {}: {value})", pod.name, CILIUM.1)),
        (Some(pod), Some(value)) => {
            let value = foreign(value);
            Err(format!(
                "Cilium ({}) does not replace kube-proxy: {} is {value:?} in ConfigMap {}",
                pod.name, CILIUM.1, CILIUM.0
            ))
        }
        (Some(pod), None) => {
            Err(format!("Cilium ({}) runs, but its ConfigMap {} could not be read", pod.name, CILIUM.0))
        }
        (None, _) => calico
            .map(|pod| format!("Calico's eBPF data plane ({})", pod.name))
            .ok_or_else(|| "neither Cilium nor Calico's eBPF data plane was found".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_configured_to_replace_it_does() {
        let pod = |name: &str| SeenPod { name: name.to_owned(), ..SeenPod::default() };
        let (cilium, calico) = (pod("kube-system/cilium-x"), pod("calico-system/calico-node-x"));
        for (setting, replaces) in [
            (Some("true"), true),
            (Some("strict"), true),
            (Some("partial"), false),
            (Some("false"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(of(Some(&cilium), setting, None).is_ok(), replaces, "{setting:?}");
            // Calico's policy engine beside Cilium serves nothing.
            assert_eq!(of(Some(&cilium), setting, Some(&calico)).is_ok(), replaces, "{setting:?}");
        }
        assert!(of(None, None, Some(&calico)).is_ok());
        assert!(of(None, Some("true"), None).is_err());
    }
}
