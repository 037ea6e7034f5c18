//! `DaemonSet`s as somebody else wrote them: which is kube-proxy's, and where its configuration is by its arguments.
#![no_main]

use kpx_prep::cluster::api::objects::DaemonSet;
use kpx_prep::cluster::kube_proxy::daemon_set::find;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|input: (Vec<String>, Vec<String>, String, String)| {
    let (command, arguments, name, path) = input;
    let container = json!({
        "name": "kube-proxy", "image": "registry.k8s.io/kube-proxy:v1.30.1", "command": command, "args": arguments,
        "volumeMounts": [{"name": "kube-proxy", "mountPath": path}],
    });
    let set = json!({
        "metadata": {"name": name, "namespace": "kube-system", "uid": "u", "labels": {"k8s-app": "kube-proxy"}},
        "spec": {
            "selector": {"matchLabels": {"k8s-app": "kube-proxy"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-proxy"}},
                "spec": {"containers": [container], "volumes": [{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}]},
            },
        },
    });
    if let Ok(set) = serde_json::from_value::<DaemonSet>(set) {
        let _ = find(&[set], None, None);
    }
});
