use super::*;
use crate::cluster::api::pod_objects::EnvVar;

fn container(name: &str, image: &str, words: &[&str], env: &[(&str, &str)]) -> Container {
    Container {
        name: name.to_owned(),
        image: image.to_owned(),
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        env: env
            .iter()
            .map(|(name, value)| EnvVar { name: (*name).to_owned(), value: Some((*value).to_owned()) })
            .collect(),
        ..Container::default()
    }
}

#[test]
fn by_any_one_sign() {
    use Neighbour::*;
    for (image, name, words, env, labels, expected) in [
        ("docker.io/bitnami/metallb-speaker:0.14", "c", &[][..], &[][..], &[][..], Some(MetalLb)),
        ("mirror.example:5000/quay.io/metallb/speaker@sha256:00", "c", &[], &[], &[], Some(MetalLb)),
        ("mirror/lb:1", "speaker", &[], &[("METALLB_NODE_NAME", "n")], &[], Some(MetalLb)),
        ("mirror/lb:1", "speaker", &[], &[], &[("app", "metallb"), ("component", "speaker")], Some(MetalLb)),
        ("mirror/lb:1", "controller", &[], &[], &[("app", "metallb"), ("component", "controller")], None),
        ("example/speaker:1", "speaker", &[], &[], &[], None),
        ("ghcr.io/kube-vip/kube-vip-iptables:v0.8", "c", &[], &[], &[], Some(KubeVip)),
        ("plndr/kube-vip:0.3", "c", &[], &[], &[], Some(KubeVip)),
        ("mirror/vip", "c", &[], &[("vip_arp", "true")], &[], Some(KubeVip)),
        ("ghcr.io/kube-vip/kube-vip-cloud-provider:v0.0.10", "c", &[], &[], &[], None),
        ("registry.gitlab.com/purelb/purelb/lbnodeagent:v0.9", "c", &[], &[], &[], Some(PureLb)),
        ("kubesphere/openelb-speaker:v0.6", "c", &[], &[], &[], Some(OpenElb)),
        ("mirror/ha:1", "c", &["/usr/sbin/keepalived", "-n"], &[], &[], Some(Keepalived)),
        ("osixia/keepalived:2.0", "c", &[], &[], &[], Some(Keepalived)),
        ("ghcr.io/labring/lvscare:v4", "c", &[], &[], &[], Some(LvsCare)),
        ("mirror/x:1", "c", &["--run-service-proxy=true"], &[], &[], Some(KubeRouter)),
        ("registry.k8s.io/dns/k8s-dns-node-cache:1.22", "c", &[], &[], &[], Some(NodeLocalDns)),
        ("mirror/my-dns-node-cache:1", "c", &[], &[], &[], Some(NodeLocalDns)),
        ("mirror/cache:1", "c", &["-localip", "169.254.20.10"], &[], &[], Some(NodeLocalDns)),
        ("rancher/mirrored-calico-node:v3.28", "c", &[], &[], &[], Some(Calico)),
        ("mirror/cni:1", "calico-node", &[], &[], &[], Some(Calico)),
        ("mirror/cni:1", "c", &[], &[("FELIX_BPFENABLED", "true")], &[], Some(Calico)),
        ("ghcr.io/flannel-io/flannel:v0.27.0", "c", &[], &[], &[], Some(Flannel)),
        ("mirror/cni:1", "kube-flannel", &["/opt/bin/flanneld"], &[], &[], Some(Flannel)),
        ("ghcr.io/flannel-io/flannel-cni-plugin:v1.7.1", "install-cni-plugin", &[], &[], &[], None),
        ("busybox:1", "c", &["rm", "-rf", "/etc/keepalived", "/var/run/kube-router"], &[], &[], None),
        ("node:18-alpine", "web", &["node", "server.js"], &[], &[("app", "node")], None),
        ("example/node:1", "node", &[], &[], &[], None),
        ("quay.io/cilium/cilium-ci:latest", "c", &[], &[], &[], Some(Cilium)),
        ("mirror/cni:1", "cilium-agent", &[], &[], &[], Some(Cilium)),
        ("quay.io/cilium/operator-generic:v1.15", "cilium-operator", &[], &[], &[], None),
        ("antrea/antrea-agent-ubuntu:v2", "c", &[], &[], &[], Some(Antrea)),
        (
            "ghcr.io/ovn-kubernetes/ovn-kubernetes/ovn-kube-ubuntu:1",
            "ovnkube-controller",
            &[],
            &[],
            &[],
            Some(OvnKubernetes),
        ),
    ] {
        let labels =
            labels.iter().map(|(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned())).collect();
        let containers = [container("sidecar", "busybox", &[], &[]), container(name, image, words, env)];
        let found: Vec<_> = recognise(&labels, &containers).into_iter().map(|(who, _)| who).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{image} {name}");
    }
}
