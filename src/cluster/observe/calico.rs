//! Calico's data plane, from its own objects; the environment of its pods does not contain all settings.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;

use crate::cluster::api::calls::get;

/// Calico's settings that interact with kube-proxy's mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalicoModes {
    /// Whether it runs the eBPF data plane, which serves Services without kube-proxy.
    pub bpf: bool,
    /// Whether it is configured to use nftables regardless of kube-proxy's mode.
    pub nftables: bool,
    /// Whether it is configured not to use nftables, whatever kube-proxy's mode is.
    pub no_nftables: bool,
}

impl CalicoModes {
    /// Reads `FelixConfiguration` `default` (`bpfEnabled`, `nftablesMode`) and the operator's Installation `default`
    /// (`calicoNetwork.linuxDataplane`). Objects that do not exist or may not be read are ignored.
    pub async fn observe(client: &kube::Client) -> Self {
        let felix = object(client, "crd.projectcalico.org", "FelixConfiguration", "felixconfigurations").await;
        let installation = object(client, "operator.tigera.io", "Installation", "installations").await;
        Self::of(&felix, &installation)
    }

    fn of(felix: &Value, installation: &Value) -> Self {
        let plane = &installation["spec"]["calicoNetwork"]["linuxDataplane"];
        let is = |value: &Value, text: &str| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text));
        Self {
            bpf: felix["spec"]["bpfEnabled"] == true || is(plane, "BPF"),
            nftables: is(&felix["spec"]["nftablesMode"], "Enabled") || is(plane, "Nftables"),
            no_nftables: is(&felix["spec"]["nftablesMode"], "Disabled"),
        }
    }
}

async fn object(client: &kube::Client, group: &str, kind: &str, plural: &str) -> Value {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    match get(&api, "default").await {
        Ok(found) => found.map(|object| object.data).unwrap_or_default(),
        Err(error) => {
            tracing::debug!("reading {kind} default: {error}");
            Value::Null
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_calico() {
        let modes = |bpf, nftables| CalicoModes { bpf, nftables, no_nftables: false };
        for (felix, installation, expected) in [
            (json!(null), json!(null), modes(false, false)),
            (json!({"spec": {"bpfEnabled": true}}), json!(null), modes(true, false)),
            (json!({"spec": {"bpfEnabled": "true"}}), json!(null), modes(false, false)),
            (json!({"spec": {"nftablesMode": "Enabled"}}), json!(null), modes(false, true)),
            (json!({"spec": {"nftablesMode": "Auto"}}), json!(null), modes(false, false)),
            (json!(null), json!({"spec": {"calicoNetwork": {"linuxDataplane": "BPF"}}}), modes(true, false)),
            (json!(null), json!({"spec": {"calicoNetwork": {"linuxDataplane": "Nftables"}}}), modes(false, true)),
            (json!({"spec": []}), json!({"spec": {"calicoNetwork": null}}), modes(false, false)),
        ] {
            assert_eq!(CalicoModes::of(&felix, &installation), expected, "{felix} {installation}");
        }
        let disabled = CalicoModes::of(&json!({"spec": {"nftablesMode": "Disabled"}}), &json!(null));
        assert_eq!(disabled, CalicoModes { no_nftables: true, ..CalicoModes::default() });
    }
}
