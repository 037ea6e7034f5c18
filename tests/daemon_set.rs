//! Finding kube-proxy's `DaemonSet` and the `ConfigMap` and key behind it, on real and on unusual ones.

use std::path::Path;

use kpx_prep::cluster::api::objects::{DaemonSet, DaemonSetStatus};
use kpx_prep::cluster::kube_proxy::daemon_set::{ConfigSource, find};

fn load(name: &str) -> DaemonSet {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/daemon-set/{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn config_map(name: &str, key: &str) -> ConfigSource {
    ConfigSource::ConfigMap { name: name.to_owned(), key: key.to_owned() }
}

#[test]
fn config_map_and_key_are_read_from_arguments_and_volumes() {
    for (name, container, config, flag) in [
        ("kubeadm-1.20", "kube-proxy", config_map("kube-proxy", "config.conf"), None),
        ("kubeadm-1.36", "kube-proxy", config_map("kube-proxy", "config.conf"), None),
        ("items-and-subpath", "proxy", config_map("settings", "proxy-key"), Some("ipvs")),
        ("projected-shell", "kube-proxy", config_map("proxy-config", "config.conf"), None),
        ("flags-only", "kube-proxy", ConfigSource::Flags, Some("iptables")),
        ("eks-addon", "kube-proxy", config_map("kube-proxy-config", "config"), None),
        ("aks", "kube-proxy", ConfigSource::Flags, None),
        ("talos", "kube-proxy", ConfigSource::Flags, Some("nftables")),
        ("openshift-sdn", "kube-proxy", config_map("proxy-config", "kube-proxy-config.yaml"), None),
        ("gardener-pool-a", "kube-proxy", config_map("kube-proxy-config-4b9c3ab2", "config.yaml"), None),
        ("logs-redirected", "kube-proxy", config_map("proxy-conf", "the.yaml"), None),
    ] {
        let found = find(&[load(name)], None, None).unwrap().kube_proxy.expect(name);
        assert_eq!(found.container, container, "{name}");
        assert_eq!(found.config, config, "{name}");
        assert_eq!(found.mode_flag.as_deref(), flag, "{name}");
    }
    let found = find(&[load("host-file")], None, None).unwrap().kube_proxy.unwrap();
    let ConfigSource::Elsewhere(why) = found.config else { panic!("{:?}", found.config) };
    assert!(why.contains("\"host\""), "{why}");
}

#[test]
fn what_the_daemon_set_says_about_rolling() {
    let found = find(&[load("kubeadm-1.36")], None, None).unwrap().kube_proxy.unwrap();
    assert_eq!((found.namespace.as_str(), found.name.as_str()), ("kube-system", "kube-proxy"));
    assert_eq!(found.selector, "k8s-app=kube-proxy");
    assert!(!found.on_delete);
    assert_eq!(format!("{:?}", found.max_unavailable), "Some(Int(1))");
    let mut on_delete = load("kubeadm-1.36");
    on_delete.spec.update_strategy.r#type = "OnDelete".to_owned();
    assert!(find(&[on_delete], None, None).unwrap().kube_proxy.unwrap().on_delete);
}

#[test]
fn windows_is_counted_apart() {
    let found = find(&[load("windows"), load("kubeadm-1.36")], None, None).unwrap();
    assert_eq!(found.kube_proxy.unwrap().name, "kube-proxy");
    assert_eq!(found.windows, ["kube-system/kube-proxy-windows"]);
    assert!(find(&[load("windows")], None, None).unwrap().kube_proxy.is_none());
    assert!(find(&[], None, None).unwrap().kube_proxy.is_none());
}

#[test]
fn several_are_for_the_operator_to_choose_from() {
    let both = [load("kubeadm-1.36"), load("items-and-subpath")];
    let error = find(&both, None, None).unwrap_err();
    assert!(error.contains("kube-system/kube-proxy") && error.contains("net/svc-proxy"), "{error}");
    assert_eq!(find(&both, Some("net"), None).unwrap().kube_proxy.unwrap().name, "svc-proxy");
    assert_eq!(find(&both, None, Some("kube-proxy")).unwrap().kube_proxy.unwrap().name, "kube-proxy");
    let error = find(&both, Some("elsewhere"), None).unwrap_err();
    assert!(error.contains("elsewhere") && error.contains("net/svc-proxy"), "{error}");
    // One that matches no node was left behind.
    let [mut used, left] = both;
    used.status = Some(DaemonSetStatus { desired_number_scheduled: 3, ..DaemonSetStatus::default() });
    assert_eq!(find(&[left, used], None, None).unwrap().kube_proxy.unwrap().name, "kube-proxy");
}

#[test]
fn the_operator_may_name_one_that_looks_unlike_kube_proxy() {
    let mut unusual = load("items-and-subpath");
    unusual.spec.template.spec.containers[0].image = "registry.example/net/svc:1".to_owned();
    let all = [unusual];
    assert!(find(&all, None, None).unwrap().kube_proxy.is_none());
    assert_eq!(find(&all, Some("net"), Some("svc-proxy")).unwrap().kube_proxy.unwrap().container, "proxy");
}

/// One set per architecture or pool, all with one ConfigMap: they are one kube-proxy.
#[test]
fn sets_that_read_one_config_map_belong_together() {
    let amd64 = load("kubeadm-1.36");
    let mut arm64 = load("kubeadm-1.36");
    arm64.metadata.name = Some("kube-proxy-arm64".to_owned());
    arm64.metadata.uid = Some("arm64".to_owned());
    let used = |mut set: DaemonSet, nodes| {
        set.status = Some(DaemonSetStatus { desired_number_scheduled: nodes, ..DaemonSetStatus::default() });
        set
    };
    let sets = [used(amd64.clone(), 2), used(arm64.clone(), 2), load("items-and-subpath"), load("windows")];
    let found = find(&sets, None, None).unwrap();
    assert_eq!(found.kube_proxy.unwrap().names(), ["kube-proxy", "kube-proxy-arm64"]);
    assert_eq!((found.elsewhere, found.windows.len()), (vec!["net/svc-proxy".to_owned()], 1));
    // Named by one of them, both are meant; one that has no node yet is part of it too.
    let sets = [used(amd64.clone(), 2), used(arm64.clone(), 0)];
    for name in ["kube-proxy", "kube-proxy-arm64"] {
        let found = find(&sets, None, Some(name)).unwrap().kube_proxy.unwrap();
        assert_eq!((found.name.as_str(), found.siblings.len()), (name, 1));
    }
    // Another namespace has another ConfigMap, whatever its name.
    arm64.metadata.namespace = Some("edge".to_owned());
    let sets = [used(amd64, 2), used(arm64, 2)];
    let error = find(&sets, None, None).unwrap_err();
    assert!(error.contains("edge/kube-proxy-arm64"), "{error}");
    let found = find(&sets, Some("kube-system"), None).unwrap();
    assert_eq!(
        (found.kube_proxy.unwrap().siblings.len(), found.elsewhere),
        (0, vec!["edge/kube-proxy-arm64".to_owned()])
    );
}

#[test]
fn what_flags_say_counts_only_where_kube_proxy_reads_them() {
    let of = |name: &str| find(&[load(name)], None, None).unwrap().kube_proxy.expect(name);
    assert_eq!(of("talos").metrics_port_flag, Some(9999));
    assert_eq!(of("aks").metrics_port_flag, Some(10249));
    assert_eq!(of("talos").ignored_flags, [] as [&str; 0]);
    assert_eq!(of("logs-redirected").ignored_flags, ["--cluster-cidr", "--oom-score-adj"]);
    assert_eq!(of("eks-addon").ignored_flags, [] as [&str; 0]);
    assert_eq!(of("openshift-sdn").ignored_flags, [] as [&str; 0]);
}

#[test]
fn what_is_merely_called_alike_is_not_kube_proxy() {
    assert!(find(&[load("rbac-proxy-only")], None, None).unwrap().kube_proxy.is_none());
    // A clean-up that names its folder.
    let mut cleaner = load("rbac-proxy-only");
    let container = &mut cleaner.spec.template.spec.containers[0];
    container.command = ["rm", "-rf", "/var/lib/kube-proxy", "--log=/x/kube-proxy"].map(ToOwned::to_owned).into();
    assert!(find(&[cleaner], None, None).unwrap().kube_proxy.is_none());
    let pools = [load("gardener-pool-a"), load("gardener-pool-b"), load("rbac-proxy-only")];
    let found = find(&pools, None, None).unwrap();
    assert_eq!(found.kube_proxy.unwrap().names(), ["kube-proxy-pool-a-v1.29.4", "kube-proxy-pool-b-v1.29.4"]);
    assert_eq!(found.elsewhere, [] as [&str; 0]);
}

/// `kubeadm-1.36` with other containers.
fn with_containers(name: &str, containers: &str) -> DaemonSet {
    let mut set = load("kubeadm-1.36");
    set.metadata.name = Some(name.to_owned());
    set.metadata.uid = Some(name.to_owned());
    set.spec.template.spec.containers =
        serde_yaml::from_str(containers).unwrap_or_else(|error| panic!("{name}: {error}"));
    set
}

const MOUNTED: &str = "volumeMounts: [{name: kube-proxy, mountPath: /var/lib/kube-proxy}]";
const CONFIG: &str = "--config=/var/lib/kube-proxy/config.conf";

#[test]
fn the_command_is_read_as_it_runs() {
    let script = |text: &str| format!("[{{name: p, image: 'm/x:1', command: [sh, -c, {text:?}], {MOUNTED}}}]");
    let run = |image: &str, command: &str| format!("[{{name: p, image: '{image}', command: {command}, {MOUNTED}}}]");
    for containers in [
        script(&format!("sysctl -w a=1; kube-proxy --v=2 {CONFIG}; sleep 10")),
        script(&format!("trap 'pkill kube-proxy' EXIT\nkube-proxy {CONFIG} &\ninotifywait /x\npkill kube-proxy\n")),
        script(&format!(
            "# kube-proxy --config=/old\nif [ -f /x ]; then\n  kube-proxy \\\n   {CONFIG} --v=2\nfi\nsleep --config=/y 1\n"
        )),
        script(&format!("exec \"/usr/local/bin/kube-proxy\" {CONFIG} --hostname-override=\"$NODE_NAME\"")),
        script(&format!("kube-proxy --hostname-override=$(hostname | tr A-Z a-z) {CONFIG} >>/x.log 2>&1")),
        script(&format!("command -v kube-proxy && kube-proxy --cleanup; exec kube-proxy {CONFIG}")),
        run("gcr.io/google-containers/hyperkube-amd64:v1.16.3", &format!("[/hyperkube, proxy, {CONFIG}]")),
        run("m/k8s:v1.16.3", &format!("[/hyperkube, proxy, {CONFIG}]")),
        run("kube-proxy", "[kube-proxy, --config, /var/lib/kube-proxy/config.conf]"),
        run(
            "kube-proxy",
            "[kube-proxy, --config=$(FOLDER)/config.conf], env: [{name: FOLDER, value: /var/lib/kube-proxy}]",
        ),
    ] {
        let found = find(&[with_containers("kube-proxy", &containers)], None, None).unwrap().kube_proxy;
        let found = found.unwrap_or_else(|| panic!("not found: {containers}"));
        assert_eq!(found.config, config_map("kube-proxy", "config.conf"), "{containers}");
    }
    let flags = "[{name: p, image: kube-proxy, args: [--proxy_mode=ipvs, --metrics_bind_address=0.0.0.0:9999]}]";
    let found = find(&[with_containers("kube-proxy", flags)], None, None).unwrap().kube_proxy.unwrap();
    assert_eq!((found.mode_flag.as_deref(), found.metrics_port_flag), (Some("ipvs"), Some(9999)));
}

/// Its image has tools that others want too, and the names of others begin like its own.
#[test]
fn its_image_alone_makes_no_second_kube_proxy() {
    let proxy =
        format!("{{name: kube-proxy, image: 'r/kube-proxy:v1.30.0', command: [kube-proxy, {CONFIG}], {MOUNTED}}}");
    let helper = "{name: helper, image: 'r/kube-proxy:v1.30.0', command: [sh, -c, 'while true; do conntrack -L; sleep 60; done']}";
    let set = with_containers("kube-proxy", &format!("[{helper}, {proxy}]"));
    let found = find(std::slice::from_ref(&set), None, None).unwrap().kube_proxy.unwrap();
    assert_eq!((found.container.as_str(), found.config), ("kube-proxy", config_map("kube-proxy", "config.conf")));
    for other in [
        helper,
        "{name: e, image: 'r/kube-proxy-exporter:1.2', args: [--listen=:9100]}",
        "{name: c, image: 'r/kube-proxy:v1.30.0', command: [kube-proxy, --cleanup]}",
        "{name: s, image: 'r/kube-proxy:v1.30.0', command: [sleep, infinity]}",
    ] {
        let sets = [set.clone(), with_containers("other", &format!("[{other}]"))];
        let found = find(&sets, None, None).unwrap_or_else(|error| panic!("{other}: {error}"));
        assert_eq!(
            (found.kube_proxy.unwrap().names(), found.elsewhere.len()),
            (vec!["kube-proxy".to_owned()], 0),
            "{other}"
        );
    }
    // Another script may run it.
    let script = "{name: w, image: 'r/mirrored-kube-proxy:v1.30.0', command: [sh, -c, '/scripts/run.sh now']}";
    assert!(find(&[set, with_containers("other", &format!("[{script}]"))], None, None).is_err());
}

/// Whoever writes the `DaemonSet` may write values that refer to themselves: each is put in once.
#[test]
fn values_are_put_in_once() {
    let env: Vec<_> = (0..200).map(|_| "{name: A, value: '$(A)$(A)'}").collect();
    let containers =
        format!("[{{name: p, image: kube-proxy, command: [kube-proxy, '--config=$(A)'], env: [{}]}}]", env.join(", "));
    let found = find(&[with_containers("kube-proxy", &containers)], None, None).unwrap().kube_proxy.unwrap();
    let ConfigSource::Elsewhere(why) = found.config else { panic!("{:?}", found.config) };
    assert!(why.contains("--config=$(A)$(A) is in the image"), "{why}");
}
